import Foundation
import Observability
import Testing

@Suite struct TimestampTests {
    /// From GNU date: `date -u -d @SECONDS +%FT%T`.
    @Test(arguments: [
        (Int64(0), "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (951_868_799_999, "2000-02-29T23:59:59.999Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (1_763_852_645_678, "2025-11-22T23:04:05.678Z"),
        (-2_208_988_800_000, "1900-01-01T00:00:00.000Z"),
        (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
    ])
    func knownMoments(milliseconds: Int64, text: String) {
        #expect(rfc3339(milliseconds: milliseconds) == text)
    }

    @Test func momentsThatRFC3339CannotWriteBecomeTheNearest() {
        #expect(rfc3339(milliseconds: .max) == "9999-12-31T23:59:59.999Z")
        #expect(rfc3339(milliseconds: 253_402_300_800_000) == "9999-12-31T23:59:59.999Z")
        #expect(rfc3339(milliseconds: .min) == "0000-01-01T00:00:00.000Z")
    }

    /// Every day of four centuries, where all leap rules meet, against Foundation.
    @Test func everyDayAgreesWithFoundation() throws {
        var calendar = Calendar(identifier: .iso8601)
        calendar.timeZone = try #require(TimeZone(secondsFromGMT: 0))
        var wrong: [String] = []
        for day in Int64(0)..<146_097 {
            let seconds = day * 86_400 - 2_208_988_800
            let parts = calendar.dateComponents(
                [.year, .month, .day], from: Date(timeIntervalSince1970: Double(seconds)))
            let expected = [parts.year, parts.month, parts.day].map { $0 ?? -1 }
            let text = rfc3339(milliseconds: seconds * 1_000)
            let found = text.prefix(10).split(separator: "-").map { Int($0) ?? -2 }
            if found != expected || !text.hasSuffix("T00:00:00.000Z") { wrong.append(text) }
        }
        #expect(wrong.isEmpty)
    }
}
