/// Why a gzip stream is refused, with the evidence.
package enum CompressionError: Error, Sendable, Equatable {
    /// The bytes are not gzip (RFC 1952), or their checksum or length does not fit.
    case malformed(detail: String)
    /// Bytes follow the last member that are no gzip member.
    case trailingGarbage
    /// The output would be longer than `limit` bytes.
    case tooLong(limit: Int)
    /// The output is more than `limit` times as long as the input.
    case ratio(limit: Int, consumed: Int, produced: Int)
    /// zlib could not start: `code` is its return value.
    case initialization(code: Int32)
}
