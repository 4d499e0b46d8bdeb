import Foundation
import HTTPServer
import Synchronization
import Testing

/// Bodies that are made while they are sent.
@Suite struct ProducedBodyTests {
    private static func get(_ path: String, _ fields: String = "", method: String = "GET") -> String {
        "\(method) /produced/\(path) HTTP/1.1\r\nHost: x\r\n\(fields)\r\n"
    }

    @Test(arguments: [0, 1, 1000, 300_000])
    func arriveWhole(_ length: Int) throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            // The connection serves on behind it.
            try client.send(Self.get("\(length)/none") + ExchangeTests.get)
            let answer = try client.answer()
            #expect(answer.status == 200)
            #expect(answer.fields["content-length"] == "\(length)")
            #expect(answer.fields["accept-ranges"] == "none")
            #expect(answer.fields["content-type"] == "text/plain")
            #expect(answer.fields["content-encoding"] == nil)
            #expect(answer.body == Countdown.bytes(length))
            #expect(try client.answer().text == "hello")
            #expect(test.recorder.summaries.first?.responseBodyBytes == length)
        }
    }

    @Test func headAndConditionsMakeNothing() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            // A producer that fails at once would show.
            try client.send(Self.get("300000/1", method: "HEAD"))
            let head = try client.answer(toHead: true)
            #expect(head.status == 200)
            #expect(head.fields["content-length"] == "300000")
            #expect(head.fields["etag"] == "\"sha256-test\"")
            try client.send(Self.get("300000/1", "If-None-Match: \"sha256-test\"\r\n"))
            #expect(try client.answer().status == 304)
            try client.send(Self.get("300000/1", "If-Match: \"other\"\r\n"))
            #expect(try client.answer().code == "precondition.failed")
            try client.send(Self.get("10/none", "Range: bytes=2-3\r\n"))
            let ranged = try client.answer()
            #expect(ranged.status == 200)
            #expect(ranged.body.count == 10)
        }
    }

    /// Odd: the producer throws; even: it has no more bytes than it promised.
    @Test(arguments: [1, 2, 100_001, 100_002])
    func aFailureClosesBeforeTheLength(_ failure: Int) throws {
        try TestServer.with { test in
            let copy = try TemporaryFile([])
            let curl = try Curl(["-o", copy.path, "\(test.base)/produced/300000/\(failure)"])
            // 18: the transfer is shorter than announced.
            #expect(curl.exitCode == 18)
            #expect(try Data(contentsOf: copy.url) == Data(Countdown.bytes(failure)))
            #expect(eventually { !test.recorder.summaries.isEmpty })
            let summary = try #require(test.recorder.summaries.first)
            #expect(summary.errorCode == (failure % 2 == 1 ? "test.failed" : "response.short"))
            #expect(summary.responseBodyBytes == failure)
            #expect(test.recorder.counts.withLock { $0.closed } == 1)
        }
    }

    @Test func clientsThatDoNotReadAreEnded() throws {
        var limits = ServerLimits()
        limits.writeStall = .milliseconds(200)
        try TestServer.with(limits) { test in
            let client = try Client(test.port, receiveBuffer: 4096)
            try client.send(Self.get("100000000/none"))
            #expect(eventually { test.recorder.counts.withLock { $0.closed } == 1 })
            #expect(test.recorder.summaries.last?.errorCode == "response.stalled")
        }
    }
}
