import HTTPTypes
import Logging
import Sockets
import Synchronization

/// A connection on its way between its loop and a thread; whoever opens it owns the connection.
final class Parcel: Sendable {
    struct Cargo: ~Copyable, Sendable {
        var connection: Connection
        let next: Next
        /// No thread was free and the queue was full: the request is to be refused.
        var isLate = false
    }

    /// The connection's place in its loop.
    let slot: Int
    /// The loop it returns to.
    let home: Mailbox
    private let cargo: Mutex<Cargo?>

    init(_ cargo: consuming Cargo?, slot: Int, home: Mailbox) {
        self.slot = slot
        self.home = home
        self.cargo = Mutex(cargo)
    }

    /// Takes the connection out; nil when it ended on the way.
    func open() -> Cargo? {
        cargo.withLock { $0.take() }
    }
}

/// Where threads leave parcels for a loop.
final class Mailbox: Sendable {
    let wakeup: Wakeup
    private let parcels = Mutex<[Parcel]>([])

    init() throws(SocketError) {
        wakeup = try Wakeup()
    }

    func put(_ parcel: Parcel) {
        let isFirst = parcels.withLock { parcels in
            parcels.append(parcel)
            return parcels.count == 1
        }
        if isFirst { wakeup.signal() }
    }

    func takeAll() -> [Parcel] {
        wakeup.clear()
        return parcels.withLock { parcels in
            defer { parcels = [] }
            return parcels
        }
    }
}

/// Threads that may wait: they run handlers, read bodies, send files and speak TLS. Started when first needed.
final class WorkerPool: Sendable {
    private struct State {
        var queue: [Parcel] = []
        var taken = 0
        var idle = 0
        var threads = 0
        var isStopped = false

        var waiting: Int { queue.count - taken }

        mutating func takeFirst() -> Parcel? {
            guard taken < queue.count else { return nil }
            let parcel = queue[taken]
            taken += 1
            if taken == queue.count {
                queue.removeAll(keepingCapacity: true)
                taken = 0
            } else if taken > 1024 {
                queue.removeFirst(taken)
                taken = 0
            }
            return parcel
        }
    }

    private enum Placement {
        case queued, needsThread, full
    }

    private let service: Service
    private let state = Mutex(State())
    private let work: Semaphore
    private let ended: Semaphore

    init(_ service: Service) throws(SocketError) {
        self.service = service
        work = try Semaphore()
        ended = try Semaphore()
    }

    /// Queues a parcel; false when no thread is free, none may be started, and the queue is full.
    ///
    /// - Parameter always: queue it anyway; there are never more parcels than connections.
    func submit(_ parcel: Parcel, always: Bool = false) -> Bool {
        let limits = service.limits
        let placement = state.withLock { state -> Placement in
            let needsThread = state.waiting >= state.idle && state.threads < limits.workerThreads
            let isFull = state.waiting >= state.idle + limits.workerQueue
            if !needsThread, isFull, !always { return .full }
            state.queue.append(parcel)
            if needsThread { state.threads += 1 }
            return needsThread ? .needsThread : .queued
        }
        if placement == .full { return false }
        work.signal()
        if placement == .needsThread { startThread() }
        return true
    }

    private func startThread() {
        do {
            try Thread.start(name: "viva-worker") { [self] in run() }
        } catch {
            state.withLock { $0.threads -= 1 }
            service.logger.error("no worker thread", metadata: ["error": "\(error)"])
        }
    }

    /// Ends the threads; those still at work are waited for until `deadline`. True when all have ended.
    func stop(by deadline: ContinuousClock.Instant) -> Bool {
        let threads = state.withLock { state in
            state.isStopped = true
            return state.threads
        }
        for _ in 0..<threads { work.signal() }
        for _ in 0..<threads where !ended.wait(until: deadline) { return false }
        return true
    }

    private func run() {
        let engine = Engine(service)
        while true {
            state.withLock { $0.idle += 1 }
            _ = work.wait()
            let (parcel, isStopped) = state.withLock { state in
                state.idle -= 1
                return (state.takeFirst(), state.isStopped)
            }
            if let parcel {
                carry(parcel, engine)
            } else if isStopped {
                break
            }
        }
        ended.signal()
    }

    private func carry(_ parcel: Parcel, _ engine: Engine) {
        guard let cargo = parcel.open() else { return }
        let isLate = cargo.isLate
        var next = cargo.next
        var connection = cargo.release()
        if case .again = next {
            next = connection.input.isEmpty ? .park : engine.process(&connection)
            if case .park = next, !connection.isClosing { next = engine.turn(&connection, now: .now) }
        }
        if case .work(let admitted) = next {
            next =
                isLate
                ? engine.refuse(.overloaded, admitted.exchange, &connection)
                : engine.execute(admitted, &connection)
        }
        if case .deliver(let delivery) = next { next = engine.deliver(delivery, &connection) }
        if case .drop = next {
            parcel.home.put(Parcel(nil, slot: parcel.slot, home: parcel.home))
            return
        }
        let back = Parcel.Cargo(connection: connection, next: next)
        parcel.home.put(Parcel(back, slot: parcel.slot, home: parcel.home))
    }
}

extension Parcel.Cargo {
    consuming func release() -> Connection {
        connection
    }
}

extension Problem {
    /// No thread is free.
    static var overloaded: Problem {
        Problem(
            .serviceUnavailable, code: "server.overloaded", detail: "All threads are busy; send the request again.",
            fields: [.retryAfter: "1"])
    }
}
