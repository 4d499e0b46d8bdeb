import Foundation
import Glibc
import Testing

/// Addresses, certificates and what an operator sees, at the executable.
@Suite struct ListeningTests {
    private static func certify(_ folder: TemporaryFolder) throws -> [String] {
        let (certificate, key) = (folder.url.appending(path: "cert.pem"), folder.url.appending(path: "key.pem"))
        let made = try run(
            "/usr/bin/openssl",
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", "/CN=localhost", "-keyout", key.path, "-out", certificate.path,
            ])
        #expect(made.status == 0)
        return ["--tls-cert", certificate.path, "--tls-key", key.path]
    }

    private static func serial(_ port: Int) throws -> String {
        let script = "openssl s_client -connect 127.0.0.1:\(port) </dev/null 2>/dev/null | openssl x509 -noout -serial"
        return try run("/bin/sh", ["-c", script]).text
    }

    @Test func plainOutsideOfTLSAndANewCertificateWithoutARestart() throws {
        let folder = try TemporaryFolder()
        let socket = folder.url.appending(path: "viva.sock").path
        // The first address is LiveService's own: plain, on loopback.
        let options = try Self.certify(folder) + ["--listen", "https://127.0.0.1:0", "--listen", "unix:\(socket)"]
        let service = try LiveService(arguments: options, listen: "http://127.0.0.1:0")
        let secure = try #require(service.ports.dropFirst().first)
        #expect(service.ports.count == 3)
        #expect(try service.curl("/livez").status == 200)
        #expect(try run("/usr/bin/curl", ["-sfk", "https://127.0.0.1:\(secure)/livez"]).status == 0)
        #expect(try run("/usr/bin/curl", ["-sf", "--unix-socket", socket, "http://localhost/livez"]).status == 0)
        #expect(try run(Repository.viva.path, ["healthcheck", "--listen", "unix:\(socket)"]).status == 0)
        let before = try Self.serial(secure)
        _ = try Self.certify(folder)
        Glibc.kill(service.process.processIdentifier, SIGHUP)
        #expect(service.eventuallyLogs("certificate read again"))
        #expect(try Self.serial(secure) != before)
        // What is no certificate changes nothing.
        let after = try Self.serial(secure)
        try Data("nonsense".utf8).write(to: folder.url.appending(path: "cert.pem"))
        Glibc.kill(service.process.processIdentifier, SIGHUP)
        #expect(service.eventuallyLogs("the old certificate stays"))
        let error = try #require(service.logLines("the old certificate stays").first?["error"] as? String)
        #expect(error.contains("cert.pem and ") && error.contains("are no certificate chain and its key"), "\(error)")
        #expect(try Self.serial(secure) == after)
        let metrics = String(decoding: try service.curl("/metrics").body, as: UTF8.self)
        #expect(metrics.contains("\nviva_tls_refused_reloads_total 1\n"))
        #expect(metrics.contains("http_server_limit_reached_total{limit=\"descriptors\"} 0"))
        // A dead server's successor has all addresses.
        _ = try Self.certify(folder)
        Glibc.kill(try service.server(), SIGKILL)
        #expect(try run("/usr/bin/curl", ["-sf", "--unix-socket", socket, "http://localhost/livez"]).status == 0)
        Glibc.kill(service.process.processIdentifier, SIGTERM)
        service.process.waitUntilExit()
        #expect(!FileManager.default.fileExists(atPath: socket))
    }

    /// As many sockets as the name has addresses here, and one port, go from the supervisor to each of its servers.
    @Test func aNameIsHeardAtAllItsAddresses() throws {
        let folder = try TemporaryFolder()
        let socket = folder.url.appending(path: "viva.sock").path
        let service = try LiveService(arguments: ["--listen", "unix:\(socket)"], listen: "localhost:0")
        let script = "import socket; print(*{a[4][0] for a in socket.getaddrinfo('localhost', 0)})"
        let known = try run("/usr/bin/env", ["python3", "-c", script]).text.split(whereSeparator: \.isWhitespace)
        #expect(!known.isEmpty && service.ports == [service.port, 0])
        for isSuccessor in [false, true] {
            if isSuccessor { Glibc.kill(try service.server(), SIGKILL) }
            for host in known {
                let url = "http://\(host.contains(":") ? "[\(host)]" : host):\(service.port)/livez"
                #expect(try run("/usr/bin/curl", ["-sfg", url]).status == 0, "\(url)")
            }
            #expect(try run("/usr/bin/curl", ["-sf", "--unix-socket", socket, "http://localhost/livez"]).status == 0)
        }
    }

    @Test func aSignalToReadAgainEndsNobodyWithoutTLS() throws {
        let service = try LiveService()
        Glibc.kill(service.process.processIdentifier, SIGHUP)
        Glibc.kill(try service.server(), SIGHUP)
        Thread.sleep(forTimeInterval: 0.3)
        #expect(try service.curl("/livez").status == 200)
        #expect(service.logLines("draining").isEmpty)
    }

    @Test func certificatesAndAddressesBelongTogether() throws {
        let folder = try TemporaryFolder()
        let options = try Self.certify(folder)
        let data = ["--data", folder.url.appending(path: "data").path]
        for wrong in [
            ["--listen", "https://127.0.0.1:0"], options + ["--listen", "http://127.0.0.1:0"],
            ["--listen", "ftp://127.0.0.1:0"], ["--limit", "head-deadline=soon"], ["--log-sample", "2"],
        ] {
            let outcome = try run(Repository.viva.path, ["serve"] + data + wrong)
            #expect(outcome.status != 0, "\(wrong)")
            #expect(!outcome.errorText.isEmpty)
        }
    }

    @Test func whatIsUnderWayIsListedAndTheLogIsSampled() throws {
        let service = try LiveService(arguments: ["--log-sample", "0", "--limit", "head-bytes=2048"])
        let folder = try TemporaryFolder()
        let file = try folder.file(
            "in", Inputs.safetensors([("weight", [256, 1024], Inputs.gaussian(1 << 18, seed: 5))]))
        let upload = Process()
        upload.executableURL = URL(filePath: "/usr/bin/curl")
        upload.arguments = [
            "-sSf", "--limit-rate", "300k", "-X", "POST", "-T", file.path, "-o", "/dev/null",
            service.url("/v1/quantize?method=nf4"),
        ]
        upload.standardError = FileHandle.nullDevice
        try upload.run()
        var flight: [String: Any]?
        for _ in 0..<200 where flight == nil {
            let items = try service.curl("/v1/requests").json()["items"] as? [[String: Any]] ?? []
            #expect(items.contains { $0["route"] as? String == "/v1/requests" })
            flight = items.first { $0["route"] as? String == "/v1/quantize" && $0["request_bytes"] as? Int ?? 0 > 0 }
        }
        #expect(flight?["method"] as? String == "POST")
        #expect(flight?["phase"] as? String == "working")
        upload.terminate()
        upload.waitUntilExit()
        #expect(try service.curl("/livez", ["-H", "X: \(String(repeating: "a", count: 3000))"]).status == 431)
        #expect(service.logLines("request").isEmpty)
        let metrics = String(decoding: try service.curl("/metrics").body, as: UTF8.self)
        #expect(metrics.contains("http_server_limit_reached_total{limit=\"head-bytes\"} 1"))
    }
}
