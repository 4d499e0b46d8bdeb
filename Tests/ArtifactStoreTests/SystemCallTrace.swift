import Foundation
import Glibc

/// The system calls that this process makes from now on, as strace(1) writes them down.
///
/// Meant for a process of a test's own (an exit test): every call of every thread is stopped for it.
final class SystemCallTrace {
    /// Whether strace(1) is here and may attach to the process that starts it (ptrace(2), `ptrace_scope`).
    static let isAvailable: Bool = {
        let scope = try? String(contentsOfFile: "/proc/sys/kernel/yama/ptrace_scope", encoding: .utf8)
        guard getuid() == 0 || scope == nil || scope == "0\n" else { return false }
        return (try? run("strace", "-o", "/dev/null", "echo", "traced")) == "traced\n"
    }()

    private struct NotAttached: Error {}

    private let output: String
    private let tracer = Process()

    /// Writes the calls on files and folders that matter to durability to `<folder>/calls`; `fault` is an expression of
    /// `-e inject=`.
    init(in folder: String, fault: String? = nil) throws {
        output = folder + "/calls"
        tracer.executableURL = URL(filePath: "/usr/bin/env")
        tracer.arguments =
            [
                "strace", "-f", "-qq", "-y", "-o", output,
                "-e", "trace=fsync,fdatasync,renameat,renameat2,linkat,mkdirat,unlinkat,fallocate,ftruncate",
            ] + (fault.map { ["-e", "inject=" + $0] } ?? []) + ["-p", "\(getpid())"]
        tracer.standardError = FileHandle.nullDevice
        try tracer.run()
        while try !isAttached() {
            guard tracer.isRunning else { throw NotAttached() }
            usleep(1000)
        }
    }

    private func isAttached() throws -> Bool {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").allSatisfy { task in
            // A thread that ended meanwhile need not be traced.
            guard let status = try? String(contentsOfFile: "/proc/self/task/\(task)/status", encoding: .utf8) else {
                return true
            }
            return !status.contains("TracerPid:\t0\n")
        }
    }

    /// Ends the trace; answers the calls on what lies below `root`, one a line: `fsync staging/*/content = 0`, with
    /// names instead of numbers, and without what is random in them.
    @discardableResult
    func end(below root: String) throws -> [String] {
        // Not SIGINT, which is blocked where threads of Dispatch start processes. Every line is complete before the
        // call that it shows returns.
        kill(tracer.processIdentifier, SIGKILL)
        tracer.waitUntilExit()
        let text = try String(contentsOfFile: output, encoding: .utf8)
        return text.split(separator: "\n").filter { $0.contains("<" + root) }.map { line in
            Self.plain(line.drop { $0 != " " }, root: root)
        }
    }

    /// `12 renameat(5</data/staging>, "8c…", 6</data/artifacts>, "x") = 0` to `renameat staging/* artifacts/x = 0`.
    private static func plain(_ line: Substring, root: String) -> String {
        var text = String(line.drop { $0 == " " }).replacing(" (INJECTED)", with: "")
        text = text.replacing(root + "/", with: "").replacing(#/[0-9a-f]{32}/#, with: "*")
        text = text.replacing(#/\d+<([^>]*)>, "([^"]*)"/#) { "\($0.output.1)/\($0.output.2)" }
        text = text.replacing(#/\d+<([^>]*)>/#) { String($0.output.1) }
        text = text.replacing(#/^(\w+)\(/#) { "\($0.output.1) " }.replacing(#/\) += /#, with: " = ")
        return text.replacing(#/ \(.*\)$/#, with: "").replacing(",", with: "")
    }
}
