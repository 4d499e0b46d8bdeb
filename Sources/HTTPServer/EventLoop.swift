import HTTPTypes
import Logging
import Sockets
import Synchronization

/// One epoll loop: it owns all connections that wait, answers short requests itself, and hands the others, with
/// their ownership, to the pool.
final class EventLoop {
    private static let wakeup = UInt64.max
    /// The most answers that wait for each other.
    private static let answersAtOnce = 32

    private let service: Service
    private let limits: ServerLimits
    private let mailbox: Mailbox
    private let pool: WorkerPool
    private let engine: Engine
    private let poller: Poller
    private var table = ConnectionTable()
    private var discarded = InputBuffer(capacity: 64 << 10)
    /// Slots whose connections have an answer to send, or more to process without an event.
    private var ready: [Int] = []
    private var arrivals: Arrivals
    private var now = ContinuousClock.now
    private var nextSweep: ContinuousClock.Instant
    private let sweepInterval: Duration
    private var drainEnd: ContinuousClock.Instant?
    private var stopEnd: ContinuousClock.Instant?

    init(_ service: Service, arrivals: Arrivals, mailbox: Mailbox, pool: WorkerPool) throws(SocketError) {
        self.service = service
        limits = service.limits
        self.arrivals = arrivals
        self.mailbox = mailbox
        self.pool = pool
        engine = Engine(service)
        poller = try Poller()
        sweepInterval = limits.sweepInterval
        nextSweep = now + sweepInterval
    }

    /// Serves until the server drains; ends when no connection is left or the drain's time is over.
    func run() {
        do throws(SocketError) {
            try poller.add(mailbox.wakeup.descriptor, .read, token: Self.wakeup)
            arrivals.open(in: poller)
            var tokens = [UInt64]()
            while !isDone() {
                let isIdle = table.open == 0 && arrivals.isOpen && drainEnd == nil
                let timeout = ready.isEmpty ? max(.zero, now.duration(to: nextSweep)) : .zero
                try poller.wait(upTo: isIdle ? nil : timeout, into: &tokens)
                now = .now
                for token in tokens { handle(token) }
                processReady()
                if now >= nextSweep { sweep() }
            }
        } catch {
            service.logger.critical("event loop failed", metadata: ["error": "\(error)"])
            service.drainLevel.store(2, ordering: .relaxed)
            service.interruption.request()
        }
        for index in table.indices {
            if let connection = table.take(index) { close(connection) }
        }
    }

    private func handle(_ token: UInt64) {
        switch token {
        case Self.wakeup:
            let (parcels, signals) = mailbox.takeAll()
            for parcel in parcels { receive(parcel) }
            for token in signals { goOn(token) }
        default:
            if let listener = arrivals.listener(token) { return accept(from: listener) }
            if let connection = table.take(token: token) { advance(connection) }
        }
    }

    /// The source of a stream has more. One whose client has not taken what came before is asked when it has.
    private func goOn(_ token: UInt64) {
        guard let connection = table.take(token: token) else { return }
        if connection.output.isEmpty, !connection.isReady { settle(connection, .park) } else { store(connection) }
    }

    /// The descriptor of a waiting connection is ready.
    private func advance(_ connection: consuming Connection) {
        var connection = connection
        if connection.isReady { return store(connection) }
        if case .lingering = connection.stage { return linger(connection) }
        if case .sending(var delivery) = connection.stage {
            delivery.wait(connection.since.duration(to: now))
            return handOver(connection, .deliver(delivery))
        }
        if !connection.output.isEmpty {
            connection.lastProgress = now
            return settle(connection, connection.restsOrGoesOn)
        }
        if connection.isStreaming { return overhear(connection) }
        if connection.transport.isSecure { return handOver(connection, .again) }
        let next = engine.turn(&connection, now: now)
        guard next.isForLoop, !connection.output.isEmpty else { return settle(connection, next) }
        // Answers to clients that ask together go out together: docs/decisions/0021.
        ready.append(connection.slot)
        connection.isReady = true
        store(connection)
        if ready.count >= Self.answersAtOnce { processReady() }
    }

    /// Does what a connection asks for after its turn.
    private func settle(_ connection: consuming Connection, _ next: Next) {
        var connection = connection
        var next = next
        switch next {
        case .drop: return close(connection)
        case .work, .deliver: return handOver(connection, next)
        case .park, .again: break
        }
        if case .sending = connection.stage {
            let isHeld = table.held + connection.heldBytes <= limits.maxWaitingBytes
            return isHeld ? park(connection, connection.interest) : end(connection, .waitingBytes)
        }
        let isSent: Bool
        do throws(SocketError) {
            let listener = EventSignal.Listener(mailbox: mailbox, token: table.token(connection.slot))
            isSent = try engine.push(&connection, &next, for: listener, now: now)
        } catch {
            engine.note(error, connection.peer)
            return close(connection)
        }
        guard isSent else { return park(connection, .write) }
        if case .closing(let mustLinger) = connection.stage {
            connection.transport.shutdownWrite()
            guard mustLinger else { return close(connection) }
            connection.stage = .lingering
            connection.since = now
            connection.lastProgress = now
            connection.input = InputBuffer()
            return park(connection, .read)
        }
        if drainEnd != nil, connection.isIdle || stopEnd != nil {
            connection.transport.shutdownWrite()
            return close(connection)
        }
        let isStreaming = connection.isStreaming
        let mustGoOn = if case .again = next { true } else { !isStreaming && connection.transport.hasPending }
        guard mustGoOn else {
            guard
                table.held + connection.input.count <= limits.maxWaitingBytes || connection.input.isEmpty || isStreaming
            else {
                return shed(connection)
            }
            return park(connection, connection.interest)
        }
        if connection.transport.isSecure, !isStreaming { return handOver(connection, .again) }
        ready.append(connection.slot)
        connection.isReady = true
        store(connection)
    }

    private func processReady() {
        let indices = ready
        ready.removeAll(keepingCapacity: true)
        for index in indices {
            guard var connection = table.take(index) else { continue }
            connection.isReady = false
            let next = connection.output.isEmpty ? engine.process(&connection) : connection.restsOrGoesOn
            settle(connection, next)
        }
    }

    /// Discards what a client still sends after its answer, so that it can read the answer before a reset.
    private func linger(_ connection: consuming Connection) {
        var connection = connection
        do throws(SocketError) {
            switch try discarded.discard(from: &connection.transport) {
            case .ended: close(connection)
            case .wait: park(connection, .read)
            case .bytes:
                connection.lastProgress = now
                park(connection, .read)
            }
        } catch {
            // A reset: the client is gone, which is what was waited for.
            close(connection)
        }
    }

    /// A client of a stream says something, or is gone.
    private func overhear(_ connection: consuming Connection) {
        var connection = connection
        do throws(SocketError) {
            let isThere = try engine.overhear(&connection, room: limits.maxWaitingBytes - table.held)
            if isThere { park(connection, connection.interest) } else { close(connection) }
        } catch {
            engine.note(error, connection.peer)
            close(connection)
        }
    }

    /// Lets the connection wait for its descriptor.
    private func park(_ connection: consuming Connection, _ interest: Interest) {
        var connection = connection
        if connection.input.isEmpty { connection.input = InputBuffer() }
        do throws(SocketError) {
            let token = table.token(connection.slot)
            if connection.watched == nil {
                try poller.add(connection.transport.descriptor, interest, token: token)
            } else if connection.watched != interest {
                try poller.change(connection.transport.descriptor, to: interest, token: token)
            }
            connection.watched = interest
            store(connection)
        } catch {
            engine.note(error, connection.peer)
            close(connection)
        }
    }

    /// Refuses a request that is not whole because too many others are not either.
    private func shed(_ connection: consuming Connection) {
        var connection = connection
        let next: Next
        if case .body(let admitted, _) = connection.stage {
            next = engine.refuse(.tooMuchWaits, admitted.exchange, &connection)
        } else {
            next = engine.refuse(.tooMuchWaits, &connection)
        }
        settle(connection, next)
    }

    private func store(_ connection: consuming Connection) {
        table.store(connection, limits)
    }

    private func unwatch(_ connection: inout Connection) {
        guard connection.watched != nil else { return }
        connection.watched = nil
        do throws(SocketError) {
            try poller.remove(connection.transport.descriptor)
        } catch {
            engine.note(error, connection.peer)
        }
    }

    private func close(_ connection: consuming Connection) {
        var connection = connection
        unwatch(&connection)
        engine.abandon(connection)
        // What is read from the connection is used before the connection is consumed: Swift 6.3.1 -O keeps no reference
        // to a field beyond that, and the name of a peer would be freed (EndToEndTests/AttackTests.swift).
        release(connection.slot, connection.origin)
    }

    private func release(_ index: Int, _ origin: Origin) {
        table.release(index)
        service.connections.leave(origin)
        service.observer.connectionClosed()
        if drainEnd == nil { arrivals.open(in: poller) }
    }

    private func handOver(_ connection: consuming Connection, _ next: Next) {
        var connection = connection
        unwatch(&connection)
        let isLong = next.isLong(connection)
        var isBound = true
        if case .deliver = next { isBound = false }
        let slot = connection.slot
        let origin = connection.origin
        let parcel = Parcel(connection, next, slot: slot, origin: origin, home: mailbox)
        if pool.submit(parcel, isLong: isLong, always: !isBound) { return }
        guard var refused = parcel.open() else { return release(slot, parcel.origin) }
        guard case .work(let admitted) = next else {
            let late = Parcel(refused, next, slot: slot, origin: parcel.origin, home: mailbox, isLate: true)
            _ = pool.submit(late, isLong: false, always: true)
            return
        }
        let refusal = engine.refuse(.overloaded, admitted.exchange, &refused)
        settle(refused, refusal)
    }

    private func receive(_ parcel: Parcel) {
        guard var connection = parcel.open() else { return release(parcel.slot, parcel.origin) }
        let next = parcel.isLate ? engine.doWithoutThread(parcel.next, &connection) : parcel.next
        settle(connection, next)
    }

    private func accept(from listener: SharedListener) {
        // A bound, so that a burst of arrivals does not starve those who are here.
        for _ in 0..<64 {
            do throws(SocketError) {
                switch try listener.accept() {
                case .none: return
                case .exhausted:
                    // Clients wait in the backlog until a connection ends, or for the next look at the deadlines.
                    service.logger.warning("no descriptor is left: accepting pauses")
                    service.observer.limitReached(.descriptors)
                    return arrivals.pause(in: poller, service.logger)
                case .connection(let descriptor): try admit(descriptor, listener)
                }
            } catch {
                service.logger.warning("accepting failed", metadata: ["error": "\(error)"])
                return arrivals.pause(in: poller, service.logger)
            }
        }
    }

    private func admit(_ descriptor: consuming Descriptor, _ listener: SharedListener) throws(SocketError) {
        let transport = try Transport(descriptor, tls: listener.identity?.current, interruption: service.interruption)
        // A client that has gone already has no name; reading will tell.
        let peer = (try? transport.peer().description) ?? "unknown"
        let isLocal = listener.address.isLoopback
        let client = isLocal ? nil : ConnectionCounts.client(peer)
        let excess = service.connections.enter(client)
        let origin = Origin(
            peer: peer, client: client, isSecure: transport.isSecure, isLocal: isLocal, excess: excess)
        var connection = Connection(transport: transport, origin: origin, slot: table.occupy(now), now: now)
        service.observer.connectionOpened()
        guard let excess else { return park(connection, .read) }
        // Who would have to shake hands first is told nothing.
        guard !origin.isSecure else { return end(connection, excess.limit) }
        let next = engine.refuse(.tooManyConnections(excess.limit, limits), &connection)
        if !excess.mayLinger {
            // A request that has come already would turn the end into a reset, which overtakes the answer. If reading
            // fails, so does sending.
            _ = try? discarded.discard(from: &connection.transport)
            connection.stage = .closing(linger: false)
        }
        settle(connection, next)
    }

    /// Acts on every deadline that has passed.
    private func sweep() {
        nextSweep = now + sweepInterval
        if drainEnd == nil { arrivals.open(in: poller) }
        for index in table.indices {
            if let connection = table.takeExpired(index, now) { expire(connection) }
        }
    }

    private func expire(_ connection: consuming Connection) {
        var connection = connection
        let limit = connection.term(limits).limit
        guard connection.transport.isEstablished, connection.output.isEmpty else { return end(connection, limit) }
        switch connection.stage {
        case .head where connection.input.isEmpty: end(connection, limit)
        case .head:
            let problem = Problem(
                .requestTimeout, code: "http.head_timeout", detail: "The request's head did not arrive in time."
            ).reaching(.headDeadline)
            settle(connection, engine.refuse(problem, &connection))
        case .body(let admitted, _):
            let problem = RequestBody.tooSlow(received: connection.input.count, limit ?? .bodyIdle)
            settle(connection, engine.refuse(problem, admitted.exchange, &connection))
        case .streaming(let streaming):
            engine.beat(streaming, &connection, now: now)
            settle(connection, .park)
        case .sending, .closing, .lingering: end(connection, limit)
        }
    }

    /// Closes a connection that a limit ends.
    private func end(_ connection: consuming Connection, _ limit: LimitName?) {
        var connection = connection
        if let limit { service.observer.limitReached(limit) }
        if connection.isIdle { connection.transport.shutdownWrite() }
        close(connection)
    }

    private func isDone() -> Bool {
        let level = service.drainLevel.load(ordering: .relaxed)
        guard level > 0 else { return false }
        guard let drainEnd else {
            startDraining()
            return table.open == 0
        }
        if table.open == 0 { return true }
        guard level > 1 || now >= drainEnd else { return false }
        if let stopEnd { return now >= stopEnd }
        // Threads that wait give up and come back; one that computes is not waited for.
        service.interruption.request()
        stopEnd = now + .seconds(1)
        for index in table.indices {
            if let connection = table.take(index) { close(connection) }
        }
        return table.open == 0
    }

    private func startDraining() {
        arrivals.close(in: poller, service.logger)
        drainEnd = now + limits.drainDeadline
        for index in table.indices {
            guard let connection = table.take(index) else { continue }
            if connection.isIdle || connection.isStreaming { settle(connection, .park) } else { store(connection) }
        }
    }
}
