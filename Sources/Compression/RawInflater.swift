internal import CZlib

/// Inflates one bare deflate stream (RFC 1951), split anywhere; used by one thread at a time.
///
/// How much comes out is bounded by the room that the caller gives.
package final class RawInflater {
    private let stream: ZlibStream
    private var isFinished = false

    /// Starts before the first byte; fails when zlib has no memory.
    package init() throws(CompressionError) {
        stream = try ZlibStream(.inflatingRaw)
    }

    /// Uses as much of `input` as `output` has room for; `output` must have some.
    ///
    /// When all input is used and the output is full, more may be waiting: call again, with empty input if need be.
    /// After a throw the inflater must be dropped.
    package func inflate(
        _ input: RawSpan, into output: inout MutableRawSpan
    ) throws(CompressionError) -> InflateProgress {
        var progress = InflateProgress(consumed: 0, produced: 0, finished: isFinished)
        while !progress.finished, progress.produced < output.byteCount {
            let step = stream.step(
                input.extracting(progress.consumed..<input.byteCount), into: &output, at: progress.produced)
            progress.consumed += step.consumed
            progress.produced += step.produced
            switch step.result {
            case Z_STREAM_END: progress.finished = true
            case Z_OK: if step.consumed == 0, step.produced == 0 { return progress }
            case Z_BUF_ERROR: return progress
            case Z_MEM_ERROR: throw .zlib(code: step.result)
            default: throw .malformed(detail: stream.message)
            }
        }
        isFinished = progress.finished
        return progress
    }
}
