import Sockets
import Synchronization

/// Ctrl-C and SIGTERM as a question that is asked between two pieces of work, so that what was begun is removed.
final class Interruption: Sendable {
    private let isAsked = Atomic(false)

    /// Begins to listen; from now on the signals end the process only through `isWanted`.
    init() throws(SocketError) {
        try Signals.listen { [self] _ in isAsked.store(true, ordering: .relaxed) }
    }

    /// Whether somebody wants this run to end.
    var isWanted: Bool { isAsked.load(ordering: .relaxed) }
}
