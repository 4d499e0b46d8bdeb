package import HTTPTypes

/// What a Range field asks of a representation.
package enum RangeOutcome: Sendable, Equatable {
    /// Answer 200 with the whole representation.
    case whole
    /// Answer 206 with these non-empty ranges of byte offsets.
    case ranges([Range<Int>])
    /// Answer 416 with `Content-Range: bytes */length`.
    case unsatisfiable
}

/// Evaluates Range and If-Range (RFC 9110 sections 13.1.5 and 14.2) against a representation of `length` bytes.
package func evaluateRange(_ fields: HTTPFields, length: Int, etag: String?) -> RangeOutcome {
    .whole
}
