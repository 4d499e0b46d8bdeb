import Tensors

/// Hands writes that follow one another to an output together: coders make 8 or 16 KiB at a time, and calls of the
/// system for so little show in a request's CPU time (docs/PERFORMANCE.md).
///
/// What is held back is written by `flush`, which whoever reads the output or makes it durable must call before.
final class JoinedOutput: ArtifactOutput {
    private let output: any ArtifactOutput
    /// What lies at `start` and was not handed on yet.
    private var held: [UInt8] = []
    private var start = 0

    /// Bytes that are handed on together, at most; a larger write passes as it is.
    static let heldLimit = 64 << 10

    init(_ output: any ArtifactOutput) {
        self.output = output
    }

    func write(_ bytes: RawSpan, at offset: Int) throws(StorageFailure) {
        if offset != start + held.count || held.count + bytes.byteCount > Self.heldLimit { try flush() }
        guard bytes.byteCount < Self.heldLimit else { return try output.write(bytes, at: offset) }
        if held.isEmpty { start = offset }
        held.append(bytes)
        if held.count == Self.heldLimit { try flush() }
    }

    /// Writes what is held back.
    func flush() throws(StorageFailure) {
        guard !held.isEmpty else { return }
        var bytes: [UInt8] = []
        swap(&bytes, &held)
        try output.write(unsafe bytes.span.bytes, at: start)
        bytes.removeAll(keepingCapacity: true)
        held = bytes
    }
}
