import HTTPTypes
import Logging
import Sockets
import Synchronization

/// One epoll loop: it owns all connections that wait, answers short requests itself, and hands the others, with
/// their ownership, to the pool.
final class EventLoop {
    private enum Token {
        static let wakeup = UInt64.max
        static let listener = UInt64.max - 1
    }

    private let service: Service
    private let limits: ServerLimits
    private let listener: SharedListener
    private let mailbox: Mailbox
    private let pool: WorkerPool
    private let tls: TLSContext?
    private let engine: Engine
    private let poller: Poller
    private var table = ConnectionTable()
    private var discarded = InputBuffer(capacity: 64 << 10)
    /// Slots whose connections have more to process without an event.
    private var ready: [Int] = []
    /// Slots whose connections have an answer to send, and whether they have more to process then.
    private var answered: [(slot: Int, goesOn: Bool)] = []
    private var isListening = false
    private var now = ContinuousClock.now
    private var nextSweep: ContinuousClock.Instant
    private let sweepInterval: Duration
    private var drainEnd: ContinuousClock.Instant?
    private var stopEnd: ContinuousClock.Instant?

    init(
        _ service: Service, listener: SharedListener, mailbox: Mailbox, pool: WorkerPool, tls: TLSContext?
    ) throws(SocketError) {
        self.service = service
        limits = service.limits
        self.listener = listener
        self.mailbox = mailbox
        self.pool = pool
        self.tls = tls
        engine = Engine(service)
        poller = try Poller()
        sweepInterval = limits.sweepInterval
        nextSweep = now + sweepInterval
    }

    /// Serves until the server drains; ends when no connection is left or the drain's time is over.
    func run() {
        do throws(SocketError) {
            try poller.add(mailbox.wakeup.descriptor, .read, token: Token.wakeup)
            resumeListening()
            var tokens = [UInt64]()
            while !isDone() {
                let isIdle = table.open == 0 && isListening && drainEnd == nil
                let timeout = ready.isEmpty ? max(.zero, now.duration(to: nextSweep)) : .zero
                try poller.wait(upTo: isIdle ? nil : timeout, into: &tokens)
                now = .now
                for token in tokens {
                    handle(token)
                    if answered.count == Self.answersAtOnce { sendAnswers() }
                }
                sendAnswers()
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
        case Token.wakeup:
            let (parcels, signals) = mailbox.takeAll()
            for parcel in parcels { receive(parcel) }
            for token in signals { goOn(token) }
        case Token.listener: acceptAll()
        default: if let connection = table.take(token: token) { advance(connection) }
        }
    }

    /// The source of a stream has more. One whose client has not taken what came before is asked when it has.
    private func goOn(_ token: UInt64) {
        guard let connection = table.take(token: token) else { return }
        if connection.output.isEmpty, !connection.isReady { settle(connection, .park) } else { store(connection) }
    }

    // MARK: Connections

    /// The descriptor of a waiting connection is ready.
    private func advance(_ connection: consuming Connection) {
        var connection = connection
        if connection.isReady { return store(connection) }
        if case .lingering = connection.stage { return linger(connection) }
        if !connection.output.isEmpty {
            connection.lastProgress = now
            return settle(connection, connection.hasUnseenBytes ? .again : .park)
        }
        if connection.isStreaming { return overhear(connection) }
        if connection.transport.isSecure { return handOver(connection, .again) }
        let next = engine.turn(&connection, now: now)
        switch next {
        case .park where !connection.output.isEmpty && !connection.isStreaming: postpone(connection, goesOn: false)
        case .again where !connection.output.isEmpty: postpone(connection, goesOn: true)
        case .park, .again, .work, .deliver, .drop: settle(connection, next)
        }
    }

    /// Lets an answer wait for those of the other clients whose requests have come together: one send after the other
    /// wakes a client once that reads many of them, and to wake it is the dearest part of a short answer
    /// (docs/decisions/0020).
    private func postpone(_ connection: consuming Connection, goesOn: Bool) {
        var connection = connection
        answered.append((connection.slot, goesOn))
        connection.isReady = true
        store(connection)
    }

    /// The most answers that wait for each other.
    private static let answersAtOnce = 32

    private func sendAnswers() {
        for (slot, goesOn) in answered {
            guard var connection = table.take(slot) else { continue }
            connection.isReady = false
            settle(connection, goesOn ? .again : .park)
        }
        answered.removeAll(keepingCapacity: true)
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
            let next = engine.process(&connection)
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
        let exchange =
            if case .body(let admitted, _) = connection.stage { admitted.exchange } else {
                engine.start(nil, &connection)
            }
        settle(connection, engine.refuse(.overloaded, exchange, &connection))
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
        let slot = connection.slot
        unwatch(&connection)
        engine.abandon(connection)
        release(slot)
    }

    private func release(_ index: Int) {
        table.release(index)
        service.connections.subtract(1, ordering: .relaxed)
        service.observer.connectionClosed()
        if !isListening, drainEnd == nil { resumeListening() }
    }

    // MARK: Threads

    private func handOver(_ connection: consuming Connection, _ next: Next) {
        var connection = connection
        unwatch(&connection)
        let slot = connection.slot
        let isLong = next.isLong(connection)
        var isBound = true
        if case .deliver = next { isBound = false }
        let parcel = Parcel(Parcel.Cargo(connection: connection, next: next), slot: slot, home: mailbox)
        if pool.submit(parcel, isLong: isLong, always: !isBound) { return }
        guard var cargo = parcel.open() else { return release(slot) }
        if case .work(let admitted) = next {
            var refused = cargo.release()
            settle(refused, engine.refuse(.overloaded, admitted.exchange, &refused))
            return
        }
        cargo.isLate = true
        _ = pool.submit(Parcel(cargo, slot: slot, home: mailbox), isLong: false, always: true)
    }

    private func receive(_ parcel: Parcel) {
        guard let cargo = parcel.open() else { return release(parcel.slot) }
        let next = cargo.next
        settle(cargo.release(), next)
    }

    // MARK: Arrivals

    private func acceptAll() {
        // A bound, so that a burst of arrivals does not starve those who are here.
        for _ in 0..<64 {
            guard service.connections.load(ordering: .relaxed) < limits.maxConnections else { return pauseListening() }
            do throws(SocketError) {
                switch try listener.accept() {
                case .none: return
                case .exhausted:
                    service.logger.warning("no descriptor is left: accepting pauses")
                    return pauseListening()
                case .connection(let descriptor): try admit(descriptor)
                }
            } catch {
                service.logger.warning("accepting failed", metadata: ["error": "\(error)"])
                return pauseListening()
            }
        }
    }

    private func admit(_ descriptor: consuming Descriptor) throws(SocketError) {
        let transport = try Transport(descriptor, tls: tls, interruption: service.interruption)
        // A client that has gone already has no name; reading will tell.
        let peer = (try? transport.peer().description) ?? "unknown"
        service.connections.add(1, ordering: .relaxed)
        service.observer.connectionOpened()
        park(Connection(transport: transport, peer: peer, slot: table.occupy(now), now: now), .read)
    }

    private func pauseListening() {
        guard isListening else { return }
        isListening = false
        do throws(SocketError) {
            try listener.ignore(in: poller)
        } catch {
            service.logger.warning("the listener stays watched", metadata: ["error": "\(error)"])
        }
    }

    private func resumeListening() {
        guard !isListening, drainEnd == nil else { return }
        isListening = listener.watch(in: poller, token: Token.listener)
    }

    // MARK: Time

    /// Acts on every deadline that has passed.
    private func sweep() {
        nextSweep = now + sweepInterval
        resumeListening()
        for index in table.indices {
            if let connection = table.takeExpired(index, now) { expire(connection) }
        }
    }

    private func expire(_ connection: consuming Connection) {
        var connection = connection
        guard connection.transport.isEstablished, connection.output.isEmpty else { return close(connection) }
        switch connection.stage {
        case .head where connection.input.isEmpty:
            connection.transport.shutdownWrite()
            close(connection)
        case .head:
            let problem = Problem(
                .requestTimeout, code: "http.head_timeout", detail: "The request's head did not arrive in time.")
            settle(connection, engine.refuse(problem, engine.start(nil, &connection), &connection))
        case .body(let admitted, _):
            let problem = RequestBody.tooSlow(received: connection.input.count)
            settle(connection, engine.refuse(problem, admitted.exchange, &connection))
        case .streaming(let streaming):
            engine.beat(streaming, &connection, now: now)
            settle(connection, .park)
        case .closing, .lingering: close(connection)
        }
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
        pauseListening()
        listener.close()
        drainEnd = now + limits.drainDeadline
        for index in table.indices {
            guard let connection = table.take(index) else { continue }
            if connection.isIdle || connection.isStreaming { settle(connection, .park) } else { store(connection) }
        }
    }
}
