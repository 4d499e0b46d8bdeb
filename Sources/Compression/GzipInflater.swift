internal import CZlib

/// What an inflated body may cost.
package struct InflateLimits: Sendable {
    /// The most bytes of output.
    package var maxBytes: Int
    /// The most output bytes for each input byte, once `ratioFloor` is passed.
    package var maxRatio: Int
    /// Output bytes that the ratio does not count against.
    package var ratioFloor: Int

    /// Sets the limits; by default the ratio is 200 beyond the first MiB.
    package init(maxBytes: Int, maxRatio: Int = 200, ratioFloor: Int = 1 << 20) {
        self.maxBytes = maxBytes
        self.maxRatio = maxRatio
        self.ratioFloor = ratioFloor
    }
}

/// How far one step of an inflater came.
package struct InflateProgress: Sendable, Equatable {
    /// Bytes of the input that were used.
    package var consumed: Int
    /// Bytes written to the start of the output.
    package var produced: Int
    /// Whether what was consumed so far is a whole stream: gzip may go on with another member, a bare deflate stream
    /// has ended. If the input ends earlier it is truncated.
    package var finished: Bool
}

/// Inflates a gzip stream of one or several members (RFC 1952), split anywhere; used by one thread at a time.
package final class GzipInflater {
    private let limits: InflateLimits
    private let stream: ZlibStream
    private var consumed = 0
    private var produced = 0
    private var isBetweenMembers = false

    /// Starts before the first member; fails when zlib has no memory.
    package init(limits: InflateLimits) throws(CompressionError) {
        self.limits = limits
        stream = try ZlibStream(.inflating)
    }

    /// Uses as much of `input` as `output` has room for.
    ///
    /// When all input is used and the output is full, more may be waiting: call again, with empty input if need be.
    /// After a throw the inflater must be dropped.
    package func inflate(
        _ input: RawSpan, into output: inout MutableRawSpan
    ) throws(CompressionError) -> InflateProgress {
        var progress = InflateProgress(consumed: 0, produced: 0, finished: false)
        while progress.produced < output.byteCount {
            if isBetweenMembers {
                guard progress.consumed < input.byteCount else { break }
                try beginMember(input, at: progress.consumed)
            }
            let step = stream.step(
                input.extracting(progress.consumed..<input.byteCount), into: &output, at: progress.produced)
            progress.consumed += step.consumed
            progress.produced += step.produced
            consumed += step.consumed
            produced += step.produced
            try checkLimits()
            switch step.result {
            case Z_STREAM_END: isBetweenMembers = true
            case Z_OK: if step.consumed == 0, step.produced == 0 { return progress }
            case Z_BUF_ERROR: return progress
            case Z_MEM_ERROR: throw .zlib(code: step.result)
            default: throw .malformed(detail: stream.message)
            }
        }
        progress.finished = isBetweenMembers && progress.consumed == input.byteCount
        return progress
    }

    private func beginMember(_ input: RawSpan, at offset: Int) throws(CompressionError) {
        guard unsafe input.unsafeLoad(fromByteOffset: offset, as: UInt8.self) == 0x1F else { throw .trailingGarbage }
        let result = stream.reset()
        guard result == Z_OK else { throw .zlib(code: result) }
        isBetweenMembers = false
    }

    private func checkLimits() throws(CompressionError) {
        guard produced <= limits.maxBytes else { throw .tooLong(limit: limits.maxBytes) }
        guard produced > limits.ratioFloor else { return }
        let (allowed, isHuge) = consumed.multipliedReportingOverflow(by: limits.maxRatio)
        guard isHuge || produced <= allowed else {
            throw .ratio(limit: limits.maxRatio, consumed: consumed, produced: produced)
        }
    }
}
