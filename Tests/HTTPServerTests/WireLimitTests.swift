import Compression
import Foundation
import HTTPServer
import HTTPWire
import Testing

/// Limits of what one request may say: below each the request is served, above it is refused with its code.
@Suite struct WireLimitTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let limits: ServerLimits
        let served: String
        let refused: String
        let status: Int
        let code: String
        var figure: LimitName?

        var testDescription: String { name }
    }

    private static func limited(_ change: (inout ServerLimits) -> Void) -> ServerLimits {
        var limits = ServerLimits()
        change(&limits)
        return limits
    }

    private static func get(_ fields: String = "", path: String = "/hello") -> String {
        "GET \(path) HTTP/1.1\r\nHost: x\r\n\(fields)\r\n"
    }

    private static func put(chunks: String) -> String {
        "PUT /sum HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\(chunks)"
    }

    private static func put(_ length: Int) -> String {
        "PUT /sum HTTP/1.1\r\nHost: x\r\nContent-Length: \(length)\r\n\r\n" + String(repeating: "!", count: length)
    }

    static let heads = [
        Case(
            name: "maxFields", limits: limited { $0.head.maxFields = 3 }, served: get("A: b\r\nA: b\r\n"),
            refused: get("A: b\r\nA: b\r\nA: b\r\n"), status: 431, code: "http.too_many_fields",
            figure: .headFields),
        Case(
            name: "maxHeadBytes", limits: limited { $0.head.maxHeadBytes = 100 },
            served: get("A: \(String(repeating: "b", count: 100 - get("A: \r\n").utf8.count))\r\n"),
            refused: get("A: \(String(repeating: "b", count: 101 - get("A: \r\n").utf8.count))\r\n"), status: 431,
            code: "http.head_too_long", figure: .headBytes),
        Case(
            name: "maxTargetBytes", limits: limited { $0.head.maxTargetBytes = 10 }, served: get(path: "/hello?abc"),
            refused: get(path: "/hello?abcd"), status: 414, code: "http.target_too_long",
            figure: .targetBytes),
    ]

    static let bodies = [
        Case(
            name: "maxBodyBytes", limits: limited { $0.maxBodyBytes = 1000 }, served: put(1000), refused: put(1001),
            status: 413, code: "body.too_large", figure: .bodyBytes),
        Case(
            name: "maxBodyBytes, chunked", limits: limited { $0.maxBodyBytes = 3 },
            served: put(chunks: "2\r\n!!\r\n1\r\n!\r\n0\r\n\r\n"),
            refused: put(chunks: "2\r\n!!\r\n2\r\n!!\r\n0\r\n\r\n"),
            status: 413, code: "body.too_large", figure: .bodyBytes),
        Case(
            name: "maxExtensionBytes", limits: limited { $0.chunks.maxExtensionBytes = 4 },
            served: put(chunks: "1;abc\r\n!\r\n0\r\n\r\n"), refused: put(chunks: "1;abcd\r\n!\r\n0\r\n\r\n"),
            status: 400, code: "http.chunk_extension_too_long"),
        Case(
            name: "maxTrailers", limits: limited { $0.chunks.maxTrailers = 1 },
            served: put(chunks: "1\r\n!\r\n0\r\nA: b\r\n\r\n"),
            refused: put(chunks: "1\r\n!\r\n0\r\nA: b\r\nA: b\r\n\r\n"), status: 431, code: "http.too_many_trailers"),
        Case(
            name: "maxTrailerBytes", limits: limited { $0.chunks.maxTrailerBytes = 6 },
            served: put(chunks: "1\r\n!\r\n0\r\nA: b\r\n\r\n"), refused: put(chunks: "1\r\n!\r\n0\r\nA: bc\r\n\r\n"),
            status: 431, code: "http.trailers_too_long"),
        Case(
            name: "maxOverheadBytes", limits: limited { $0.chunks.maxOverheadBytes = 20 },
            served: put(chunks: String(repeating: "1\r\n!\r\n", count: 3) + "0\r\n\r\n"),
            refused: put(chunks: String(repeating: "1\r\n!\r\n", count: 6) + "0\r\n\r\n"), status: 400,
            code: "http.chunk_overhead"),
    ]

    @Test(arguments: heads + bodies)
    func isHeld(_ limit: Case) throws {
        try TestServer.with(limit.limits) { test in
            let client = try Client(test.port)
            try client.send(limit.served)
            #expect(try client.answer().status == 200)
            try client.send(limit.refused)
            let answer = try client.answer()
            #expect(answer.status == limit.status)
            #expect(answer.code == limit.code)
            if let figure = limit.figure { #expect(test.recorder.hits(figure) == 1) }
            #expect(answer.fields["connection"] == (limit.name == "maxBodyBytes" ? nil : "close"))
        }
    }

    @Test func boundsTheRatioOfInflation() throws {
        let zeros = [UInt8](repeating: 0, count: 1_000_000)
        let coded = try gzip(unsafe zeros.span.bytes)
        let ratio = zeros.count / coded.count
        let head = "PUT /sum HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: \(coded.count)\r\n\r\n"
        for (allowed, floor) in [(ratio / 2, 1000), (ratio / 2, zeros.count), (ratio * 2, 1000)] {
            var limits = ServerLimits()
            limits.inflate.maxRatio = allowed
            limits.inflate.ratioFloor = floor
            try TestServer.with(limits) { test in
                let client = try Client(test.port)
                try client.send(Array(head.utf8) + coded)
                let answer = try client.answer()
                if allowed < ratio, floor < zeros.count {
                    #expect(answer.status == 413)
                    #expect(answer.code == "body.inflate_ratio")
                } else {
                    #expect(answer.text == "1000000 0")
                }
            }
        }
    }
}
