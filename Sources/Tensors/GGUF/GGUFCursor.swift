/// Why reading a GGUF header stops before its end.
enum GGUFStop: Error {
    case needsMore(Int)
    case malformed(TensorFormatError)
}

/// A place in the header of a GGUF file; every step is checked against what is there.
struct GGUFCursor {
    private(set) var position = 0
    /// Bytes that are there.
    private let end: Int
    private let totalBytes: Int?
    /// The most bytes that a header may have.
    private let limit: Int

    init(end: Int, totalBytes: Int?, limit: Int) {
        self.end = end
        self.totalBytes = totalBytes
        self.limit = limit
    }

    /// Where the next `count` bytes lie; the cursor stands behind them then.
    mutating func take(_ count: Int) throws(GGUFStop) -> Range<Int> {
        let (next, overflow) = position.addingReportingOverflow(count)
        guard !overflow, next <= limit else {
            throw error("header_too_large", "a header of more than \(limit) bytes")
        }
        if let totalBytes, next > totalBytes {
            throw error("header_past_end", "the header goes on behind the end of the file, byte \(totalBytes)")
        }
        guard next <= end else { throw .needsMore(next) }
        defer { position = next }
        return position..<next
    }

    /// A little-endian integer of `width` bytes.
    mutating func unsigned(_ width: Int, in bytes: RawSpan) throws(GGUFStop) -> UInt64 {
        bytes.littleEndian(at: try take(width).lowerBound, width: width)
    }

    /// A count of 64 bits, at most `limit`.
    mutating func count(in bytes: RawSpan, limit: Int, of what: String) throws(GGUFStop) -> Int {
        let start = position
        let value = try unsigned(8, in: bytes)
        guard let count = Int(exactly: value), count <= limit else {
            throw error("too_many_\(what)", "\(value) \(what); the limit is \(limit)", at: start)
        }
        return count
    }

    /// A length of 64 bits and as many bytes of UTF-8.
    mutating func string(in bytes: RawSpan, limit: Int, of what: String) throws(GGUFStop) -> String {
        let start = position
        let length = try unsigned(8, in: bytes)
        guard let count = Int(exactly: length), count <= limit else {
            throw error("\(what)_too_long", "a \(what) of \(length) bytes; the limit is \(limit)", at: start)
        }
        guard let string = bytes.string(at: try take(count)) else {
            throw error("\(what)_encoding", "a \(what) is no valid UTF-8", at: start)
        }
        return string
    }

    /// An error of the format, here or at another offset.
    func error(_ code: String, _ detail: String, at offset: Int? = nil, tensor: String? = nil) -> GGUFStop {
        .malformed(
            TensorFormatError(code: "gguf.\(code)", detail: detail, offset: offset ?? position, tensor: tensor))
    }
}
