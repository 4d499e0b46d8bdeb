import HTTPTypes
import Testing

@testable import HTTPWire

@Suite struct RangeTests {
    @Test(
        arguments: [
            ("9110 14.1.2 first 500", "bytes=0-499", [0..<500]),
            ("9110 14.1.2 second 500", "bytes=500-999", [500..<1000]),
            ("9110 14.1.2 final 500", "bytes=-500", [9500..<10000]),
            ("9110 14.1.2 from 9500", "bytes=9500-", [9500..<10000]),
            ("9110 14.1.2 first and last byte", "bytes=0-0,-1", [0..<1, 9999..<10000]),
            (
                "9110 14.1.2 first, middle and last 1000", "bytes= 0-999, 4500-5499, -1000",
                [0..<1000, 4500..<5500, 9000..<10000]
            ),
            ("9110 14.1.2 touching ranges", "bytes=500-600,601-999", [500..<1000]),
            ("9110 14.1.2 overlapping ranges", "bytes=500-700,601-999", [500..<1000]),
            ("9110 14.1.2 suffix longer than the whole", "bytes=-20000", [0..<10000]),
            ("9110 14.1.2 last beyond the end", "bytes=9990-20000", [9990..<10000]),
            ("9110 14.1.2 last beyond 64 bits", "bytes=1-99999999999999999999999", [1..<10000]),
            ("9110 14.1.2 Int.max", "bytes=1-9223372036854775807", [1..<10000]),
            ("9110 14.1 units ignore case", "BYTES=0-1", [0..<2]),
            ("9110 5.6.1 empty elements", "bytes=,0-1,,", [0..<2]),
            ("9110 15.3.7.2 the order is kept", "bytes=-1,0-0", [9999..<10000, 0..<1]),
            ("9110 15.3.7.2 joined ranges are sorted", "bytes=50-59,10-19,55-70", [10..<20, 50..<71]),
            ("9110 14.1.2 the unsatisfiable ones are left out", "bytes=20000-,5-6,-0", [5..<7]),
            ("9110 14.1.2 everything", "bytes=0-", [0..<10000]),
        ] as [(String, String, [Range<Int>])])
    func satisfies(_ section: String, _ value: String, _ ranges: [Range<Int>]) {
        #expect(evaluateRange([.range: value], length: 10000, etag: "\"a\"") == .ranges(ranges))
    }

    @Test(arguments: [
        "bytes=5-4", "bytes=a-b", "bytes=", "bytes=,", "bytes=-", "bytes=1", "bytes=1-2-3", "bytes=--1", "bytes=+1-2",
        "bytes=1 -2", "bytes=0-1;2-3", "bytes=0-1,x", "bytes:0-1", "bytes", "", "pages=1-2", "bytes =0-1",
        "bytes=0x1-2", "bytes=\u{0661}-",
    ])
    func ignoresMalformedRanges(_ value: String) {
        #expect(evaluateRange([.range: value], length: 10000, etag: nil) == .whole)
    }

    @Test func ignoresRepeatedRangeFields() {
        var fields = HTTPFields()
        fields.append(HTTPField(name: .range, value: "bytes=0-1"))
        fields.append(HTTPField(name: .range, value: "bytes=2-3"))
        #expect(evaluateRange(fields, length: 10, etag: nil) == .whole)
        #expect(evaluateRange([:], length: 10, etag: nil) == .whole)
    }

    @Test(arguments: [
        "bytes=10000-", "bytes=10000-10001", "bytes=-0", "bytes=99999999999999999999-", "bytes=-0,10000-",
    ])
    func unsatisfiable(_ value: String) {
        #expect(evaluateRange([.range: value], length: 10000, etag: nil) == .unsatisfiable)
    }

    @Test func emptyRepresentations() {
        #expect(evaluateRange([.range: "bytes=0-"], length: 0, etag: nil) == .unsatisfiable)
        #expect(evaluateRange([.range: "bytes=-5"], length: 0, etag: nil) == .whole)
        #expect(evaluateRange([.range: "bytes=-0"], length: 0, etag: nil) == .unsatisfiable)
    }

    @Test func sixteenRangesAreServed() {
        let specs = (0..<17).map { "\($0 * 10)-\($0 * 10)" }
        let sixteen = "bytes=" + specs.prefix(16).joined(separator: ",")
        let seventeen = "bytes=" + specs.joined(separator: ",")
        #expect(
            evaluateRange([.range: sixteen], length: 1000, etag: nil) == .ranges((0..<16).map { $0 * 10..<$0 * 10 + 1 })
        )
        #expect(evaluateRange([.range: seventeen], length: 1000, etag: nil) == .excessive)
        // What slowhttptest sends: ranges that run backwards among them.
        let backwards = "bytes=0-," + (1...3000).map { "5-\($0)" }.joined(separator: ",")
        #expect(evaluateRange([.range: backwards], length: 1000, etag: nil) == .excessive)
        // Empty elements count for nothing (RFC 9110 section 5.6.1).
        let spread = sixteen.replacing(",", with: ",,\t,")
        #expect(evaluateRange([.range: spread + ",,"], length: 1000, etag: nil) != .excessive)
        let outdated: HTTPFields = [.range: seventeen, .ifRange: "\"b\""]
        #expect(evaluateRange(outdated, length: 1000, etag: "\"a\"") == .whole)
    }

    @Test(
        arguments: [
            ("\"a\"", "\"a\"", true), ("\"b\"", "\"a\"", false), ("W/\"a\"", "\"a\"", false),
            ("\"a\"", "W/\"a\"", false),
            ("W/\"a\"", "W/\"a\"", false), ("\"a\", \"b\"", "\"a\"", false), ("a", "a", false), ("*", "\"a\"", false),
            ("Sun, 06 Nov 1994 08:49:37 GMT", "\"a\"", false), ("\"a\"", nil, false), ("", "\"a\"", false),
        ] as [(String, String?, Bool)])
    func ifRangeComparesStrongly(_ value: String, _ etag: String?, _ partial: Bool) {
        let outcome = evaluateRange([.range: "bytes=0-1", .ifRange: value], length: 10, etag: etag)
        #expect(outcome == (partial ? .ranges([0..<2]) : .whole))
    }
}

@Suite struct ConditionTests {
    private static let tag = "\"sha256-00\""

    @Test(arguments: [
        ("9110 13.1.1 equal", "\"sha256-00\"", true), ("9110 13.1.1 other", "\"x\"", false),
        ("9110 13.1.1 in a list", "\"x\" ,\"a,b\", \"sha256-00\"", true), ("9110 13.1.1 any", "*", true),
        ("9110 13.1.1 weak never matches", "W/\"sha256-00\"", false), ("9110 13.1.1 unquoted", "sha256-00", false),
        ("9110 13.1.1 empty", "", false), ("9110 13.1.1 half a tag", "\"sha256-00", false),
        ("9110 13.1.1 no comma", "\"sha256-00\" \"x\"", false),
    ])
    func ifMatch(_ section: String, _ value: String, _ holds: Bool) {
        let outcome = evaluateConditions([.ifMatch: value], method: .put, etag: Self.tag)
        #expect(outcome == (holds ? .proceed : .preconditionFailed))
        #expect(evaluateConditions([.ifMatch: value], method: .put, etag: nil) == .preconditionFailed)
    }

    @Test(arguments: [
        ("9110 13.1.2 equal", "\"sha256-00\"", true), ("9110 13.1.2 other", "\"x\"", false),
        ("9110 13.1.2 weak matches", "W/\"sha256-00\"", true), ("9110 13.1.2 any", " * ", true),
        ("9110 13.1.2 in a list", "W/\"x\",, \"sha256-00\"", true),
        ("9110 13.1.2 case of the letters", "\"SHA256-00\"", false),
        ("9110 13.1.2 small w", "w/\"sha256-00\"", false), ("9110 13.1.2 unquoted", "sha256-00", false),
    ])
    func ifNoneMatch(_ section: String, _ value: String, _ matches: Bool) {
        let fields: HTTPFields = [.ifNoneMatch: value]
        #expect(evaluateConditions(fields, method: .get, etag: Self.tag) == (matches ? .notModified : .proceed))
        #expect(evaluateConditions(fields, method: .head, etag: Self.tag) == (matches ? .notModified : .proceed))
        #expect(evaluateConditions(fields, method: .put, etag: Self.tag) == (matches ? .preconditionFailed : .proceed))
        #expect(evaluateConditions(fields, method: .put, etag: nil) == .proceed)
    }

    @Test func orderOfSection13_2_2() {
        let failed: HTTPFields = [.ifMatch: "\"x\"", .ifNoneMatch: Self.tag]
        let passed: HTTPFields = [.ifMatch: Self.tag, .ifNoneMatch: Self.tag]
        #expect(evaluateConditions(failed, method: .get, etag: Self.tag) == .preconditionFailed)
        #expect(evaluateConditions(passed, method: .get, etag: Self.tag) == .notModified)
    }

    @Test func datesAreIgnoredWithoutAModificationDate() {
        let fields: HTTPFields = [
            .ifModifiedSince: "Sun, 06 Nov 1994 08:49:37 GMT", .ifUnmodifiedSince: "Sun, 06 Nov 1994 08:49:37 GMT",
        ]
        #expect(evaluateConditions(fields, method: .get, etag: Self.tag) == .proceed)
    }

    /// 784111777, the RFC's example of a date, before, at and after the date of the representation.
    @Test(arguments: [
        "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
    ])
    func datesInAllThreeForms(_ date: String) {
        for (modified, isOlder) in [(784_111_776, true), (784_111_777, true), (784_111_778, false)] {
            let since: HTTPFields = [.ifModifiedSince: date]
            let until: HTTPFields = [.ifUnmodifiedSince: date]
            for method in [HTTPRequest.Method.get, .head, .put] {
                #expect(
                    evaluateConditions(since, method: method, etag: nil, lastModified: modified)
                        == (isOlder && method != .put ? .notModified : .proceed))
                #expect(
                    evaluateConditions(until, method: method, etag: nil, lastModified: modified)
                        == (isOlder ? .proceed : .preconditionFailed))
            }
            #expect(
                evaluateRange([.range: "bytes=0-1", .ifRange: date], length: 9, etag: nil, lastModified: modified)
                    == (modified == 784_111_777 ? .ranges([0..<2]) : .whole))
        }
    }

    @Test func tagsOutrankDates() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT"
        let changed: HTTPFields = [.ifNoneMatch: "\"x\"", .ifModifiedSince: date]
        let same: HTTPFields = [.ifMatch: Self.tag, .ifUnmodifiedSince: date]
        #expect(evaluateConditions(changed, method: .get, etag: Self.tag, lastModified: 0) == .proceed)
        #expect(evaluateConditions(same, method: .get, etag: Self.tag, lastModified: 900_000_000) == .proceed)
    }

    @Test(arguments: [
        "", "0", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 6 Nov 1994 08:49:37 GMT", "Mon, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49 GMT", "Wed, 30 Feb 1994 08:49:37 GMT", "Sun 06 Nov 1994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT", "Sunday, 06-Nov-1994 08:49:37 GMT", "Sun Nov 06 08:49:37 1994",
        "Sun, 06 Nov 99999999999999999999 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 +8:49:37 GMT",
    ])
    func invalidDatesAreIgnored(_ date: String) {
        #expect(secondsSinceEpoch(httpDate: date, near: 784_111_777) == nil)
        let fields: HTTPFields = [.ifModifiedSince: date, .ifUnmodifiedSince: date]
        #expect(evaluateConditions(fields, method: .get, etag: nil, lastModified: 900_000_000) == .proceed)
    }
}
