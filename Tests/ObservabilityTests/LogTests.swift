import Foundation
import Logging
import Observability
import Synchronization
import Testing

@Suite struct LogTests {
    private let output = Output()

    private func logger(level: Logger.Level = .trace, provider: Logger.MetadataProvider? = nil) -> Logger {
        let output = output
        var handler = JSONLogHandler(
            label: "viva", level: level, now: { 1_763_852_645_678 }, write: { output.append($0) })
        handler.metadataProvider = provider
        return Logger(label: "viva", factory: { _ in handler })
    }

    @Test func aLineInFull() {
        var logger = logger()
        logger[metadataKey: "trace_id"] = "abc"
        logger.warning("slow request", metadata: ["ms": .stringConvertible(1_250), "ok": .stringConvertible(true)])
        #expect(
            output.text == """
                {"time":"2025-11-22T23:04:05.678Z","level":"warning","logger":"viva","message":"slow request",\
                "ms":1250,"ok":true,"trace_id":"abc"}

                """)
    }

    @Test func eachEventIsOneCallAndOneLine() throws {
        let logger = logger()
        logger.info("a\nb\r\n{\"level\":\"critical\"}", metadata: ["k\n\"": "v\u{0}\u{1f}\u{7f}\\\u{2028}"])
        logger.error("second")
        #expect(output.calls == 2)
        let lines = output.text.split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.count == 3 && lines[2].isEmpty)
        let first = try parsed(String(lines[0]))
        #expect(first["message"] as? String == "a\nb\r\n{\"level\":\"critical\"}")
        #expect(first["level"] as? String == "info")
        #expect(first["k\n\""] as? String == "v\u{0}\u{1f}\u{7f}\\\u{2028}")
    }

    @Test func metadataIsFlattenedAndTyped() throws {
        logger().info(
            "m",
            metadata: [
                "http": ["status": "200", "request": ["method": "GET"]], "list": ["a", ["b": "c"]],
                "ratio": .stringConvertible(7.75), "nan": .stringConvertible(Double.nan),
                "big": .stringConvertible(UInt64.max), "other": .stringConvertible([1, 2]), "time": "mine",
                "message": "mine too",
            ])
        #expect(
            output.text.hasSuffix(
                #""message":"m","big":18446744073709551615,"http.request.method":"GET","http.status":"200","#
                    + #""list":["a",{"b":"c"}],"metadata.message":"mine too","metadata.time":"mine","nan":null,"#
                    + #""other":"[1, 2]","ratio":7.75}"# + "\n"))
    }

    @Test func theNearestMetadataWins() throws {
        var logger = logger(provider: Logger.MetadataProvider { ["a": "provider", "b": "provider"] })
        logger[metadataKey: "a"] = "handler"
        logger[metadataKey: "c"] = "handler"
        logger.info("m", metadata: ["b": "event"])
        let line = try parsed(output.text)
        #expect(line["a"] as? String == "provider")
        #expect(line["b"] as? String == "event")
        #expect(line["c"] as? String == "handler")
    }

    @Test func eventsBelowTheLevelAreNotWritten() {
        let logger = logger(level: .notice)
        logger.info("quiet")
        #expect(output.calls == 0)
        logger.notice("loud")
        #expect(output.calls == 1)
    }

    private func parsed(_ line: String) throws -> [String: Any] {
        try #require(JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
    }
}

@Suite struct HealthReportTests {
    @Test func inOrderWhenEveryCheckIs() {
        let report = HealthReport(checks: [
            .init(name: "disk", ok: true, detail: "12 GB free"), .init(name: "catalogue", ok: true),
        ])
        #expect(report.ok)
        #expect(
            String(decoding: report.json(), as: UTF8.self)
                == #"{"status":"ok","checks":[{"name":"disk","ok":true,"detail":"12 GB free"},"#
                + #"{"name":"catalogue","ok":true}]}"#)
    }

    @Test func unavailableWhenOneIsNot() {
        let report = HealthReport(checks: [
            .init(name: "disk", ok: true), .init(name: "drain", ok: false, detail: "shutting \"down\""),
        ])
        #expect(!report.ok)
        #expect(
            String(decoding: report.json(), as: UTF8.self)
                == #"{"status":"unavailable","checks":[{"name":"disk","ok":true},"#
                + #"{"name":"drain","ok":false,"detail":"shutting \"down\""}]}"#)
    }

    @Test func nothingToCheckIsInOrder() {
        #expect(HealthReport(checks: []).ok)
        #expect(String(decoding: HealthReport(checks: []).json(), as: UTF8.self) == #"{"status":"ok","checks":[]}"#)
    }
}

/// What a handler wrote, and in how many calls.
private final class Output: Sendable {
    private let written = Mutex<[[UInt8]]>([])

    func append(_ bytes: [UInt8]) {
        written.withLock { $0.append(bytes) }
    }

    var calls: Int { written.withLock { $0.count } }
    var text: String { String(decoding: written.withLock { $0.flatMap(\.self) }, as: UTF8.self) }
}
