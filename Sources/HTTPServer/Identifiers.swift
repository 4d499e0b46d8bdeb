import HTTPTypes
import HTTPWire
import Synchronization

/// The trace a request belongs to (W3C Trace Context); the caller's, or a new one.
package struct RequestTrace: Sendable, Equatable {
    /// 32 lower-case hexadecimal digits.
    package let traceID: String
    /// The caller's span: 16 lower-case hexadecimal digits; nil in a trace that starts here.
    package let parentID: String?
}

/// Makes identifiers that do not repeat: a counter, scrambled, from a random start. They are names, not secrets.
final class IdentifierSource: Sendable {
    private let counter = Atomic(UInt64.random(in: .min ... .max))
    private static let traceparent = HTTPField.Name("traceparent")

    /// 13 characters of Crockford's base 32: short enough for a String without an allocation.
    func requestID() -> String {
        var rest = next()
        let digits = InlineArray<13, UInt8> { _ in
            let digit = UInt8(truncatingIfNeeded: rest & 31)
            rest >>= 5
            // Skips i, l, o and u.
            let letters: UInt8 = digit < 18 ? 87 : digit < 20 ? 88 : digit < 22 ? 89 : digit < 27 ? 90 : 91
            return digit < 10 ? 48 + digit : letters + digit
        }
        return Self.text(digits.span)
    }

    /// The trace that `fields` name, or a new one; an invalid field starts a new one too.
    func trace(of fields: HTTPFields) -> RequestTrace {
        if let name = Self.traceparent, let value = fields[name], let caller = TraceContext.parse(value) {
            return RequestTrace(traceID: caller.traceID, parentID: caller.parentID)
        }
        return newTrace()
    }

    /// A trace that starts here.
    func newTrace() -> RequestTrace {
        let words = (next(), next() | 1)
        let digits = InlineArray<32, UInt8> { place in
            let word = place < 16 ? words.0 : words.1
            let digit = UInt8(truncatingIfNeeded: word >> UInt64(60 - 4 * (place & 15)) & 15)
            return digit < 10 ? 48 + digit : 87 + digit
        }
        return RequestTrace(traceID: Self.text(digits.span), parentID: nil)
    }

    /// The text of ASCII characters.
    private static func text(_ characters: Span<UInt8>) -> String {
        // ASCII is UTF-8: it cannot fail.
        guard let characters = try? UTF8Span(validating: characters) else { return "" }
        return String(copying: characters)
    }

    private static let step: UInt64 = 0x9E37_79B9_7F4A_7C15

    /// SplitMix64 (Steele, Lea, Flood 2014): every value once in 2^64 calls.
    private func next() -> UInt64 {
        // `newValue` of the pair traps on overflow in 6.3.1, although the addition itself wraps.
        var word = counter.wrappingAdd(Self.step, ordering: .relaxed).oldValue &+ Self.step
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
