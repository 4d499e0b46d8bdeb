import Tensors

/// Hands writes that follow one another to an output together: coders make 8 or 16 KiB of codes at a time and their
/// scales elsewhere, and calls of the system for so little show in a request's CPU time (docs/PERFORMANCE.md).
///
/// What is held back is written by `flush`, which whoever reads the output or makes it durable must call before.
final class JoinedOutput: ArtifactOutput {
    /// Bytes that lie behind one another and were not handed on yet.
    private struct Run {
        var start = 0
        var bytes: [UInt8] = []
        var end: Int { start + bytes.count }
    }

    private let output: any ArtifactOutput
    /// The one that was written to last comes last.
    private var runs = [Run](repeating: Run(), count: JoinedOutput.runLimit)

    /// Bytes of a run that are handed on together, at most; a larger write passes as it is.
    static let heldLimit = 64 << 10
    /// Runs at a time: an encoder writes codes, scales, and what belongs to the scales.
    static let runLimit = 3

    init(_ output: any ArtifactOutput) {
        self.output = output
    }

    func write(_ bytes: RawSpan, at offset: Int) throws(StorageFailure) {
        let end = offset + bytes.byteCount
        // What is written twice must be the later in the end.
        for run in runs.indices where offset < runs[run].end && runs[run].start < end { try flush(run) }
        let follows = runs.lastIndex { !$0.bytes.isEmpty && $0.end == offset }
        let run = follows ?? 0
        if follows == nil || runs[run].bytes.count + bytes.byteCount > Self.heldLimit { try flush(run) }
        guard bytes.byteCount < Self.heldLimit else { return try output.write(bytes, at: offset) }
        if runs[run].bytes.isEmpty { runs[run].start = offset }
        runs[run].bytes.append(bytes)
        if runs[run].bytes.count == Self.heldLimit { try flush(run) }
        runs.append(runs.remove(at: run))
    }

    /// Writes what is held back.
    func flush() throws(StorageFailure) {
        for run in runs.indices { try flush(run) }
    }

    private func flush(_ run: Int) throws(StorageFailure) {
        guard !runs[run].bytes.isEmpty else { return }
        var bytes: [UInt8] = []
        swap(&bytes, &runs[run].bytes)
        try output.write(unsafe bytes.span.bytes, at: runs[run].start)
        bytes.removeAll(keepingCapacity: true)
        runs[run].bytes = bytes
    }
}
