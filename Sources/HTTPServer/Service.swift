import Logging
import Sockets
import Synchronization

/// What all threads of one server share.
final class Service: Sendable {
    let limits: ServerLimits
    let table: RouteIndex
    let admit: @Sendable (RoutedRequest) throws(Problem) -> Void
    let observer: any ServerObserver
    let logger: Logger
    let identifiers = IdentifierSource()
    let interruption = Interruption()
    /// 0 serves, 1 drains, 2 stops at once.
    let drainLevel = Atomic(0)
    let connections: ConnectionCounts
    let flights = FlightTable()
    let crowding: Crowding

    init(limits: ServerLimits, router: Router, logger: Logger, observer: any ServerObserver) throws(ServerError) {
        self.limits = limits
        connections = ConnectionCounts(limits)
        crowding = Crowding(threads: limits.longThreads)
        table = try RouteIndex(router.routes)
        admit = router.admit
        self.logger = logger
        self.observer = observer
    }

    var isDraining: Bool { drainLevel.load(ordering: .relaxed) > 0 }

    /// Has an operator see a request from now on, until it is finished.
    func track(_ exchange: inout Exchange, _ peer: String, _ phase: Flight.Phase) {
        if exchange.flight == nil {
            let flight = Flight(exchange, peer: peer, deadline: limits.requestDeadline)
            exchange.flight = flight
            flights.add(flight)
        }
        exchange.flight?.enter(phase)
    }

    /// A request is refused with a problem, perhaps by a limit.
    func refuse(_ exchange: inout Exchange, with problem: Problem) {
        exchange.errorCode = problem.code
        if let limit = problem.limit { observer.limitReached(limit) }
        guard problem.isFailure else { return }
        // The client has been told, but it is the operator who can mend it.
        logger.error(
            "a request failed",
            metadata: [
                "request_id": "\(exchange.id)", "trace_id": "\(exchange.trace.traceID)", "code": "\(problem.code)",
                "detail": "\(problem.evidence ?? problem.detail)",
            ])
    }
}
