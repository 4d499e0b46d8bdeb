/// Why gzip bytes are refused, with the evidence.
package enum CompressionError: Error, Sendable, Equatable {
    /// The bytes are not gzip (RFC 1952), or their checksum or length does not fit.
    case malformed(detail: String)
    /// Bytes that are no gzip member follow the last member.
    case trailingGarbage
    /// The output would be longer than `limit` bytes.
    case tooLong(limit: Int)
    /// The output is more than `limit` times as long as the input.
    case ratio(limit: Int, consumed: Int, produced: Int)
    /// zlib has no memory or refuses a parameter: `code` is its return value.
    case zlib(code: Int32)
}
