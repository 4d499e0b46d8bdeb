import HTTPTypes
import Logging
import Sockets
import Synchronization

/// The certificate that new connections are greeted with; those that are open keep theirs.
final class Identity: Sendable {
    private let context: Mutex<TLSContext>

    init(_ context: TLSContext) {
        self.context = Mutex(context)
    }

    var current: TLSContext { context.withLock { $0 } }

    func replace(by context: TLSContext) {
        self.context.withLock { $0 = context }
    }
}

/// The way into one loop: the server's listeners, which pause together when there is no room.
struct Arrivals {
    private let listeners: [SharedListener]
    /// Whether new clients are let in.
    private(set) var isOpen = false

    init(_ listeners: [SharedListener]) {
        self.listeners = listeners
    }

    /// The listener that a poller's token names.
    func listener(_ token: UInt64) -> SharedListener? {
        let index = Self.lastToken &- token
        return index < UInt64(listeners.count) ? listeners[Int(index)] : nil
    }

    /// Watches for clients, again.
    mutating func open(in poller: borrowing Poller) {
        guard !isOpen else { return }
        for (index, listener) in listeners.enumerated() {
            if listener.watch(in: poller, token: Self.lastToken - UInt64(index)) { isOpen = true }
        }
    }

    /// Leaves clients in the backlog until `open`: a listener that is watched and not emptied would wake the loop again
    /// and again.
    mutating func pause(in poller: borrowing Poller, _ logger: Logger) {
        guard isOpen else { return }
        isOpen = false
        for listener in listeners {
            do throws(SocketError) {
                try listener.ignore(in: poller)
            } catch {
                logger.warning("the listener stays watched", metadata: ["error": "\(error)"])
            }
        }
    }

    /// New clients are refused from now on.
    mutating func close(in poller: borrowing Poller, _ logger: Logger) {
        pause(in: poller, logger)
        for listener in listeners { listener.close() }
    }

    /// That of the first listener; tokens of connections are smaller (`ConnectionTable.token`).
    private static let lastToken = UInt64.max - 1
}
