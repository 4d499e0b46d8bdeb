import Compression
import Foundation
import HTTPServer
import Testing

@Suite struct BodyTests {
    static let bytes = (0..<5_000_000).map { UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761) >> 17) }
    static let sum = "\(bytes.count) \(bytes.reduce(0) { $0 + Int($1) })"

    @Test(arguments: [[], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"]])
    func takesLargeUploads(_ options: [String]) throws {
        let file = try TemporaryFile(Self.bytes)
        try TestServer.with { test in
            let curl = try Curl(["-T", file.path, "\(test.base)/sum"] + options)
            #expect(curl.text == Self.sum)
            #expect(test.recorder.summaries.first?.requestBodyBytes == Self.bytes.count)
        }
    }

    @Test func inflatesGzip() throws {
        let file = try TemporaryFile(Self.bytes)
        let gzip = Foundation.Process()
        gzip.executableURL = URL(fileURLWithPath: "/usr/bin/gzip")
        gzip.arguments = ["-k", file.path]
        try gzip.run()
        gzip.waitUntilExit()
        defer { try? FileManager.default.removeItem(atPath: file.path + ".gz") }
        try TestServer.with { test in
            let coding = ["-H", "Content-Encoding: gzip"]
            #expect(try Curl(["-T", file.path + ".gz", "\(test.base)/sum"] + coding).text == Self.sum)
            let broken = try Curl(["-T", file.path, "\(test.base)/sum"] + coding)
            #expect(broken.text.contains("body.gzip_malformed"))
            let unknown = try Curl(["-i", "-T", file.path, "\(test.base)/sum", "-H", "Content-Encoding: br"])
            #expect(unknown.text.contains("415 "))
            #expect(unknown.text.contains("body.unsupported_coding"))
            #expect(unknown.text.contains("Accept-Encoding: gzip"))
        }
    }

    @Test func boundsInflation() throws {
        var limits = ServerLimits()
        limits.inflate.maxBytes = 1_000_000
        let file = try TemporaryFile(Self.bytes)
        let gzip = Foundation.Process()
        gzip.executableURL = URL(fileURLWithPath: "/usr/bin/gzip")
        gzip.arguments = [file.path]
        try gzip.run()
        gzip.waitUntilExit()
        defer { try? FileManager.default.removeItem(atPath: file.path + ".gz") }
        try TestServer.with(limits) { test in
            let curl = try Curl(["-T", file.path + ".gz", "\(test.base)/sum", "-H", "Content-Encoding: gzip"])
            #expect(curl.text.contains("body.inflated_too_large"))
        }
    }

    @Test func refusesBeforeTheBodyIsSent() throws {
        let file = try TemporaryFile(Self.bytes)
        try TestServer.with { test in
            let expect = ["-H", "Expect: 100-continue", "--expect100-timeout", "20"]
            for (path, code) in [("guarded", "test.guarded"), ("small", "body.too_large"), ("early", "test.refused")] {
                let report = ["-w", "\n%{size_upload} %{http_code}"]
                let curl = try Curl(["-T", file.path, "\(test.base)/\(path)"] + expect + report)
                #expect(curl.text.contains("\"code\":\"\(code)\""))
                #expect(curl.text.contains("\n0 "), "\(path) took \(curl.text)")
            }
        }
    }

    @Test func continuesOnlyWhenTheHandlerReads() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            try client.send("PUT /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            #expect(try client.answer().status == 100)
            try client.send("!!")
            #expect(try client.answer().text == "2 66")
            try client.send(ExchangeTests.get)
            #expect(try client.answer().text == "hello")
        }
    }

    @Test(arguments: ["early", "half", "small", "guarded"])
    func refusedBodiesStillGetTheirAnswer(_ path: String) throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            let body = [UInt8](repeating: 7, count: 32 << 20)
            try client.send("PUT /\(path) HTTP/1.1\r\nHost: x\r\nContent-Length: \(body.count)\r\n\r\n")
            // Like many clients: all of the body first, then the answer.
            try client.send(body)
            let answer = try client.answer()
            #expect(answer.status >= 400)
            #expect(answer.code != nil)
            #expect(answer.fields["connection"] == "close")
            client.finishSending()
            #expect(client.isClosed())
        }
    }

    @Test func keepsTheConnectionWhenAnUnreadBodyHasArrived() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            try client.send("PUT /early HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd" + ExchangeTests.get)
            let refused = try client.answer()
            #expect(refused.code == "test.refused")
            #expect(refused.text.contains(#""detail":"Not \"here\".\u000a""#))
            #expect(refused.text.contains(#""limit":7,"ratio":null"#))
            #expect(try client.answer().text == "hello")
        }
    }

    @Test func comparesDigests() throws {
        // The sha-256 of "abc" (FIPS 180-4, example 1).
        let digest = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
        try TestServer.with { test in
            for name in ["Content-Digest", "Repr-Digest"] {
                let client = try Client(test.port)
                let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\(name): sha-256=:\(digest):\r\n\r\n"
                try client.send(head + "abc")
                #expect(try client.answer().text == "abc")
                try client.send(head + "abd")
                #expect(try client.answer().code == "digest.mismatch")
                let other = try Client(test.port)
                let start = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
                try other.send("\(start)\(name): sha-256=:YQ==:\r\n\r\nabc")
                #expect(try other.answer().code == "digest.malformed")
            }
        }
    }

    @Test func tellsABodyThatWasCutShort() throws {
        try TestServer.with { test in
            for framing in ["Content-Length: 200000", "Transfer-Encoding: chunked", "Content-Length: 200"] {
                let client = try Client(test.port)
                try client.send("PUT /sum HTTP/1.1\r\nHost: x\r\n\(framing)\r\n\r\n")
                try client.send("20000\r\n" + String(repeating: "x", count: framing.hasSuffix("200") ? 100 : 100_000))
                client.finishSending()
                let answer = try client.answer()
                #expect(answer.code == "body.incomplete")
                #expect(client.isClosed())
            }
        }
    }

    @Test func finishesTheReportOfAClientThatVanishes() throws {
        try TestServer.with { test in
            for length in [100, 200_000] {
                var client: Client? = try Client(test.port)
                try client?.send("PUT /sum HTTP/1.1\r\nHost: x\r\nContent-Length: \(length)\r\n\r\nab")
                client = nil
            }
            #expect(eventually { test.recorder.summaries.count == 2 })
            #expect(test.recorder.summaries.allSatisfy { $0.errorCode == "body.incomplete" })
        }
    }

    @Test func refusesBrokenChunks() throws {
        try TestServer.with { test in
            for chunk in ["xyz\r\n", "3\r\nabcd\r\n", "-1\r\n", "fffffffffffffffff\r\n"] {
                let client = try Client(test.port)
                try client.send("PUT /sum HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\(chunk)")
                let answer = try client.answer()
                #expect(answer.status == 400)
                #expect(answer.code?.hasPrefix("http.chunk") == true)
                #expect(client.isClosed())
            }
        }
    }
}
