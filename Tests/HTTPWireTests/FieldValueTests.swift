import Foundation
import Testing

@testable import HTTPWire

@Suite struct HTTPDateTests {
    @Test(arguments: [
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (-1, "Wed, 31 Dec 1969 23:59:59 GMT"), (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"), (.max, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (.min, "Sat, 01 Jan 0000 00:00:00 GMT"),
    ])
    func known(_ seconds: Int, _ text: String) {
        #expect(httpDate(secondsSinceEpoch: seconds) == text)
    }

    @Test func agreesWithFoundation() {
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(secondsFromGMT: 0)
        formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        for step in 0..<2000 {
            let seconds = step * 3_456_789 - 1_000_000_000
            let expected = formatter.string(from: Date(timeIntervalSince1970: TimeInterval(seconds)))
            #expect(httpDate(secondsSinceEpoch: seconds) == expected)
            #expect(secondsSinceEpoch(httpDate: expected, near: 0) == seconds)
        }
    }
}

/// Two digits of a year: a date more than 50 years ahead was meant in the past (RFC 9110 section 5.6.7).
@Suite struct TwoDigitYearTests {
    @Test(arguments: [
        ("Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Monday, 23-Nov-26 08:49:37 GMT", "Mon, 23 Nov 2026 08:49:37 GMT"),
        ("Friday, 01-Nov-75 08:49:37 GMT", "Fri, 01 Nov 2075 08:49:37 GMT"),
        ("Tuesday, 01-Nov-77 08:49:37 GMT", "Tue, 01 Nov 1977 08:49:37 GMT"),
    ])
    func nearTheYear2026(_ short: String, _ long: String) throws {
        let now = 1_795_000_000
        let seconds = try #require(secondsSinceEpoch(httpDate: short, near: now))
        #expect(httpDate(secondsSinceEpoch: seconds) == long)
    }
}

@Suite struct TraceContextTests {
    private static let trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    private static let parent = "00f067aa0ba902b7"

    @Test(
        arguments: [
            ("00", "01", "", 1), ("00", "00", "", 0), ("00", "ff", "", 255), ("cc", "01", "-what-next", 1),
            ("01", "03", "-", 3), ("fe", "01", "", 1),
        ] as [(String, String, String, UInt8)])
    func valid(_ version: String, _ flags: String, _ rest: String, _ value: UInt8) {
        let context = TraceContext.parse("\(version)-\(Self.trace)-\(Self.parent)-\(flags)\(rest)")
        #expect(context?.traceID == Self.trace)
        #expect(context?.parentID == Self.parent)
        #expect(context?.flags == value)
    }

    @Test(arguments: [
        "", "00", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what",
        "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473.-00f067aa0ba902b7-01",
    ])
    func invalid(_ value: String) {
        #expect(TraceContext.parse(value) == nil)
    }
}

@Suite struct ContentDigestTests {
    /// The digest of `{"hello": "world"}` and a line feed, RFC 9530 appendix B.1 and section 2.
    private static let base64 = "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="

    @Test func readsTheExampleOfTheRFC() {
        let bytes = Array(Data(base64Encoded: Self.base64) ?? Data())
        #expect(bytes.count == 32)
        #expect(ContentDigest.parse("sha-256=:\(Self.base64):") == .sha256(bytes))
        #expect(ContentDigest.parse("md5=:AAAA:, sha-256=:\(Self.base64):") == .sha256(bytes))
        #expect(ContentDigest.parse(" sha-256=:\(Self.base64): ,\tsha-512=:AA==:") == .sha256(bytes))
    }

    @Test func agreesWithFoundationOnRandomBytes() {
        for _ in 0..<200 {
            let bytes = (0..<32).map { _ in UInt8.random(in: .min ... .max) }
            #expect(ContentDigest.parse("sha-256=:\(Data(bytes).base64EncodedString()):") == .sha256(bytes))
        }
    }

    @Test func otherAlgorithmsAreAbsent() {
        #expect(ContentDigest.parse(nil) == .absent)
        #expect(ContentDigest.parse("sha-512=:AA==:") == .absent)
        #expect(ContentDigest.parse("unixsum=::") == .absent)
    }

    @Test(arguments: [
        "", "sha-256", "sha-256=", "sha-256=RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=", "sha-256=::",
        "sha-256=:AAAA:", "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg:",
        "sha-256=:RK_0qy18MlBSVnWgjwz6lZEWjP_lF5HF9bvEF8FabDg=:",
        "SHA-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDh=:",
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:,",
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8Fab===:",
        "sha-256 =:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=", "sha-256=5",
    ])
    func malformed(_ value: String) {
        #expect(ContentDigest.parse(value) == .malformed)
    }
}
