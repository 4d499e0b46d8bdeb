/// What the framing of a chunked body may cost.
package struct ChunkLimits: Sendable {
    /// The longest extension of one chunk in bytes.
    package var maxExtensionBytes: Int
    /// The longest trailer section in bytes.
    package var maxTrailerBytes: Int
    /// The most trailer fields.
    package var maxTrailers: Int
    /// Framing bytes (sizes, extensions, line ends) allowed beyond the bytes of content.
    package var maxOverheadBytes: Int

    /// Sets the limits.
    package init(
        maxExtensionBytes: Int = 256, maxTrailerBytes: Int = 8 << 10, maxTrailers: Int = 32,
        maxOverheadBytes: Int = 1 << 20
    ) {
        self.maxExtensionBytes = maxExtensionBytes
        self.maxTrailerBytes = maxTrailerBytes
        self.maxTrailers = maxTrailers
        self.maxOverheadBytes = maxOverheadBytes
    }
}

/// Reads the chunked coding of one body (RFC 9112 section 7.1): bytes in, content out, any split.
package struct ChunkedDecoder: Sendable {
    /// How far one step came.
    package struct Progress: Sendable, Equatable {
        /// Bytes of the input that were used.
        package var consumed: Int
        /// Bytes of content written to the start of the output.
        package var produced: Int
        /// Whether the body is whole; bytes after `consumed` belong to the next request.
        package var finished: Bool
    }

    let limits: ChunkLimits

    /// Starts before the first chunk.
    package init(limits: ChunkLimits = ChunkLimits()) {
        self.limits = limits
    }

    /// Uses as much of `input` as `output` has room for.
    package mutating func decode(_ input: RawSpan, into output: inout MutableRawSpan) throws(WireError) -> Progress {
        Progress(consumed: 0, produced: 0, finished: false)
    }
}
