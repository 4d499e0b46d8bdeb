import OpenSSL
import Quantization

/// Moves an input from whoever receives it to quantizing sessions, and hashes it on the way.
///
/// The one way of the bytes behind a one-shot request, an upload, a job and the command line: the receiving thread
/// reads, the sessions and the hash work on their Dispatch queues.
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
    private let start = ContinuousClock().now

    /// A pump for an input of which `inputBytes` will come, nil when unknown; archives reach the sessions through
    /// `intake`. `hash` has seen what the sessions have consumed before: nothing, unless they were resumed.
    init(
        sessions: sending [QuantizingSession], intake: sending ArchiveIntake? = nil, inputBytes: Int?,
        pool: BufferPool, hash: InputHash
    ) {
        self.hash = hash
        queue = QuantizingQueue(
            sessions: sessions, intake: intake, inputBytes: inputBytes, pool: pool, alongside: { hash.update($0) })
    }

    /// What hears of the layers that a session codes behind the last byte, and may end it.
    typealias Watch = (QuantizingSession, LayerProgress) throws(QuantizationError) -> Void

    /// Calls `receive` until it returns 0, then ends the sessions.
    func run<Receive: Error>(
        onLayer: Watch = { (_, _) throws(QuantizationError) in },
        _ receive: (inout MutableRawSpan) throws(Receive) -> Int
    ) throws(TransferError<Receive>) -> Outcome {
        var total = 0
        while true {
            let count = try take(receive)
            if count == 0 { break }
            total += count
        }
        do throws(QuantizationError) {
            return try finish(inputBytes: total, onLayer: onLayer)
        } catch {
            throw .session(error)
        }
    }

    /// Calls `receive` once and hands on what it got; returns the bytes, 0 at the end of the input.
    func take<Receive: Error>(
        _ receive: (inout MutableRawSpan) throws(Receive) -> Int
    ) throws(TransferError<Receive>) -> Int {
        try queue.take(receive)
    }

    /// Lets `body` ask the sessions when all that was taken is consumed and hashed.
    func settled<Answer>(
        _ body: ([QuantizingSession]) throws(QuantizationError) -> Answer
    ) throws(QuantizationError) -> Answer {
        try queue.settled(body)
    }

    /// The state of the hash, to be asked for when all is settled.
    var hashState: [UInt8] { hash.state }

    /// Whether the input is an archive, which the sessions see when it is whole; to be asked for when all is settled.
    var holdsArchive: Bool { queue.holdsArchive }

    /// SHA-256 of the whole input, for those who look at it before they `finish`; asked for once.
    func digest() -> Digest {
        queue.settle()
        return hash.finish()
    }

    /// Ends the sessions: all `inputBytes` were taken, by this pump or before; `known` is their digest where it was
    /// asked for.
    func finish(
        inputBytes: Int, digest known: Digest? = nil, onLayer: Watch = { (_, _) throws(QuantizationError) in }
    ) throws(QuantizationError) -> Outcome {
        let clock = ContinuousClock()
        let received = clock.now
        let digest = known ?? digest()
        let results = try queue.finish(inputDigest: "sha256:\(digest.hex)", onLayer: onLayer)
        return Outcome(
            results: results, inputDigest: digest, inputBytes: inputBytes, receiving: received - start,
            finishing: clock.now - received)
    }
}

/// The running digest of an input.
final class InputHash: @unchecked Sendable {
    // Invariant: the queue's side calls `update` one at a time; all else follows when the queue has settled.
    private let hash: SHA256

    /// A digest over nothing.
    init() throws(OpenSSLError) {
        hash = try SHA256()
    }

    /// A digest that goes on behind the bytes of its `state`.
    init(state: [UInt8]) throws(SHA256StateError) {
        hash = try SHA256(state: state)
    }

    func update(_ bytes: RawSpan) { hash.update(bytes) }
    func finish() -> Digest { hash.finish() }
    var state: [UInt8] { hash.state() }
}
