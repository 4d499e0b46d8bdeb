import Sockets
import Synchronization

/// A listener, shared by the loops of a server and closed once, when it drains.
final class SharedListener: Sendable {
    let address: SocketAddress
    /// What its clients are greeted with; nil for plain HTTP.
    let identity: Identity?
    private let listener: Mutex<Listener?>

    init(_ listener: consuming Listener, _ identity: Identity?) {
        address = listener.address
        self.identity = identity
        self.listener = Mutex(consume listener)
    }

    func accept() throws(SocketError) -> Listener.Arrival {
        try listener.withLock { listener throws(SocketError) in
            switch listener {
            case .some(let listener): try listener.accept()
            case .none: Listener.Arrival.none
            }
        }
    }

    /// Watches for arrivals; false when the listener is closed or the poller refuses.
    func watch(in poller: borrowing Poller, token: UInt64) -> Bool {
        listener.withLock { listener in
            switch listener {
            case .some(let listener):
                do {
                    try poller.add(listener.descriptor, .read, token: token)
                    return true
                } catch {
                    return false
                }
            case .none: return false
            }
        }
    }

    /// Stops watching; a closed listener has left every poller.
    func ignore(in poller: borrowing Poller) throws(SocketError) {
        try listener.withLock { listener throws(SocketError) in
            switch listener {
            case .some(let listener): try poller.remove(listener.descriptor)
            case .none: return
            }
        }
    }

    /// New clients are refused from now on.
    func close() {
        listener.withLock { $0 = nil }
    }
}
