import HTTPTypes
import Logging
import Sockets

/// A long answer whose head is written: what is left to send, and what becomes of the connection.
struct Delivery: Sendable {
    let pieces: [BodyPart]
    let status: HTTPResponse.Status
    let exchange: Exchange
    /// The connection's stage behind the answer.
    let stage: Connection.Stage
    /// The piece under way, and how much of it was sent or lies in `made`.
    fileprivate var index = 0
    fileprivate var offset = 0
    /// Bytes that were made or read, and not sent yet.
    fileprivate(set) var made = InputBuffer()
    /// Bytes of the body that were sent.
    fileprivate(set) var sent = 0
    /// How long the client was waited for.
    fileprivate(set) var waited = Duration.zero

    init(pieces: [BodyPart], status: HTTPResponse.Status, exchange: Exchange, stage: Connection.Stage) {
        self.pieces = pieces
        self.status = status
        self.exchange = exchange
        self.stage = stage
    }

    /// The most waiting that the bytes sent so far have earned.
    func patience(_ limits: ServerLimits) -> Duration {
        limits.answerGrace + .seconds(1) * (Double(sent) / Double(max(1, limits.answerMinimumRate)))
    }

    /// The client was waited for.
    mutating func wait(_ duration: Duration) {
        waited += duration
        exchange.flight?.wait(duration)
    }

    fileprivate mutating func count(_ count: Int) {
        sent += count
        exchange.flight?.send(count)
    }
}

// Long answers hold a thread only while their client takes them.
extension Engine {
    /// Bytes that are made or encrypted at once.
    private static let producedPieceBytes = 256 << 10
    private static let encryptedPieceBytes = 64 << 10

    private enum Step {
        case done
        case wait(Interest)
        case broken(ProductionFailure)
    }

    /// Sends a long answer as far as its client takes it; for threads of the pool.
    ///
    /// A client that takes nothing for `threadPatience`, or at all while others wait for a thread, gives its own back:
    /// the rest waits in the loop.
    func deliver(_ delivery: Delivery, _ connection: inout Connection) -> Next {
        var delivery = delivery
        delivery.exchange.flight?.enter(.sending)
        do throws(SocketError) {
            while true {
                let before = delivery.sent
                let step = try advance(&delivery, &connection)
                if delivery.sent > before { connection.lastProgress = .now }
                switch step {
                case .done: return end(delivery, &connection)
                case .broken(let failure):
                    var exchange = delivery.exchange
                    exchange.errorCode = failure.code
                    finish(exchange, delivery.status, sent: delivery.sent, connection.origin)
                    return .drop
                case .wait(let interest):
                    if try wait(for: interest, &delivery, connection) { continue }
                    delivery.made = delivery.made.trimmed()
                    connection.stage = .sending(delivery)
                    connection.interest = interest
                    connection.since = .now
                    return .park
                }
            }
        } catch {
            return fail(delivery.exchange, delivery.status, error, connection.origin, sent: delivery.sent)
        }
    }

    private func end(_ delivery: Delivery, _ connection: inout Connection) -> Next {
        connection.stage = delivery.stage
        connection.interest = .read
        rest(&connection)
        finish(delivery.exchange, delivery.status, sent: delivery.sent, connection.origin)
        return connection.hasUnseenBytes ? .again : .park
    }

    /// Sends what can be sent without waiting.
    private func advance(_ delivery: inout Delivery, _ connection: inout Connection) throws(SocketError) -> Step {
        guard try connection.flush(more: true) else { return .wait(.write) }
        while delivery.index < delivery.pieces.count {
            // A client that takes all at once never makes the transport wait, which would notice.
            guard !service.interruption.isRequested else { throw .interrupted }
            let piece = delivery.pieces[delivery.index]
            let progress: Transport.Progress
            if case .file(let file, let range) = piece, !connection.transport.isSecure {
                let left = range.dropFirst(delivery.offset)
                progress = left.isEmpty ? .bytes(0) : try connection.transport.sendFile(file.source, range: left)
                if case .bytes(let count) = progress { delivery.offset += count }
            } else {
                if delivery.made.isEmpty, delivery.offset < piece.count {
                    if let failure = try make(piece, &delivery, connection) { return .broken(failure) }
                }
                let isLast = delivery.offset == piece.count && delivery.index == delivery.pieces.count - 1
                progress = try delivery.made.send(over: &connection.transport, more: !isLast)
            }
            switch progress {
            case .bytes(let count): delivery.count(count)
            case .wait(let interest): return .wait(interest)
            case .ended: throw .disconnected
            }
            if delivery.made.isEmpty, delivery.offset == piece.count {
                delivery.index += 1
                delivery.offset = 0
            }
        }
        return .done
    }

    /// Puts the next bytes of a piece where they can be sent from.
    private func make(
        _ piece: BodyPart, _ delivery: inout Delivery, _ connection: borrowing Connection
    ) throws(SocketError) -> ProductionFailure? {
        switch piece {
        case .bytes(let bytes):
            delivery.made = InputBuffer(holding: bytes)
            delivery.offset = bytes.count
        case .file(let file, let range):
            let left = range.dropFirst(delivery.offset)
            delivery.made.reserve(min(left.count, Self.encryptedPieceBytes))
            let count = try delivery.made.fill { room throws(SocketError) in
                var room = room._mutatingExtracting(first: min(room.byteCount, left.count))
                return try file.source.read(into: &room, at: left.lowerBound)
            }
            guard count > 0 else { throw .disconnected }
            delivery.offset += count
        case .produced(let producer):
            let left = producer.byteCount - delivery.offset
            delivery.made.reserve(min(left, Self.producedPieceBytes))
            do throws(ProductionFailure) {
                if delivery.exchange.flight?.isOverdue == true {
                    service.observer.limitReached(.requestDeadline)
                    throw ProductionFailure(code: "request.deadline", detail: "\(left) bytes are missing.")
                }
                let count = try delivery.made.fill { room throws(ProductionFailure) in
                    var room = room._mutatingExtracting(first: min(room.byteCount, left))
                    return min(try producer.produce(into: &room), room.byteCount)
                }
                guard count > 0 else {
                    throw ProductionFailure(code: "response.short", detail: "\(left) bytes are missing.")
                }
                delivery.offset += count
            } catch {
                service.logger.error(
                    "answer broken off",
                    metadata: ["peer": "\(connection.peer)", "code": "\(error.code)", "detail": "\(error.detail)"])
                return error
            }
        }
        return nil
    }

    /// Waits a little for the client; false when it is to be waited for without a thread.
    private func wait(
        for interest: Interest, _ delivery: inout Delivery, _ connection: borrowing Connection
    ) throws(SocketError) -> Bool {
        let start = ContinuousClock.now
        let end = start + min(limits.threadPatience, limits.writeStall)
        var isReady = false
        var now = start
        repeat {
            isReady = try connection.transport.isReady(
                for: interest, within: service.crowding.isCrowded ? .zero : .milliseconds(10))
            now = .now
        } while !isReady && now < end && !service.crowding.isCrowded
        delivery.wait(start.duration(to: now))
        guard delivery.waited <= delivery.patience(limits) else {
            service.observer.limitReached(.answerRate)
            throw .timedOut
        }
        return isReady
    }
}
