import Foundation
import Glibc
import HTTPServer
import OpenSSL
@testable import Sockets
import Synchronization
import Testing

/// Where a server listens, and what it shows to who comes.
@Suite struct ListenerTests {
    @Test func oneServerListensAtManyPlaces() throws {
        let folder = try TemporaryFolder()
        let path = folder.url.appendingPathComponent("viva.sock").path
        let more = [
            Endpoint(.network(host: "127.0.0.1", port: 0)), Endpoint(.network(host: "::1", port: 0)),
            Endpoint(.local(path: path)),
        ]
        try TestServer.with(tls: try TLSTests.context(), more: more) { (test: TestServer) throws in
            let addresses = Array(test.server.addresses.joined())
            #expect(addresses.map(\.isLocal) == [false, false, false, true])
            #expect(addresses.allSatisfy { $0.isLoopback })
            let curls = [
                ["-k", "https://127.0.0.1:\(addresses[0].port)/hello"], ["http://127.0.0.1:\(addresses[1].port)/hello"],
                ["http://[::1]:\(addresses[2].port)/hello"], ["--unix-socket", path, "http://localhost/hello"],
            ]
            for arguments in curls { #expect(try Curl(arguments).text == "hello", "\(arguments)") }
            #expect(test.recorder.summaries.last?.peer == "unix:")
            var status = stat()
            #expect(unsafe lstat(path, &status) == 0)
            #expect(status.st_mode & 0o777 == 0o660)
            // Who speaks the other language is refused, not served.
            #expect(try Curl(["http://127.0.0.1:\(addresses[0].port)/hello"]).text.contains("tls.required"))
            #expect(try Curl(["-k", "https://127.0.0.1:\(addresses[1].port)/hello"]).exitCode != 0)
            #expect(throws: SocketError.system(call: "bind", errno: EADDRINUSE)) {
                _ = try Listener(at: .local(path: path))
            }
        }
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test func aNameIsHeardAtAllItsAddresses() throws {
        // The second is nobody's (RFC 5737): what this machine does not have is left out, unless there is no other.
        let bound = try Listener.bind(["127.0.0.1", "192.0.2.1", "::1"], 0) { $0.address }
        #expect(bound.map(\.host) == ["127.0.0.1", "::1"])
        #expect(Set(bound.map(\.port)).count == 1 && bound.first?.port != 0)
        #expect(throws: SocketError.system(call: "bind", errno: EADDRNOTAVAIL)) {
            _ = try Listener.bind(["192.0.2.1"], 0) { $0.address }
        }
        // As Python's resolver has them.
        let script = "import socket; print(*sorted({a[4][0] for a in socket.getaddrinfo('localhost', 0)}))"
        let known = try Command("/usr/bin/env", ["python3", "-c", script]).text.split(whereSeparator: \.isWhitespace)
        try TestServer.with(host: "localhost") { test in
            let addresses = try #require(test.server.addresses.first)
            #expect(addresses.map(\.host).sorted() == known.map(String.init))
            for address in addresses {
                #expect(address.port == test.port)
                let client = try Client(address.port, host: address.host)
                try client.send(ExchangeTests.get)
                #expect(try client.answer().text == "hello")
            }
        }
    }

    /// Alone `[::]` is all there is; beside an address of IPv4 each has its own.
    @Test func bothFamiliesShareAPort() throws {
        func hears(_ test: TestServer, _ host: String) throws -> String {
            let client = try Client(test.port, host: host)
            try client.send(ExchangeTests.get)
            #expect(try client.answer().text == "hello")
            return try #require(test.recorder.summaries.last?.peer)
        }
        let port = try TestServer.with(host: "::") { (test: TestServer) throws -> UInt16 in
            #expect(try hears(test, "127.0.0.1").hasPrefix("[::ffff:127.0.0.1]:"))
            #expect(try hears(test, "::1").hasPrefix("[::1]:"))
            return test.port
        }
        for hosts in [["::", "0.0.0.0"], ["127.0.0.1", "::"]] {
            let more = hosts.map { Endpoint(.network(host: $0, port: port)) }
            try TestServer.with(endpoints: more) { (test: TestServer) throws in
                #expect(try hears(test, "127.0.0.1").hasPrefix("127.0.0.1:"))
                #expect(try hears(test, "::1").hasPrefix("[::1]:"))
                // What is another's stays so.
                #expect(throws: SocketError.system(call: "bind", errno: EADDRINUSE)) {
                    _ = try Listener.bind(["::", "0.0.0.0"], port) { $0.address }
                }
            }
        }
    }

    @Test func theFileOfADeadServerIsReplacedAndNoOther() throws {
        let folder = try TemporaryFolder()
        let path = folder.url.appendingPathComponent("viva.sock").path
        // A killed server unlinks nothing: its file is linked twice, and one name outlives it.
        do {
            let bound = try Listener(at: .local(path: path + "-first"))
            #expect(bound.address.description == "unix:\(path)-first")
            try FileManager.default.linkItem(atPath: path + "-first", toPath: path)
        }
        #expect(FileManager.default.fileExists(atPath: path))
        let again = try Listener(at: .local(path: path))
        #expect(again.address.isLocal)
        let file = folder.url.appendingPathComponent("file").path
        try Data("keep".utf8).write(to: URL(fileURLWithPath: file))
        #expect(throws: SocketError.system(call: "bind", errno: EADDRINUSE)) {
            _ = try Listener(at: .local(path: file))
        }
        #expect(try String(contentsOfFile: file, encoding: .utf8) == "keep")
        let long = "/tmp/" + String(repeating: "a", count: 200)
        #expect(throws: SocketError.system(call: "bind", errno: ENAMETOOLONG)) {
            _ = try Listener(at: .local(path: long))
        }
    }

    /// The serial number that a client is shown.
    private static func shown(_ port: UInt16) throws -> String {
        let script = "openssl s_client -connect 127.0.0.1:\(port) </dev/null 2>/dev/null | openssl x509 -noout -serial"
        return try Command("/bin/sh", ["-c", script]).text
    }

    @Test func anotherCertificateGreetsNewClientsAndEndsNobody() throws {
        var limits = ServerLimits()
        limits.threadPatience = .milliseconds(1)
        let copy = try TemporaryFile([])
        try TestServer.with(limits, tls: try TLSTests.context()) { test in
            let before = try Self.shown(test.port)
            // A download that goes on over the change.
            let slow = Foundation.Process()
            slow.executableURL = URL(fileURLWithPath: "/usr/bin/curl")
            slow.arguments = [
                "-sSk", "--limit-rate", "8M", "-o", copy.path,
                "https://127.0.0.1:\(test.port)/produced/12000000/none",
            ]
            try slow.run()
            #expect(eventually { test.server.flights.contains { $0.bytesSent > 0 } })
            test.server.present(try TLSTests.context())
            let after = try Self.shown(test.port)
            #expect(before.hasPrefix("serial=") && after.hasPrefix("serial="))
            #expect(before != after)
            slow.waitUntilExit()
            #expect(slow.terminationStatus == 0)
            // It gave its thread back at every pause, and went on with the record that it had begun.
            #expect(try Data(contentsOf: copy.url) == Data(Countdown.bytes(12_000_000)))
            #expect(eventually { test.recorder.summaries.contains { $0.responseBodyBytes == 12_000_000 } })
        }
    }

    /// A ticket spares the second handshake, until another certificate is presented.
    @Test(arguments: ["TLSv1_2", "TLSv1_3"])
    func aClientComesBackWithATicket(_ version: String) throws {
        try TestServer.with(tls: try TLSTests.context()) { (test: TestServer) throws in
            let script = """
                import socket, ssl, sys
                context = ssl.create_default_context()
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                context.maximum_version = ssl.TLSVersion.\(version)
                session = None
                for turn in range(3):
                    raw = socket.create_connection(("127.0.0.1", \(test.port)))
                    tls = context.wrap_socket(raw, session=session)
                    tls.sendall(b"GET /hello HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
                    tls.recv(4096)
                    session = tls.session
                    print(tls.session_reused, flush=True)
                    if turn == 1: sys.stdin.readline()
                """
            let process = Foundation.Process()
            let (input, output) = (Pipe(), Pipe())
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = ["python3", "-c", script]
            process.standardInput = input
            process.standardOutput = output
            try process.run()
            var text = ""
            while !text.hasSuffix("True\n"), process.isRunning {
                text += String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
            }
            test.server.present(try TLSTests.context())
            try input.fileHandleForWriting.write(contentsOf: Data("\n".utf8))
            text += String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            process.waitUntilExit()
            #expect(text == "False\nTrue\nFalse\n")
        }
    }

    @Test func aCertificateSaysWhenItEnds() throws {
        let left = try TLSTests.context().secondsOfEnd - Int(Date().timeIntervalSince1970)
        #expect((2 * 86_400 - 600...2 * 86_400).contains(left))
    }

    /// A client that ends its half still gets its answer, with close_notify in the end.
    @Test func aHalfOpenTLSClientIsAnswered() throws {
        try TestServer.with(tls: try TLSTests.context()) { (test: TestServer) throws in
            let script = """
                import os, socket, ssl, sys
                context = ssl.create_default_context()
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                raw = socket.create_connection(("127.0.0.1", \(test.port)))
                tls = context.wrap_socket(raw, suppress_ragged_eofs=False)
                fields = b"Host: x\\r\\nConnection: close\\r\\nContent-Length: 2\\r\\n\\r\\n"
                tls.sendall(b"PUT /sum HTTP/1.1\\r\\n" + fields + b"!!")
                if sys.argv[1] == "half": socket.socket(fileno=os.dup(tls.fileno())).shutdown(socket.SHUT_WR)
                text = b""
                while True:
                    part = tls.recv(4096)
                    if not part: break
                    text += part
                print(text.split(b"\\r\\n\\r\\n")[1].decode())
                """
            for way in ["half", "whole"] {
                #expect(try Command("/usr/bin/env", ["python3", "-c", script, way]).text == "2 66\n", "\(way)")
            }
        }
    }
}

/// A program's output.
struct Command {
    let status: Int32
    let text: String

    init(_ path: String, _ arguments: [String]) throws {
        let process = Foundation.Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        process.standardOutput = output
        try process.run()
        text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        status = process.terminationStatus
    }
}

/// A folder that goes with its owner.
final class TemporaryFolder {
    let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appendingPathComponent("viva-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit {
        try? FileManager.default.removeItem(at: url)
    }
}
