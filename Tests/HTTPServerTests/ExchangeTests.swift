import Foundation
import HTTPServer
import HTTPTypes
import Logging
import Sockets
import Synchronization
import Testing

@Suite struct ExchangeTests {
    static let get = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"

    @Test func keepsTheConnectionForFurtherRequests() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            for _ in 0..<3 {
                try client.send(Self.get)
                let answer = try client.answer()
                #expect(answer.status == 200)
                #expect(answer.text == "hello")
                #expect(answer.fields["x-content-type-options"] == "nosniff")
                #expect(answer.fields["date"]?.hasSuffix("GMT") == true)
                #expect(answer.fields["x-request-id"]?.count == 13)
                #expect(answer.fields["connection"] == nil)
            }
            #expect(test.recorder.counts.withLock { $0.opened } == 1)
        }
    }

    @Test func answersPipelinedRequestsInOrder() throws {
        var limits = ServerLimits()
        limits.maxPipelinedRequests = 4
        try TestServer.with(limits) { test in
            let client = try Client(test.port)
            let names = (0..<50).map { "n\($0)" }
            try client.send(names.map { "GET /named/\($0)/content HTTP/1.1\r\nHost: x\r\n\r\n" }.joined())
            for name in names { #expect(try client.answer().text == name) }
        }
    }

    @Test func pipelinesBodiesThreadsAndFiles() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            test.gate.release()
            try client.send(
                "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
                    + "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + "GET /file HTTP/1.1\r\nHost: x\r\n\r\n"
                    + "PUT /sum HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n!!\r\n0\r\n\r\n"
                    + "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(try client.answer().text == "abc")
            #expect(try client.answer().text == "waited")
            #expect(try client.answer().body == test.fileBytes)
            #expect(try client.answer().text == "2 66")
            #expect(try client.answer().text == "hello")
        }
    }

    /// A failure of the server's own reaches who runs it, with what finds it again; a refusal does not. Where files are
    /// is told to nobody else.
    @Test func aFailureIsInTheLog() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            try client.send("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(try client.answer().status == 404)
            try FileManager.default.removeItem(at: test.fileURL)
            try client.send("GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
            let answer = try client.answer()
            #expect(answer.status == 500)
            let lines = test.errors.all.withLock { $0 }
            #expect(lines.map(\.message) == ["a request failed"])
            let said = try #require(lines.first).metadata
            #expect(said["code"] == "test.file")
            #expect(said["detail"] == "open \(test.fileURL.path): none")
            #expect(!answer.text.contains(test.fileURL.path))
            #expect(answer.text.contains("under this trace_id"))
            #expect(said["request_id"]?.description == answer.fields["x-request-id"])
            let trace = try #require(said["trace_id"]?.description)
            #expect(answer.text.contains(trace))
        }
    }

    @Test func readsRequestsThatArriveByteByByte() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            for byte in Array("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde\(Self.get)".utf8) {
                try client.send([byte])
                usleep(300)
            }
            #expect(try client.answer().text == "abcde")
            #expect(try client.answer().text == "hello")
        }
    }

    @Test func headHasTheFieldsOfGetAndNoBody() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            for path in ["/hello", "/file", "/large-json"] {
                try client.send("HEAD \(path) HTTP/1.1\r\nHost: x\r\n\r\nGET \(path) HTTP/1.1\r\nHost: x\r\n\r\n")
                let head = try client.answer(toHead: true)
                let get = try client.answer()
                #expect(head.status == get.status)
                #expect(head.fields["content-length"] == get.fields["content-length"])
                #expect(head.fields["content-length"] == "\(get.body.count)")
            }
        }
    }

    @Test func http10ClosesUnlessAskedNotTo() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            try client.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            #expect(try client.answer().fields["connection"] == "keep-alive")
            try client.send("GET /hello HTTP/1.0\r\n\r\n")
            #expect(try client.answer().fields["connection"] == "close")
            #expect(client.isClosed())
        }
    }

    @Test func routesByPathAndMethod() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            try client.send("GET /named/b%20c/content HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(try client.answer().text == "b c")
            try client.send("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(try client.answer().code == "route.not_found")
            try client.send("DELETE /hello HTTP/1.1\r\nHost: x\r\n\r\n")
            let refused = try client.answer()
            #expect(refused.status == 405)
            #expect(refused.code == "route.method_not_allowed")
            #expect(refused.fields["allow"] == "GET, HEAD, OPTIONS")
            try client.send("OPTIONS /echo HTTP/1.1\r\nHost: x\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
            let options = try client.answer()
            #expect(options.status == 204)
            #expect(options.fields["allow"] == "OPTIONS, POST")
            #expect(options.fields["content-length"] == nil)
            #expect(try client.answer().fields["allow"] == "GET, HEAD, OPTIONS, POST, PUT")
        }
    }

    @Test func httpsIsNotServedInTheClear() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            for (scheme, status) in [("https", 421), ("http", 200), ("HTTPS", 421)] {
                try client.send("GET \(scheme)://x/hello HTTP/1.1\r\nHost: y\r\n\r\n")
                #expect(try client.answer().status == status)
            }
        }
    }

    @Test func refusesRoutesThatHideEachOther() {
        let handler: Route.Handler = { _ in Response(status: .ok) }
        let limits = ServerConfiguration(endpoints: [Endpoint(.network(host: "127.0.0.1", port: 0))])
        for routes in [
            [Route(.get, "/a", .inline, handler: handler), Route(.get, "/a", .inline, handler: handler)],
            [Route(.get, "/a/{b}", .inline, handler: handler), Route(.put, "/a/{c}", .inline, handler: handler)],
            [Route(.get, "a", .inline, handler: handler)],
            [Route(.get, "/{}", .inline, handler: handler)],
        ] {
            #expect(throws: ServerError.self) {
                try Server(
                    configuration: limits, router: Router(routes), logger: .init(label: "test"),
                    observer: Recorder())
            }
        }
    }

    @Test func compressesTextWhenAllowed() throws {
        try TestServer.with { test in
            let plain = try Curl(["\(test.base)/large-json"])
            let coded = try Curl(["--compressed", "-D", "-", "\(test.base)/large-json"])
            #expect(coded.text.contains("Content-Encoding: gzip"))
            #expect(coded.text.contains("Vary: Accept-Encoding"))
            #expect(coded.text.hasSuffix(plain.text))
            #expect(plain.output.count > 10_000)
        }
    }

    @Test func carriesTheTraceOfTheCaller() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            let trace = "4bf92f3577b34da6a3ce929d0e0e4736"
            try client.send("GET /nowhere HTTP/1.1\r\nHost: x\r\ntraceparent: 00-\(trace)-00f067aa0ba902b7-01\r\n\r\n")
            #expect(try client.answer().text.contains(trace))
            let summary = try #require(test.recorder.summaries.first)
            #expect(summary.traceID == trace)
            #expect(summary.errorCode == "route.not_found")
            #expect(summary.status == .notFound)
        }
    }

    @Test func limitsTheRequestsOfAConnection() throws {
        var limits = ServerLimits()
        limits.maxRequestsPerConnection = 2
        try TestServer.with(limits) { test in
            let client = try Client(test.port)
            try client.send(Self.get)
            #expect(try client.answer().fields["connection"] == nil)
            try client.send(Self.get)
            #expect(try client.answer().fields["connection"] == "close")
            #expect(client.isClosed())
        }
    }

    @Test func servesIPv6() throws {
        try TestServer.with(host: "::1") { test in
            let client = try Client(test.port, host: "::1")
            try client.send(Self.get)
            #expect(try client.answer().text == "hello")
            #expect(test.recorder.summaries.first?.peer.hasPrefix("[::1]:") == true)
        }
    }

    @Test func severalLoopsShareTheListener() throws {
        var limits = ServerLimits()
        limits.eventLoops = 3
        try TestServer.with(limits) { test in
            for _ in 0..<20 {
                let client = try Client(test.port)
                try client.send(Self.get)
                #expect(try client.answer().text == "hello")
            }
        }
    }
}
