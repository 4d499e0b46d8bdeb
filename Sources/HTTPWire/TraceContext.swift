/// The identity of a caller's trace (W3C Trace Context, level 1).
package struct TraceContext: Sendable, Equatable {
    /// 32 lower-case hexadecimal digits, not all zero.
    package let traceID: String
    /// 16 lower-case hexadecimal digits, not all zero.
    package let parentID: String
    /// The trace flags; bit 0 is `sampled`.
    package let flags: UInt8

    /// Reads a `traceparent` value; nil when it is invalid, which starts a new trace.
    package static func parse(_ traceparent: String) -> TraceContext? {
        nil
    }
}
