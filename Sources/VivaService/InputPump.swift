import OpenSSL
import Quantization

/// Moves an input from whoever receives it to quantizing sessions, and hashes it on the way.
///
/// The one loop behind a one-shot request and the command line: the receiving thread reads, the sessions and the hash
/// work on their Dispatch queues.
struct InputPump {
    /// What the bytes were.
    struct Outcome {
        /// What each session made, in their order.
        let results: [SessionResult]
        /// SHA-256 of the input.
        let inputDigest: Digest
        /// Bytes of the input.
        let inputBytes: Int
        /// From the first byte to the last.
        let receiving: Duration
        /// The passes after the last byte.
        let finishing: Duration
    }

    private let queue: QuantizingQueue
    private let hash: InputHash

    /// A pump for an input of `inputBytes`, nil when unknown; archives reach the sessions through `intake`.
    init(
        sessions: sending [QuantizingSession], intake: sending ArchiveIntake?, inputBytes: Int?, pool: BufferPool
    ) throws(OpenSSLError) {
        let hash = try InputHash()
        self.hash = hash
        queue = QuantizingQueue(
            sessions: sessions, intake: intake, inputBytes: inputBytes, pool: pool, alongside: { hash.update($0) })
    }

    /// Calls `receive` until it returns 0, then ends the sessions.
    func run<Receive: Error>(
        _ receive: (inout MutableRawSpan) throws(Receive) -> Int
    ) throws(TransferError<Receive>) -> Outcome {
        let clock = ContinuousClock()
        let start = clock.now
        var total = 0
        while true {
            let count = try queue.take(receive)
            if count == 0 { break }
            total += count
        }
        let received = clock.now
        queue.settle()
        let digest = hash.finish()
        do throws(QuantizationError) {
            let results = try queue.finish(inputDigest: "sha256:\(digest.hex)")
            return Outcome(
                results: results, inputDigest: digest, inputBytes: total, receiving: received - start,
                finishing: clock.now - received)
        } catch {
            throw .session(error)
        }
    }
}

/// The running digest of an input.
final class InputHash: @unchecked Sendable {
    // Invariant: the queue's side calls `update` one at a time; `finish` follows when the queue has settled.
    private let hash: SHA256

    init() throws(OpenSSLError) {
        hash = try SHA256()
    }

    func update(_ bytes: RawSpan) { hash.update(bytes) }
    func finish() -> Digest { hash.finish() }
}
