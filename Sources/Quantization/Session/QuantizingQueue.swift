internal import Dispatch
internal import Synchronization

/// Runs one session or several over the same input on a serial Dispatch queue while the caller's thread receives.
///
/// The caller fills a ring of reused buffers; the queue empties them in order. The ring is the back-pressure: with no
/// buffer free the caller waits, on its own thread, never on a Dispatch thread. `alongside` sees the same bytes in the
/// same order on a queue of its own: hashing costs more than quantizing, and neither should wait for the other. An
/// input that fits into one buffer is worked on at once, by the caller: a hand-off would cost more than it gains.
package final class QuantizingQueue: Sendable {
    // Behind whoever answers short requests: on Linux this quality of service is a nicer priority of the threads.
    private let queue = DispatchQueue(label: "viva.quantize", qos: .utility)
    private let side = DispatchQueue(label: "viva.alongside", qos: .utility)
    private let alongside: @Sendable (RawSpan) -> Void
    private let free: DispatchSemaphore
    private let pool: BufferPool
    private let ring: [TransferBuffer]
    private let work: SessionBox
    private let isInline: Bool
    private let next = Mutex(0)

    /// A queue for `sessions`, which an archive reaches through `intake`; without one archives are refused.
    /// `inputBytes` is the input's length where it is known.
    package init(
        sessions: sending [QuantizingSession], intake: sending ArchiveIntake? = nil, inputBytes: Int?,
        pool: BufferPool,
        alongside: @escaping @Sendable (RawSpan) -> Void = { _ in }
    ) {
        self.pool = pool
        self.alongside = alongside
        ring = pool.take()
        free = DispatchSemaphore(value: ring.count)
        work = SessionBox(sessions, intake)
        isInline = inputBytes.map { $0 <= BufferPool.bufferBytes } ?? false
    }

    deinit {
        // Submitted work holds its buffer, not this object: wait until the last of it is done.
        settle()
        pool.giveBack(ring)
    }

    /// Waits for a free buffer, lets `receive` fill it and hands it to the session.
    ///
    /// Returns the bytes received; 0 means that the input has ended. `Failure` is `receive`'s own error; an error of
    /// the session comes back as soon as it is known, so that the rest of a refused input is not read.
    package func take<Failure: Error>(
        _ receive: (inout MutableRawSpan) throws(Failure) -> Int
    ) throws(TransferError<Failure>) -> Int {
        if let failure = work.failure { throw .session(failure) }
        free.wait()
        let buffer = next.withLock { index in
            defer { index = (index + 1) % ring.count }
            return ring[index]
        }
        let count: Int
        do {
            count = try buffer.fill(receive)
        } catch {
            free.signal()
            throw .receive(error)
        }
        guard count > 0 else {
            free.signal()
            return 0
        }
        handOver(buffer)
        return count
    }

    private func handOver(_ buffer: TransferBuffer) {
        guard !isInline else {
            buffer.read(alongside)
            work.consume(buffer)
            free.signal()
            return
        }
        // An input that is only kept wakes no thread for sessions that it does not have.
        buffer.share(among: work.isIdle ? 1 : 2)
        if !work.isIdle {
            queue.async { [work, free] in
                work.consume(buffer)
                if buffer.release() { free.signal() }
            }
        }
        side.async { [alongside, free] in
            buffer.read(alongside)
            if buffer.release() { free.signal() }
        }
    }

    /// Waits until everything handed over is done.
    package func settle() {
        queue.sync {}
        side.sync {}
    }

    /// Waits until everything handed over is done, then asks the sessions for their state or their place.
    ///
    /// Throws what `body` throws, and before it what a session refused.
    package func settled<Answer>(
        _ body: ([QuantizingSession]) throws(QuantizationError) -> Answer
    ) throws(QuantizationError) -> Answer {
        settle()
        return try work.ask(body)
    }

    /// Whether the input is an archive, of which the sessions see nothing before `finish`; to be asked for when all is
    /// settled.
    package var holdsArchive: Bool { work.holdsArchive }

    /// Waits until everything handed over is done, then ends the sessions, in their order, on the caller's thread.
    ///
    /// `onLayer` hears of the layers that are coded behind the last byte, and of the session that codes them.
    package func finish(
        inputDigest: String,
        onLayer: (QuantizingSession, LayerProgress) throws(QuantizationError) -> Void = {
            (_, _) throws(QuantizationError) in
        }
    ) throws(QuantizationError) -> [SessionResult] {
        settle()
        return try work.finish(inputDigest, onLayer)
    }
}

/// Why a transfer stopped: the receiving side or the session.
package enum TransferError<Receive: Error>: Error {
    /// `receive` failed.
    case receive(Receive)
    /// The session refused the input.
    case session(QuantizationError)
}

/// The sessions and the first failure among them.
private final class SessionBox: @unchecked Sendable {
    // Invariant: `sessions` and `intake` are touched by the serial queue, or by the caller when the queue is empty:
    // never by both.
    private let sessions: [QuantizingSession]
    private let intake: ArchiveIntake?
    private let firstFailure = Mutex<QuantizationError?>(nil)

    init(_ sessions: sending [QuantizingSession], _ intake: sending ArchiveIntake?) {
        isIdle = sessions.isEmpty && intake == nil
        self.sessions = sessions
        self.intake = intake
    }

    /// Whether nothing is made of the bytes here.
    let isIdle: Bool

    var holdsArchive: Bool { intake?.holdsArchive == true }

    var failure: QuantizationError? { firstFailure.withLock { $0 } }

    func consume(_ buffer: TransferBuffer) {
        guard failure == nil else { return }
        do throws(QuantizationError) {
            try buffer.read { (bytes) throws(QuantizationError) in
                guard let intake else { return try sessions.consume(bytes) }
                try intake.consume(bytes, for: sessions)
            }
        } catch {
            firstFailure.withLock { $0 = error }
        }
    }

    func ask<Answer>(
        _ body: ([QuantizingSession]) throws(QuantizationError) -> Answer
    ) throws(QuantizationError) -> Answer {
        if let failure { throw failure }
        return try body(sessions)
    }

    func finish(
        _ digest: String, _ onLayer: (QuantizingSession, LayerProgress) throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> [SessionResult] {
        if let failure { throw failure }
        try intake?.finish(for: sessions)
        return try sessions.map { (session) throws(QuantizationError) in
            try session.finish(inputDigest: digest) { (layer) throws(QuantizationError) in
                try onLayer(session, layer)
            }
        }
    }
}

extension [QuantizingSession] {
    /// Gives the next bytes of the input to each session.
    func consume(_ bytes: RawSpan) throws(QuantizationError) {
        for session in self { try session.consume(bytes) }
    }
}
