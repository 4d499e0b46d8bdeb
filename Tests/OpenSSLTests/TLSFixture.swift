import Foundation
import Testing

@testable import OpenSSL

/// A folder with a self-signed certificate for `localhost`, made by the openssl program; removed at the end.
final class TLSFixture {
    let folder: URL
    var certificate: String { folder.appendingPathComponent("cert.pem").path }
    var key: String { folder.appendingPathComponent("key.pem").path }

    init() throws {
        // A client that leaves must not end the test's process.
        _ = signal(SIGPIPE, SIG_IGN)
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try openssl([
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate,
        ])
    }

    deinit {
        try? FileManager.default.removeItem(at: folder)
    }

    func context() throws -> TLSContext {
        try TLSContext(certificateFile: certificate, keyFile: key)
    }

    func openssl(_ arguments: [String]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["openssl"] + arguments
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
    }
}

/// One connection whose client is Python's `ssl` module; Python sees the socket as its standard input.
final class TLSPeer {
    let session: TLSSession
    private(set) var descriptor: Int32
    private let process = Process()
    private let output = Pipe()

    /// Starts `script`, which finds the socket as `raw`, a client context as `context` and the folder as `folder`.
    init(_ fixture: TLSFixture, context: TLSContext, isBlocking: Bool, _ script: String) throws {
        var pair: [Int32] = [-1, -1]
        try #require(unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
        descriptor = pair[0]
        if !isBlocking { _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK) }
        session = try TLSSession(context: context, descriptor: descriptor)
        let prelude = """
            import hashlib, os, socket, ssl, sys
            folder = sys.argv[1]
            raw = socket.socket(fileno=os.dup(0))
            context = ssl.create_default_context(cafile=folder + "/cert.pem")
            context.set_alpn_protocols(["h2", "http/1.1"])
            def connect(**more):
                return context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False, **more)

            """
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", "-c", prelude + script, fixture.folder.path]
        let client = FileHandle(fileDescriptor: pair[1], closeOnDealloc: true)
        process.standardInput = client
        process.standardOutput = output
        try process.run()
        try client.close()
    }

    deinit {
        hangUp()
        if process.isRunning { process.terminate() }
        process.waitUntilExit()
    }

    /// What the client printed, when it is done.
    func printed() throws -> String {
        let text = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return String(decoding: text, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// Closes the server's end without a word.
    func hangUp() {
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
    }

    /// Repeats `step` until it is done, polling as it asks; fails after 20 s of silence.
    func drive(_ step: () -> TLSSession.Outcome) throws -> TLSSession.Outcome {
        while true {
            let outcome = step()
            let events: Int32
            switch outcome {
            case .wantRead: events = POLLIN
            case .wantWrite: events = POLLOUT
            default: return outcome
            }
            var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            try #require(unsafe poll(&entry, 1, 20_000) == 1)
        }
    }

    func handshake() throws -> TLSSession.Outcome {
        try drive { session.handshake() }
    }

    /// Reads exactly `count` bytes.
    func read(_ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            guard case .bytes(let more) = try readSome(min(10_000, count - bytes.count), into: &bytes) else { break }
            try #require(more > 0)
        }
        return bytes
    }

    /// Reads once, at most `count` bytes.
    func readSome(_ count: Int, into bytes: inout [UInt8]) throws -> TLSSession.Outcome {
        var buffer = [UInt8](repeating: 0, count: count)
        let outcome = try drive {
            var span = buffer.mutableSpan
            var output = unsafe span.mutableBytes
            return session.read(into: &output)
        }
        if case .bytes(let count) = outcome { bytes += buffer[..<count] }
        return outcome
    }

    /// Writes all bytes; each retry passes a fresh copy, as a moving buffer does.
    func write(_ bytes: [UInt8]) throws {
        var offset = 0
        while offset < bytes.count {
            let outcome = try drive {
                let rest = Array(bytes[offset...].prefix(100_000))
                return unsafe session.write(rest.span.bytes)
            }
            guard case .bytes(let count) = outcome, count > 0 else {
                Issue.record("\(outcome)")
                return
            }
            offset += count
        }
    }
}
