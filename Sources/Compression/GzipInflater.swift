/// What an inflated body may cost.
package struct InflateLimits: Sendable {
    /// The most bytes of output.
    package var maxBytes: Int
    /// The most output bytes for each input byte, once `ratioFloor` is passed.
    package var maxRatio: Int
    /// Output bytes that are free of the ratio's limit.
    package var ratioFloor: Int

    /// Sets the limits; the ratio is 200 beyond the first MiB.
    package init(maxBytes: Int, maxRatio: Int = 200, ratioFloor: Int = 1 << 20) {
        self.maxBytes = maxBytes
        self.maxRatio = maxRatio
        self.ratioFloor = ratioFloor
    }
}

/// Inflates a gzip stream of one or several members (RFC 1952) step by step; owned by one thread at a time.
package final class GzipInflater {
    /// How far one step came.
    package struct Progress: Sendable, Equatable {
        /// Bytes of the input that were used.
        package var consumed: Int
        /// Bytes written to the start of the output.
        package var produced: Int
        /// Whether all that was consumed ends on the end of a member: the stream may end here.
        package var finished: Bool
    }

    /// Starts before the first member.
    package init(limits: InflateLimits) throws(CompressionError) {
    }

    /// Uses as much of `input` as `output` has room for.
    package func inflate(
        _ input: RawSpan, into output: inout MutableRawSpan
    ) throws(CompressionError) -> Progress {
        Progress(consumed: 0, produced: 0, finished: false)
    }
}
