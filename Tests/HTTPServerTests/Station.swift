import HTTPServer
import HTTPTypes
import Synchronization

/// Says the same to all who listen.
final class Station: Sendable {
    fileprivate struct State {
        var listeners: [Int: Listener] = [:]
        var opened = 0
        var pieces = 0
        var released = 0
    }

    fileprivate struct Listener {
        let signal: EventSignal
        var waiting: [String] = []
        var isOver = false
    }

    fileprivate let state = Mutex(State())

    /// Those whom the server holds.
    var listeners: Int { state.withLock { $0.listeners.count } }
    /// Pieces that were made.
    var pieces: Int { state.withLock { $0.pieces } }
    /// Sources of pieces that the server has let go.
    var released: Int { state.withLock { $0.released } }

    func listen() -> Response {
        let signal = EventSignal()
        let name = state.withLock { state in
            state.opened += 1
            state.listeners[state.opened] = Listener(signal: signal)
            return state.opened
        }
        return Response(
            status: .ok, fields: [.contentType: "text/event-stream"], body: .stream(Seat(name, self), signal))
    }

    func say(_ text: String) {
        tell { $0.waiting.append(text) }
    }

    func finish() {
        tell { $0.isOver = true }
    }

    private func tell(_ change: (inout Listener) -> Void) {
        let signals = state.withLock { state in
            for name in state.listeners.keys {
                if var listener = state.listeners[name] {
                    change(&listener)
                    state.listeners[name] = listener
                }
            }
            return state.listeners.values.map(\.signal)
        }
        for signal in signals { signal.signal() }
    }
}

/// One who listens to a station.
private final class Seat: EventSource {
    let heartbeat = Array(":\n\n".utf8)
    private let name: Int
    private let station: Station

    init(_ name: Int, _ station: Station) {
        self.name = name
        self.station = station
    }

    deinit {
        _ = station.state.withLock { $0.listeners.removeValue(forKey: name) }
    }

    func next(atMost count: Int) -> EventStep {
        station.state.withLock { state in
            guard var listener = state.listeners[name] else { return .end }
            guard !listener.waiting.isEmpty else { return listener.isOver ? .end : .later }
            let text = listener.waiting.removeFirst()
            state.listeners[name] = listener
            return .bytes(Array(text.utf8))
        }
    }
}

/// Always has the next of its pieces of 10,000 bytes.
final class Pieces: EventSource {
    /// Would end the body if it became a chunk.
    let heartbeat: [UInt8] = []
    private let made = Mutex(0)
    private let count: Int
    private let station: Station

    init(_ count: Int, _ station: Station) {
        self.count = count
        self.station = station
    }

    deinit {
        station.state.withLock { $0.released += 1 }
    }

    func next(atMost count: Int) -> EventStep {
        let index = made.withLock { made in
            made += 1
            return made
        }
        guard index <= self.count else { return .end }
        station.state.withLock { $0.pieces += 1 }
        return .bytes(Self.piece(index))
    }

    static func piece(_ index: Int) -> [UInt8] { [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: 10_000) }
}

extension Station {
    /// What `/pieces/{count}` sends.
    static func bytes(_ count: Int) -> [UInt8] { (0..<count).flatMap { Pieces.piece($0 + 1) } }
}
