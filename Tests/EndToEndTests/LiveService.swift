import Foundation
import Synchronization
import Testing

/// Where things are in the repository.
enum Repository {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    /// The release executable that `make test` builds before the tests run.
    static let viva = root.appending(path: ".build/release/viva")
    static let example = root.appending(path: "Examples/minilm-layer0.safetensors")
    static let awqExample = root.appending(path: "Examples/awq-layer.safetensors")
    /// Files that numpy and torch wrote.
    static let inputs = root.appending(path: "Tests/Fixtures/inputs")
}

/// What a command printed and how it ended.
struct Outcome {
    let status: Int32
    let output: Data
    let errors: Data

    var text: String { String(decoding: output, as: UTF8.self) }
    var errorText: String { String(decoding: errors, as: UTF8.self) }
}

/// Runs a command to its end. Output goes through files, so that no pipe can fill up.
@discardableResult
func run(_ executable: String, _ arguments: [String], input: URL? = nil) throws -> Outcome {
    let folder = try TemporaryFolder()
    let outputFile = folder.url.appending(path: "out")
    let errorFile = folder.url.appending(path: "err")
    for file in [outputFile, errorFile] { _ = FileManager.default.createFile(atPath: file.path, contents: nil) }
    let process = Process()
    process.executableURL = URL(filePath: executable)
    process.arguments = arguments
    process.standardOutput = try FileHandle(forWritingTo: outputFile)
    process.standardError = try FileHandle(forWritingTo: errorFile)
    process.standardInput = try input.map { try FileHandle(forReadingFrom: $0) } ?? FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    return Outcome(
        status: process.terminationStatus, output: try Data(contentsOf: outputFile),
        errors: try Data(contentsOf: errorFile))
}

/// A folder that goes with its owner.
final class TemporaryFolder: Sendable {
    let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appending(path: "viva-test-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit {
        try? FileManager.default.removeItem(at: url)
    }

    /// Writes a file into the folder.
    func file(_ name: String, _ data: Data) throws -> URL {
        let file = url.appending(path: name)
        try data.write(to: file)
        return file
    }
}

/// The real executable, serving on a free loopback port from a folder; stopped with its owner.
///
/// `process` is the supervisor, which a person starts; `server()` is the process that serves.
final class LiveService {
    let data: URL
    /// The port of the first address.
    let port: Int
    /// Those of all, 0 for local sockets.
    let ports: [Int]
    let process: Process
    private let folder: TemporaryFolder
    private let log: URL

    /// Starts the service and waits until it listens. `data` is kept when given.
    init(
        data: URL? = nil, arguments: [String] = [], environment: [String: String] = [:], listen: String = "127.0.0.1:0"
    ) throws {
        folder = try TemporaryFolder()
        self.data = data ?? folder.url.appending(path: "data")
        let portFile = folder.url.appending(path: "port")
        log = folder.url.appending(path: "log")
        _ = FileManager.default.createFile(atPath: log.path, contents: nil)
        process = Process()
        process.executableURL = Repository.viva
        process.arguments =
            ["serve", "--listen", listen, "--data", self.data.path, "--port-file", portFile.path] + arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardOutput = FileHandle.nullDevice
        process.standardError = try FileHandle(forWritingTo: log)
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let deadline = Date(timeIntervalSinceNow: 30)
        var bound: [Int] = []
        while bound.isEmpty, Date() < deadline, process.isRunning {
            let lines = (try? String(contentsOf: portFile, encoding: .utf8)) ?? ""
            bound = lines.split(separator: "\n").compactMap { Int($0) }
            if bound.isEmpty { Thread.sleep(forTimeInterval: 0.01) }
        }
        guard let first = bound.first else {
            process.terminate()
            let said = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
            throw StartFailure(log: said)
        }
        port = first
        ports = bound
        // The line comes a moment after the file.
        while starts().isEmpty, Date() < deadline { Thread.sleep(forTimeInterval: 0.002) }
    }

    struct StartFailure: Error { let log: String }

    /// Has freed memory overwritten at once, so that who reads it again ends the server (mallopt(3), M_PERTURB).
    static let scrambledMemory = ["MALLOC_PERTURB_": "165", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"]

    deinit {
        kill()
    }

    /// SIGKILL: nothing of the processes' own runs after it. The server dies with its supervisor.
    func kill() {
        guard process.isRunning else { return }
        let servers = starts()
        _ = Glibc.kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        if let server = servers.last { Self.waitForEnd(of: server) }
    }

    /// The processes that have listened so far, the present one last, as the log names them.
    func starts() -> [pid_t] {
        logLines("listening").compactMap { ($0["pid"] as? String).flatMap { pid_t($0) } }
    }

    /// The process that serves.
    func server() throws -> pid_t { try #require(starts().last) }

    /// The lines of the log that say this.
    func logLines(_ message: String) -> [[String: Any]] {
        let text = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").compactMap { line in
            let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
            return object?["message"] as? String == message ? object : nil
        }
    }

    /// Whether the log soon has a line that says this.
    func eventuallyLogs(_ message: String) -> Bool {
        let deadline = Date(timeIntervalSinceNow: 10)
        while logLines(message).isEmpty, Date() < deadline { Thread.sleep(forTimeInterval: 0.01) }
        return !logLines(message).isEmpty
    }

    /// Whether a process runs no more; who has not been waited for yet runs no more either.
    static func hasEnded(_ identifier: pid_t) -> Bool {
        guard let text = try? String(contentsOfFile: "/proc/\(identifier)/stat", encoding: .utf8) else { return true }
        return text.split(separator: ")").last?.split(separator: " ").first == "Z"
    }

    /// Waits for the end of a process, but not for ever.
    @discardableResult
    static func waitForEnd(of identifier: pid_t) -> Bool {
        let deadline = Date(timeIntervalSinceNow: 20)
        while !hasEnded(identifier), Date() < deadline { Thread.sleep(forTimeInterval: 0.002) }
        return hasEnded(identifier)
    }

    func url(_ path: String, scheme: String = "http") -> String { "\(scheme)://127.0.0.1:\(port)\(path)" }

    /// One request with curl; `-f` is not used, so that problems can be read.
    func curl(_ path: String, _ arguments: [String] = [], input: URL? = nil, scheme: String = "http") throws -> Answer {
        let folder = try TemporaryFolder()
        let body = folder.url.appending(path: "body")
        let head = folder.url.appending(path: "head")
        let outcome = try run(
            "/usr/bin/curl",
            ["-sS", "-k", "--max-time", "120", "-o", body.path, "-D", head.path, "-w", "%{http_code}"] + arguments
                + [url(path, scheme: scheme)], input: input)
        return Answer(
            status: Int(outcome.text) ?? 0, body: (try? Data(contentsOf: body)) ?? Data(),
            head: (try? String(contentsOf: head, encoding: .utf8)) ?? "", curlStatus: outcome.status)
    }

    /// POSTs a file.
    func post(_ file: URL, _ query: String, _ arguments: [String] = []) throws -> Answer {
        try curl("/v1/quantize?\(query)", ["-X", "POST", "-T", file.path] + arguments)
    }

    /// Everything that lies in staging and among the artifacts.
    func filesOnDisk() -> (staging: [String], artifacts: [String]) {
        func list(_ name: String) -> [String] {
            (try? FileManager.default.contentsOfDirectory(atPath: data.appending(path: name).path)) ?? []
        }
        return (list("staging"), list("artifacts"))
    }

    /// Bytes allocated to the regular files that the server has open, unnamed scratch files included.
    func diskInUse() throws -> Int {
        let script = "stat -L -c '%F %b %B' /proc/\(try server())/fd/* 2>/dev/null || true"
        let lines = try run("/usr/bin/env", ["sh", "-c", script]).text.split(separator: "\n")
        return lines.filter { $0.hasPrefix("regular file") }.reduce(0) { sum, line in
            let figures = line.split(separator: " ").suffix(2).compactMap { Int($0) }
            return sum + figures.reduce(1, *)
        }
    }

    /// A figure of `/proc/PID/status` in KiB, for instance `VmHWM`: the peak of resident memory.
    func memory(_ name: String) throws -> Int {
        let status = try String(contentsOfFile: "/proc/\(try server())/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("\(name):") })
        return try #require(line.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) })
    }
}

/// An answer of the service.
struct Answer {
    let status: Int
    let body: Data
    let head: String
    let curlStatus: Int32

    /// The last value of a field, by name.
    func field(_ name: String) -> String? {
        head.split(whereSeparator: \.isNewline).last { $0.lowercased().hasPrefix(name.lowercased() + ":") }
            .map { $0.dropFirst(name.count + 1).trimmingCharacters(in: .whitespaces) }
    }

    /// The body as a JSON object.
    func json() throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: body) as? [String: Any])
    }
}

/// SHA-256 in hexadecimal by coreutils, which nobody here wrote.
func sha256(_ data: Data) throws -> String {
    let folder = try TemporaryFolder()
    let file = try folder.file("bytes", data)
    return String(try run("/usr/bin/sha256sum", [file.path]).text.prefix(64))
}
