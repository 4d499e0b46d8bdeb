import CPlatform
import Glibc

/// What a registered descriptor is watched for.
package enum Interest: Sendable, Equatable {
    /// Bytes, or the peer's end of file.
    case read
    /// Room in the send buffer.
    case write
    /// The peer's end of file alone; bytes wait.
    case hangUp

    /// The shim's flag.
    var flag: Int32 {
        switch self {
        case .read: VIVA_READ
        case .write: VIVA_WRITE
        case .hangUp: VIVA_HANG_UP
        }
    }
}

/// A level-triggered epoll set; tokens are values of the caller, never addresses (epoll(7)).
package struct Poller: ~Copyable, Sendable {
    private let descriptor: Descriptor

    /// Creates an empty set.
    package init() throws(SocketError) {
        let number = viva_epoll_create()
        guard number >= 0 else { throw .system(call: "epoll_create1", errno: -number) }
        descriptor = Descriptor(owning: number)
    }

    /// Starts to watch `target`.
    package func add(_ target: borrowing Descriptor, _ interest: Interest, token: UInt64) throws(SocketError) {
        let code = viva_epoll_add(descriptor.number, target.number, interest.flag, token)
        guard code >= 0 else { throw .system(call: "epoll_ctl", errno: -code) }
    }

    /// Changes what `target` is watched for.
    package func change(_ target: borrowing Descriptor, to interest: Interest, token: UInt64) throws(SocketError) {
        let code = viva_epoll_modify(descriptor.number, target.number, interest.flag, token)
        guard code >= 0 else { throw .system(call: "epoll_ctl", errno: -code) }
    }

    /// Stops watching `target`; to be called before its ownership moves or ends.
    package func remove(_ target: borrowing Descriptor) throws(SocketError) {
        let code = viva_epoll_remove(descriptor.number, target.number)
        guard code >= 0 else { throw .system(call: "epoll_ctl", errno: -code) }
    }

    /// Waits for at most `timeout` (nil: for ever) and replaces `tokens` by those of the ready descriptors.
    package func wait(upTo timeout: Duration?, into tokens: inout [UInt64]) throws(SocketError) {
        let milliseconds = timeout.map(wholeMilliseconds) ?? -1
        let descriptor = descriptor.number
        tokens.removeAll(keepingCapacity: true)
        let most = Int(VIVA_MOST_EVENTS)
        let code = unsafe withUnsafeTemporaryAllocation(of: UInt64.self, capacity: most) { ready -> Int32 in
            let count = unsafe viva_epoll_wait(descriptor, ready.baseAddress, milliseconds)
            for index in 0..<max(0, Int(count)) {
                unsafe tokens.append(ready[index])
            }
            return count
        }
        guard code >= 0 else { throw .system(call: "epoll_wait", errno: -code) }
    }
}

/// Wakes a poller from any thread (eventfd(2)).
package struct Wakeup: ~Copyable, Sendable {
    /// What a poller watches.
    package let descriptor: Descriptor

    /// Creates a wake-up that has not been signalled.
    package init() throws(SocketError) {
        let number = viva_eventfd_create()
        guard number >= 0 else { throw .system(call: "eventfd", errno: -number) }
        descriptor = Descriptor(owning: number)
    }

    /// Makes the descriptor readable; a full counter is readable already.
    package func signal() {
        _ = viva_eventfd_signal(descriptor.number)
    }

    /// Makes the descriptor unreadable again; an empty counter is no failure.
    package func clear() {
        _ = viva_eventfd_clear(descriptor.number)
    }
}

/// Rounds up, so that a wait never ends before its time, and stays within poll's range.
func wholeMilliseconds(_ duration: Duration) -> Int32 {
    let (seconds, attoseconds) = duration.components
    guard seconds < 2_000_000 else { return 2_000_000_000 }
    return Int32(clamping: max(0, seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000))
}
