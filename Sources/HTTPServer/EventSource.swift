import Synchronization

/// Makes the bytes of an answer as they come about: events, lines of progress. Nobody knows its length before.
///
/// The server releases the source when the stream is over, whether it ended, the server drains, or the client is gone
/// or too slow: `deinit` hears of it.
package protocol EventSource: AnyObject, Sendable {
    /// What shows that the stream lives when nothing was sent for `ServerLimits.streamHeartbeat`: a comment (`:` and
    /// two line feeds) of Server-Sent Events, an empty line of NDJSON.
    var heartbeat: [UInt8] { get }
    /// Answers what comes next: whole events, of `count` bytes or little more.
    ///
    /// Called by one thread at a time, an event loop, and only when the client has taken what came before: the source
    /// answers from memory and never waits.
    func next(atMost count: Int) -> EventStep
}

/// What a source says when it is asked.
package enum EventStep: Sendable {
    /// Bytes to be sent; the source is asked again when they are.
    case bytes([UInt8])
    /// Nothing yet; the source is asked again after its `EventSignal.signal`.
    case later
    /// All was said.
    case end
}

/// Tells the loop that serves a stream, from any thread, that its source has more. A stream has one of its own.
package final class EventSignal: Sendable {
    /// Where a connection with a stream is found.
    struct Listener: Sendable {
        let mailbox: Mailbox
        /// The connection in its loop, as its poller names it.
        let token: UInt64
    }

    private struct State {
        var listener: Listener?
        var isSignalled = false
    }

    private let state = Mutex(State())

    /// A signal that nobody listens to until the server sends the stream.
    package init() {}

    /// Has the source asked soon. Signals until then count as one, and later ones for nothing.
    package func signal() {
        let listener = state.withLock { state -> Listener? in
            guard !state.isSignalled else { return nil }
            state.isSignalled = true
            return state.listener
        }
        if let listener { listener.mailbox.put(listener.token) }
    }

    /// Listens anew; to be called before the source is asked, so that no signal is lost.
    func attach(_ listener: Listener) {
        state.withLock { $0 = State(listener: listener) }
    }
}
