import Foundation
import HTTPServer
import OpenSSL
import Synchronization
import Testing

@Suite struct TLSTests {
    /// A certificate for 127.0.0.1 made by the openssl command.
    static func context() throws -> TLSContext {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("viva-tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let key = folder.appendingPathComponent("key.pem").path
        let certificate = folder.appendingPathComponent("certificate.pem").path
        let process = Foundation.Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = [
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", certificate,
        ]
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return try TLSContext(certificateFile: certificate, keyFile: key)
    }

    @Test func uploadsDownloadsAndKeepsTheConnection() throws {
        let file = try TemporaryFile(BodyTests.bytes)
        let copy = try TemporaryFile([])
        try TestServer.with(tls: try Self.context()) { test in
            let base = "https://127.0.0.1:\(test.port)"
            let upload = try Curl(["-k", "-T", file.path, "\(base)/sum"])
            #expect(upload.text == BodyTests.sum)
            #expect(try Curl(["-k", "-o", copy.path, "\(base)/file"]).exitCode == 0)
            #expect(try Data(contentsOf: copy.url) == Data(test.fileBytes))
            #expect(try Curl(["-k", "-o", copy.path, "\(base)/produced/300000/none"]).exitCode == 0)
            #expect(try Data(contentsOf: copy.url) == Data(Countdown.bytes(300_000)))
            #expect(try Curl(["-k", "-o", copy.path, "\(base)/produced/300000/70001"]).exitCode != 0)
            let twice = try Curl(["-k", "-w", "%{num_connects}\n", "\(base)/hello", "\(base)/hello", "\(base)/hello"])
            #expect(twice.text == "hello1\nhello0\nhello0\n")
            #expect(try Curl(["-k", "--request-target", "\(base)/hello", base]).text == "hello")
            let refused = try Curl(["-k", "-T", file.path, "\(base)/early"])
            #expect(refused.text.contains("test.refused"))
            let many = try Curl(["-k", "-Z", "--parallel-max", "20"] + Array(repeating: "\(base)/hello", count: 40))
            #expect(many.text == String(repeating: "hello", count: 40))
        }
    }

    @Test func endsSlowHandshakes() throws {
        var limits = ServerLimits()
        limits.tlsHandshake = .milliseconds(100)
        try TestServer.with(limits, tls: try Self.context()) { test in
            let silent = try Client(test.port)
            #expect(silent.isClosed())
            #expect(test.recorder.hits(.tlsHandshake) == 1)
        }
    }

    @Test func tellsThoseWhoSpeakPlainHTTP() throws {
        try TestServer.with(tls: try Self.context()) { test in
            let plain = try Client(test.port)
            try plain.send(ExchangeTests.get)
            let refusal = try plain.answer()
            #expect(refusal.status == 400)
            #expect(refusal.code == "tls.required")
            #expect(plain.isClosed())
            // What is neither is told nothing in plain text.
            let noise = try Client(test.port)
            try noise.send("SSH-2.0-OpenSSH_9.2\r\n")
            #expect(eventually { test.recorder.counts.withLock { $0.closed } == 1 })
            #expect(test.recorder.counts.withLock { $0.started } == 1)
        }
    }
}
