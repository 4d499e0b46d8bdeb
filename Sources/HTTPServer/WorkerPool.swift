import HTTPTypes
import Logging
import Sockets
import Synchronization

/// A connection on its way between its loop and a thread; whoever opens it owns the connection.
final class Parcel: Sendable {
    /// What the connection asks for; to be closed where it ended on the way.
    let next: Next
    /// Whether no thread was free and the queue was full, or no thread could be started: the request is to be refused.
    let isLate: Bool
    /// The connection's place in its loop.
    let slot: Int
    let origin: Origin
    /// The loop it returns to.
    let home: Mailbox
    private let connection: Mutex<Connection?>

    init(
        _ connection: consuming Connection?, _ next: Next, slot: Int, origin: Origin, home: Mailbox,
        isLate: Bool = false
    ) {
        self.next = next
        self.isLate = isLate
        self.slot = slot
        self.origin = origin
        self.home = home
        self.connection = Mutex(connection)
    }

    /// Takes the connection out; nil when it ended on the way, or was taken out before.
    func open() -> Connection? {
        connection.withLock { $0.take() }
    }

    /// The same, for whoever tells its client that there is no thread.
    var late: Parcel { Parcel(open(), next, slot: slot, origin: origin, home: home, isLate: true) }
}

/// Where threads leave parcels for a loop, and signals for its streams.
final class Mailbox: Sendable {
    let wakeup: Wakeup
    private let contents = Mutex<(parcels: [Parcel], signals: [UInt64])>(([], []))

    init() throws(SocketError) {
        wakeup = try Wakeup()
    }

    func put(_ parcel: Parcel) {
        add { $0.parcels.append(parcel) }
    }

    /// The stream of the connection that `token` names has more.
    func put(_ token: UInt64) {
        add { $0.signals.append(token) }
    }

    private func add(_ change: (inout (parcels: [Parcel], signals: [UInt64])) -> Void) {
        let isFirst = contents.withLock { contents in
            defer { change(&contents) }
            return contents.parcels.isEmpty && contents.signals.isEmpty
        }
        if isFirst { wakeup.signal() }
    }

    func takeAll() -> (parcels: [Parcel], signals: [UInt64]) {
        wakeup.clear()
        return contents.withLock { contents in
            defer { contents = ([], []) }
            return contents
        }
    }
}

/// Threads that may wait: they run handlers, read bodies, send files and speak TLS. Started when first needed.
///
/// Work that waits for its client is long, and never takes all threads: the rest answer health checks and short
/// requests, and shake hands, while clients stall.
final class WorkerPool: Sendable {
    private struct State {
        var short = ParcelQueue()
        var long = ParcelQueue()
        /// Threads at long work.
        var atLongWork = 0
        /// Threads that wait for a signal which nobody has promised them yet.
        var idle = 0
        var threads = 0
        var isStopped = false

        /// How many wait for a thread because enough are at such work.
        func crowd(_ mostLong: Int) -> Int { atLongWork < mostLong ? 0 : long.count }

        /// Long work first: it never takes the last threads, so short work cannot starve either.
        mutating func takeFirst(_ mostLong: Int) -> (parcel: Parcel, isLong: Bool)? {
            if atLongWork < mostLong, let parcel = long.takeFirst() {
                atLongWork += 1
                return (parcel, true)
            }
            return short.takeFirst().map { ($0, false) }
        }
    }

    private enum Placement {
        case queued, wakesThread, needsThread, full
    }

    private let service: Service
    private let state = Mutex(State())
    private let work: Semaphore
    private let ended: Semaphore
    private let start: Thread.Starter
    /// The most threads at long work.
    private let mostLong: Int

    init(_ service: Service, _ start: @escaping Thread.Starter) throws(SocketError) {
        self.service = service
        self.start = start
        mostLong = service.limits.longThreads
        work = try Semaphore()
        ended = try Semaphore()
    }

    /// Queues a parcel; false when no thread is free, none may be started, and the queue is full of parcels of others
    /// that have no more in it than this one's client: whoever has more makes room.
    ///
    /// - Parameter always: queue it anyway; there are never more parcels than connections.
    func submit(_ parcel: Parcel, isLong: Bool, always: Bool = false) -> Bool {
        let limits = service.limits
        var displaced: Parcel?
        let placement = state.withLock { state -> Placement in
            let mayRun = !isLong || state.atLongWork + state.long.count < mostLong
            let hasThread = mayRun && (state.idle > 0 || state.threads < limits.workerThreads)
            let waiting = isLong ? state.long.count : state.short.count
            if !hasThread, waiting >= limits.workerQueue, !always {
                displaced = isLong ? state.long.makeRoom(for: parcel) : state.short.makeRoom(for: parcel)
                if displaced == nil { return .full }
            }
            if isLong { state.long.append(parcel) } else { state.short.append(parcel) }
            report(state)
            // Without a thread of its own it is taken by the next one that is done.
            guard hasThread else { return .queued }
            if state.idle > 0 {
                state.idle -= 1
                return .wakesThread
            }
            state.threads += 1
            return .needsThread
        }
        if let displaced { displaced.home.put(displaced.late) }
        switch placement {
        case .full: return false
        case .queued: break
        case .wakesThread: work.signal()
        case .needsThread: startThread(for: parcel)
        }
        return true
    }

    /// Starts a thread for a parcel that waits. Where the system gives none (RLIMIT_NPROC, pids.max) one that waits for
    /// no client may take it; else the parcel goes home, late, and so do all when there is no thread.
    private func startThread(for parcel: Parcel) {
        do throws(SocketError) {
            try start("viva-worker") { [self] in run() }
        } catch {
            service.logger.error("no worker thread", metadata: ["error": "\(error)"])
            let unserved = state.withLock { state in
                state.threads -= 1
                let isNone = state.threads == 0
                let isFull = max(state.short.count, state.long.count) > service.limits.workerQueue
                let staysHere = parcel.next.isAnswer || state.threads > state.atLongWork && !isFull
                let isUnserved = { (waiting: Parcel) in isNone || waiting === parcel && !staysHere }
                defer { report(state) }
                return state.short.take(where: isUnserved) + state.long.take(where: isUnserved)
            }
            for parcel in unserved { parcel.home.put(parcel.late) }
        }
    }

    /// Ends the threads; those still at work are waited for until `deadline`. True when all have ended.
    func stop(by deadline: ContinuousClock.Instant) -> Bool {
        let (threads, idle) = state.withLock { state in
            state.isStopped = true
            defer { state.idle = 0 }
            return (state.threads, state.idle)
        }
        for _ in 0..<idle { work.signal() }
        for _ in 0..<threads where !ended.wait(until: deadline) { return false }
        return true
    }

    private func run() {
        // Bodies that flow would make short requests wait for a core: docs/decisions/0022.
        Thread.standBehind()
        let engine = Engine(service)
        while true {
            let (taken, isStopped) = state.withLock { state in
                let taken = state.takeFirst(mostLong)
                report(state)
                if taken == nil, !state.isStopped { state.idle += 1 }
                return (taken, state.isStopped)
            }
            if let taken {
                let endsLong = carry(taken.parcel, engine, isLong: taken.isLong)
                if endsLong { state.withLock { $0.atLongWork -= 1 } }
            } else if isStopped {
                break
            } else {
                _ = work.wait()
            }
        }
        ended.signal()
    }

    /// Work turns out to be long; false when enough threads are at such work.
    private func beginLong() -> Bool {
        state.withLock { state in
            guard state.atLongWork < mostLong else { return false }
            state.atLongWork += 1
            report(state)
            return true
        }
    }

    private func report(_ state: borrowing State) {
        let taken = state.atLongWork + state.long.count
        service.crowding.set(waiting: state.crowd(mostLong), taken: taken)
    }

    /// Does a parcel's work and sends it home; true when the thread was at long work.
    private func carry(_ parcel: Parcel, _ engine: Engine, isLong: Bool) -> Bool {
        guard var connection = parcel.open() else { return isLong }
        var isLong = isLong
        var next = parcel.next
        if case .again = next { next = engine.goOn(&connection) }
        if case .work(let admitted) = next, parcel.isLate {
            next = engine.refuse(.overloaded, admitted.exchange, &connection)
        }
        while next.needsThread {
            if !isLong, next.isLong(connection) {
                guard beginLong() else {
                    postpone(connection, next, parcel, engine)
                    return false
                }
                isLong = true
            }
            switch next {
            case .work(let admitted): next = engine.execute(admitted, &connection)
            case .deliver(let delivery): next = engine.deliver(delivery, &connection)
            case .park, .again, .drop: break
            }
        }
        sendHome(connection, next, parcel)
        return isLong
    }

    /// Queues what turned out to be long while enough threads are at such work.
    private func postpone(_ connection: consuming Connection, _ next: Next, _ parcel: Parcel, _ engine: Engine) {
        var always = true
        if case .work = next { always = false }
        let later = Parcel(connection, next, slot: parcel.slot, origin: parcel.origin, home: parcel.home)
        if submit(later, isLong: true, always: always) { return }
        guard case .work(let admitted) = next, var refused = later.open() else { return }
        let refusal = engine.refuse(.overloaded, admitted.exchange, &refused)
        sendHome(refused, refusal, parcel)
    }

    private func sendHome(_ connection: consuming Connection, _ next: Next, _ parcel: Parcel) {
        if case .drop = next {
            parcel.home.put(Parcel(nil, .drop, slot: parcel.slot, origin: parcel.origin, home: parcel.home))
            return
        }
        parcel.home.put(Parcel(connection, next, slot: parcel.slot, origin: parcel.origin, home: parcel.home))
    }
}

extension Next {
    /// Whether only a thread of the pool can go on.
    fileprivate var needsThread: Bool {
        switch self {
        case .work, .deliver: true
        case .park, .again, .drop: false
        }
    }

    /// Whether it is the rest of an answer, which cannot be refused any more.
    var isAnswer: Bool { if case .deliver = self { true } else { false } }

    /// Whether the thread will wait for the client: for a body that is not here yet, or to take a long answer.
    func isLong(_ connection: borrowing Connection) -> Bool {
        switch self {
        case .work(let admitted): !admitted.isWhole(in: connection.input.count)
        case .deliver: true
        case .park, .again, .drop: false
        }
    }
}

extension Problem {
    /// No thread is free.
    static var overloaded: Problem {
        Problem(
            .serviceUnavailable, code: "server.overloaded", detail: "All threads are busy; send the request again.",
            fields: [.retryAfter: "1"]
        ).reaching(.workerThreads)
    }

    /// Requests that are not whole take all the memory that they may.
    static var tooMuchWaits: Problem {
        var problem = overloaded
        problem.detail = "Too many requests are not whole; send the request again."
        return problem.reaching(.waitingBytes)
    }

    /// The server has worked on a request for longer than it may: what a handler throws that finds its flight overdue.
    package static var overdue: Problem {
        Problem(
            .serviceUnavailable, code: "request.deadline", title: "The request took too long",
            detail: "The server gives one request no more time; a job (POST /v1/jobs) has no deadline.",
            fields: [.retryAfter: "60"]
        ).reaching(.requestDeadline)
    }
}
