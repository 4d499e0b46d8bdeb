import Foundation
import HTTPServer
import Testing

@Suite struct FileTests {
    private func get(_ test: TestServer, _ fields: String = "") throws -> Answer {
        let client = try Client(test.port)
        try client.send("GET /file HTTP/1.1\r\nHost: x\r\n\(fields)\r\n")
        let answer = try client.answer()
        try client.send(ExchangeTests.get)
        #expect(try client.answer().text == "hello")
        return answer
    }

    @Test func sendsTheWholeFile() throws {
        try TestServer.with { test in
            let answer = try get(test)
            #expect(answer.status == 200)
            #expect(answer.body == test.fileBytes)
            #expect(answer.fields["etag"] == "\"sha256-test\"")
            #expect(answer.fields["accept-ranges"] == "bytes")
            #expect(answer.fields["last-modified"] == "Sun, 06 Nov 1994 08:49:37 GMT")
            #expect(answer.fields["repr-digest"] == "sha-256=:test:")
            #expect(answer.fields["content-digest"] == "sha-256=:test:")
            #expect(test.recorder.summaries.first?.responseBodyBytes == test.fileBytes.count)
            let copy = try TemporaryFile([])
            #expect(try Curl(["-o", copy.path, "\(test.base)/file"]).exitCode == 0)
            #expect(try Data(contentsOf: copy.url) == Data(test.fileBytes))
        }
    }

    @Test func sendsSingleRanges() throws {
        try TestServer.with { test in
            let all = test.fileBytes
            for (range, expected) in [
                ("0-0", 0..<1), ("100-299", 100..<300), ("2999000-", 2_999_000..<3_000_000),
                ("-5", 2_999_995..<3_000_000), ("1-2000000", 1..<2_000_001),
            ] {
                let answer = try get(test, "Range: bytes=\(range)\r\n")
                #expect(answer.status == 206)
                #expect(answer.fields["repr-digest"] == "sha-256=:test:")
                #expect(answer.fields["content-digest"] == nil)
                #expect(
                    answer.fields["content-range"] == "bytes \(expected.lowerBound)-\(expected.upperBound - 1)/3000000")
                #expect(answer.body == Array(all[expected]))
            }
        }
    }

    @Test func sendsSeveralRanges() throws {
        try TestServer.with { test in
            let answer = try get(test, "Range: bytes=0-9,1000-1009,-3\r\n")
            #expect(answer.status == 206)
            let type = try #require(answer.fields["content-type"])
            #expect(type.hasPrefix("multipart/byteranges; boundary="))
            let boundary = type.components(separatedBy: "boundary=")[1]
            var expected = [UInt8]()
            for range in [0..<10, 1000..<1010, 2_999_997..<3_000_000] {
                expected += Array(
                    ("\r\n--\(boundary)\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes "
                        + "\(range.lowerBound)-\(range.upperBound - 1)/3000000\r\n\r\n").utf8)
                expected += test.fileBytes[range]
            }
            expected += Array("\r\n--\(boundary)--\r\n".utf8)
            #expect(answer.body == expected)
        }
    }

    @Test func heedsConditions() throws {
        try TestServer.with { test in
            let outside = try get(test, "Range: bytes=3000000-\r\n")
            #expect(outside.code == "range.unsatisfiable")
            #expect(outside.fields["content-range"] == "bytes */3000000")
            let many = try get(test, "Range: bytes=0-0\(String(repeating: ",9-9", count: 16))\r\n")
            #expect(many.status == 416 && many.code == "range.too_many")
            #expect(many.fields["content-range"] == "bytes */3000000")
            let same = try get(test, "If-None-Match: \"other\", \"sha256-test\"\r\n")
            #expect(same.status == 304)
            #expect(same.fields["etag"] == "\"sha256-test\"")
            for name in ["content-type", "accept-ranges", "repr-digest"] { #expect(same.fields[name] == nil) }
            #expect(try get(test, "If-Match: \"other\"\r\n").code == "precondition.failed")
            #expect(try get(test, "Range: bytes=0-1\r\nIf-Range: \"other\"\r\n").status == 200)
            #expect(try get(test, "Range: bytes=0-1\r\nIf-Range: \"sha256-test\"\r\n").status == 206)
            let date = "Sun, 06 Nov 1994 08:49:37 GMT"
            let dated = try get(test, "If-Modified-Since: \(date)\r\n")
            #expect(dated.status == 304)
            #expect(dated.fields["last-modified"] == date)
            let earlier = "Sun, 06 Nov 1994 08:49:36 GMT"
            #expect(try get(test, "If-Modified-Since: \(earlier)\r\n").status == 200)
            #expect(try get(test, "If-Unmodified-Since: \(earlier)\r\n").code == "precondition.failed")
            #expect(try get(test, "Range: bytes=0-1\r\nIf-Range: \(date)\r\n").status == 206)
            #expect(try get(test, "Range: bytes=0-1\r\nIf-Range: \(earlier)\r\n").status == 200)
        }
    }
}
