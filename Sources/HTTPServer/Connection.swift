import Sockets

/// What a connection asks for next of whoever holds it.
enum Next: Sendable {
    /// To wait in the loop.
    case park
    /// To go on: bytes are there already.
    case again
    /// A thread for the handler.
    case work(RoutedRequest)
    /// A thread for a long answer, whose head is in `output`.
    case deliver(Delivery)
    /// To be closed at once.
    case drop

    /// Whether the loop by itself does what is asked for, and an answer may wait for others meanwhile.
    var isForLoop: Bool {
        switch self {
        case .park, .again: true
        case .work, .deliver, .drop: false
        }
    }
}

/// One client's connection: a value with one owner, the loop or the thread that works for it.
struct Connection: ~Copyable, Sendable {
    /// What the connection waits for while the loop holds it.
    enum Stage: Sendable {
        /// The head of the next request.
        case head
        /// This many bytes of a request's body.
        case body(RoutedRequest, needed: Int)
        /// The client to take more of a long answer.
        indirect case sending(Delivery)
        /// The client to take an answer that is made as it comes about.
        case streaming(Streaming)
        /// The last answer to be sent; then the end, with unread bytes discarded first when `linger`.
        case closing(linger: Bool)
        /// The client to end its half, after ours has ended.
        case lingering
    }

    var transport: Transport
    let origin: Origin
    /// The connection's place in its loop.
    let slot: Int
    var stage = Stage.head
    /// Received, not used yet.
    var input = InputBuffer()
    /// How far the parser has looked at a partial head.
    var scanned = 0
    /// Answers, not sent yet, from `sent` on.
    var output: [UInt8] = []
    var sent = 0
    /// Bytes of the present stream so far, without its framing.
    var streamed = 0
    /// Requests so far.
    var served = 0
    /// Whether `input` waits for its turn: an event must not read on before.
    var isReady = false
    /// What the loop's poller watches it for; nil while it is not registered.
    var watched: Interest?
    /// What the transport waits for while `output` is empty.
    var interest = Interest.read
    /// When the present stage began, or the connection was opened.
    var since: ContinuousClock.Instant
    /// When the last byte went through.
    var lastProgress: ContinuousClock.Instant

    init(transport: consuming Transport, origin: Origin, slot: Int, now: ContinuousClock.Instant) {
        self.transport = transport
        self.origin = origin
        self.slot = slot
        since = now
        lastProgress = now
    }

    /// The client's address and port.
    var peer: String { origin.peer }

    /// Bytes that it holds while it waits.
    var heldBytes: Int {
        if case .sending(let delivery) = stage { input.count + delivery.made.count } else { input.count }
    }

    /// Whether nothing is under way: it may be closed without harm.
    var isIdle: Bool {
        if case .head = stage { input.isEmpty && output.isEmpty } else { false }
    }

    /// Whether an answer is being made as it comes about.
    var isStreaming: Bool { if case .streaming = stage { true } else { false } }

    /// Whether bytes wait to be looked at that no poller reports.
    var hasUnseenBytes: Bool { !input.isEmpty || transport.hasPending }

    /// What it asks for when its answer is sent.
    var restsOrGoesOn: Next { hasUnseenBytes && !isStreaming ? .again : .park }

    /// Sends what can be sent without waiting; true when all of `output` is gone. `more` says that other bytes follow.
    mutating func flush(more: Bool = false) throws(SocketError) -> Bool {
        if output.isEmpty { return true }
        let pending = output
        while sent < pending.count {
            switch try transport.send(unsafe pending.span.bytes.extracting(sent..<pending.count), more: more) {
            case .bytes(let count): sent += count
            case .wait: return false
            case .ended: throw .disconnected
            }
        }
        forgetOutput()
        return true
    }

    /// Sends all of `output`, waiting.
    mutating func flush(stall: Duration) throws(SocketError) {
        let pending = output
        try transport.sendAll(unsafe pending.span.bytes.extracting(sent..<pending.count), stall: stall)
        forgetOutput()
    }

    private mutating func forgetOutput() {
        // Idle connections own no buffers.
        output = []
        sent = 0
    }

    /// When the loop must act, whatever happens, judged by the present stage.
    func deadline(_ limits: ServerLimits) -> ContinuousClock.Instant { term(limits).end }

    /// When the loop must act, and what was reached then; nil where it is no limit of the client's.
    func term(_ limits: ServerLimits) -> (end: ContinuousClock.Instant, limit: LimitName?) {
        if !transport.isEstablished { return (since + limits.tlsHandshake, .tlsHandshake) }
        switch stage {
        case .lingering:
            return Self.earlier((lastProgress + limits.lingerIdle, .linger), (since + limits.lingerTotal, .linger))
        case .sending(let delivery):
            return Self.earlier(
                (lastProgress + limits.writeStall, .writeStall),
                (since + delivery.patience(limits) - delivery.waited, .answerRate))
        case .streaming:
            return output.isEmpty
                ? (lastProgress + limits.streamHeartbeat, nil) : (lastProgress + limits.writeStall, .writeStall)
        default: break
        }
        if !output.isEmpty {
            let earned = Duration.seconds(1) * (Double(sent) / Double(max(1, limits.answerMinimumRate)))
            return Self.earlier(
                (lastProgress + limits.writeStall, .writeStall), (since + limits.answerGrace + earned, .answerRate))
        }
        if case .body = stage {
            let earned = Duration.seconds(1) * (Double(input.count) / Double(max(1, limits.bodyMinimumRate)))
            return Self.earlier(
                (lastProgress + limits.bodyIdle, .bodyIdle), (since + limits.bodyGrace + earned, .bodyRate))
        }
        return served > 0 && input.isEmpty
            ? (since + limits.keepAliveIdle, .keepAliveIdle) : (since + limits.headDeadline, .headDeadline)
    }

    private static func earlier(
        _ first: (ContinuousClock.Instant, LimitName), _ second: (ContinuousClock.Instant, LimitName)
    ) -> (ContinuousClock.Instant, LimitName?) {
        first.0 <= second.0 ? first : second
    }
}
