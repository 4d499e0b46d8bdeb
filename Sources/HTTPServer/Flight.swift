package import HTTPTypes
import HTTPWire
import Synchronization

/// A request that is not answered at once, while it is under way: what an operator sees of it, and the clock of its
/// deadline.
package final class Flight: Sendable {
    /// Where it stands.
    package enum Phase: String, Sendable, CaseIterable {
        /// For a thread.
        case waiting
        /// A handler has it: it reads the body, or computes.
        case working
        /// The answer is being sent.
        case sending
        /// The answer is made as it comes about.
        case streaming
    }

    /// What the answer's `X-Request-Id` will say.
    package let id: String
    /// 32 hexadecimal digits.
    package let traceID: String
    /// The method; nil when the head could not be read.
    package let method: HTTPRequest.Method?
    /// The template of the route; nil when none matched.
    package let route: String?
    /// The client's address and port.
    package let peer: String
    /// When its head was whole.
    package let started: ContinuousClock.Instant

    private let deadline: Duration
    private let step = Atomic(0)
    /// Nanoseconds.
    private let waited = Atomic(0)
    private let received = Atomic(0)
    private let sent = Atomic(0)

    init(_ exchange: Exchange, peer: String, deadline: Duration) {
        id = exchange.id
        traceID = exchange.trace.traceID
        method = exchange.head?.method
        route = exchange.template
        started = exchange.started
        self.peer = peer
        self.deadline = deadline
    }

    /// Where it stands.
    package var phase: Phase { Phase.allCases[step.load(ordering: .relaxed)] }
    /// How long the server has waited for the client in all.
    package var waitedForClient: Duration { .nanoseconds(waited.load(ordering: .relaxed)) }
    /// Bytes of the body so far.
    package var bytesReceived: Int { received.load(ordering: .relaxed) }
    /// Bytes of the answer's body so far.
    package var bytesSent: Int { sent.load(ordering: .relaxed) }

    /// Whether the server has worked on it for longer than `ServerLimits.requestDeadline`, its client's time not
    /// counted: a handler that computes asks now and then, and gives up.
    package var isOverdue: Bool { started.duration(to: .now) - waitedForClient > deadline }

    func enter(_ phase: Phase) {
        step.store(Phase.allCases.firstIndex(of: phase) ?? 0, ordering: .relaxed)
    }

    func wait(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        waited.add(Int(seconds) * 1_000_000_000 + Int(attoseconds / 1_000_000_000), ordering: .relaxed)
    }

    func receive(_ count: Int) { received.add(count, ordering: .relaxed) }
    func send(_ count: Int) { sent.add(count, ordering: .relaxed) }
}

/// The requests that are under way, but for those that the loop answers in one step.
final class FlightTable: Sendable {
    private let flights = Mutex<[String: Flight]>([:])

    /// All of them, the oldest first.
    var all: [Flight] { flights.withLock { Array($0.values) }.sorted { $0.started < $1.started } }

    func add(_ flight: Flight) {
        flights.withLock { $0[flight.id] = flight }
    }

    func remove(_ flight: Flight) {
        _ = flights.withLock { $0.removeValue(forKey: flight.id) }
    }
}
