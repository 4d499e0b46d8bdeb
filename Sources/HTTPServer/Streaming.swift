import HTTPTypes
import HTTPWire
import Sockets

/// An answer of unknown length under way; the last holder of its source.
final class Streaming: Sendable {
    let source: any EventSource
    let signal: EventSignal
    let exchange: Exchange
    let status: HTTPResponse.Status
    /// Whether the body has chunks; without them the end of the connection ends it.
    let isChunked: Bool
    /// Whether the connection closes behind the stream.
    let closes: Bool
    /// Whether nothing of the request's body is left on the wire.
    let bodyIsDone: Bool

    init(
        _ source: any EventSource, _ signal: EventSignal, exchange: Exchange, status: HTTPResponse.Status,
        framing: ResponseWriter.Framing, closes: Bool, bodyIsDone: Bool
    ) {
        self.source = source
        self.signal = signal
        self.exchange = exchange
        self.status = status
        isChunked = framing == .chunked
        self.closes = closes
        self.bodyIsDone = bodyIsDone
    }
}

extension Engine {
    /// Sends what can be sent without waiting, and has a stream go on; true when all of `output` is gone.
    ///
    /// A stream is asked for little, and only when the client has taken what came before: what is not taken is not
    /// made. `next` becomes what the stream leaves to do.
    func push(
        _ connection: inout Connection, _ next: inout Next, for listener: EventSignal.Listener,
        now: ContinuousClock.Instant
    ) throws(SocketError) -> Bool {
        var pieces = 0
        while try connection.flush() {
            guard case .streaming(let streaming) = connection.stage else { return true }
            next = .again
            // The others have their turn first.
            if pieces == limits.streamedPieces { return true }
            pieces += 1
            connection.lastProgress = now
            streaming.signal.attach(listener)
            switch service.isDraining ? .end : streaming.source.next(atMost: limits.streamedPieceBytes) {
            case .bytes(let bytes): add(bytes, of: streaming, to: &connection)
            case .later: break
            case .end:
                end(streaming, &connection)
                next = connection.hasUnseenBytes ? .again : .park
                continue
            }
            guard connection.output.isEmpty else { continue }
            next = .park
            return true
        }
        return false
    }

    /// Adds a sign of life.
    func beat(_ streaming: Streaming, _ connection: inout Connection, now: ContinuousClock.Instant) {
        connection.lastProgress = now
        add(streaming.source.heartbeat, of: streaming, to: &connection)
    }

    /// RFC 9112 section 7.1.
    private func add(_ bytes: [UInt8], of streaming: Streaming, to connection: inout Connection) {
        // A chunk without bytes would be the last one.
        guard !bytes.isEmpty else { return }
        if streaming.isChunked {
            connection.output.append(contentsOf: "\(String(bytes.count, radix: 16))\r\n".utf8)
            connection.output.append(contentsOf: bytes)
            connection.output.append(contentsOf: "\r\n".utf8)
        } else {
            connection.output.append(contentsOf: bytes)
        }
        connection.streamed += bytes.count
    }

    private func end(_ streaming: Streaming, _ connection: inout Connection) {
        if streaming.isChunked { connection.output.append(contentsOf: "0\r\n\r\n".utf8) }
        let mustLinger = !streaming.bodyIsDone || !connection.input.isEmpty
        connection.stage = streaming.closes || service.isDraining ? .closing(linger: mustLinger) : .head
        connection.interest = .read
        rest(&connection)
        finish(streaming.exchange, streaming.status, sent: connection.streamed, connection.origin)
        connection.streamed = 0
    }

    /// Reads what a client sends while its stream runs, to be answered behind it; false when the client is gone.
    ///
    /// A client that has ended its half is gone: there is no other sign of one that left. One that sends more than a
    /// head, or than the `room` for all that wait, is not read on.
    func overhear(_ connection: inout Connection, room: Int) throws(SocketError) -> Bool {
        guard connection.interest != .hangUp else { return false }
        let most = limits.head.maxHeadBytes
        connection.input.reserve(min(most, connection.input.count + 4 << 10))
        switch try connection.input.receive(from: &connection.transport) {
        case .ended: return false
        case .wait(let interest): connection.interest = interest
        case .bytes: connection.interest = connection.input.count < min(most, room) ? .read : .hangUp
        }
        return true
    }
}
