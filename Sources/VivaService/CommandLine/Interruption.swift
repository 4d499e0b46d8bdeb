import Sockets
import Synchronization

/// Ctrl-C and SIGTERM as a question that is asked between two pieces of work, so that what was begun is removed.
final class Interruption: Sendable {
    private let isAsked = Atomic(false)

    /// From now on the signals end the process only through `isWanted`. To be called before other threads exist.
    func listen() throws(SocketError) {
        try Signals.listen { [self] _ in ask() }
    }

    /// Wishes the run to end.
    func ask() { isAsked.store(true, ordering: .relaxed) }

    /// Whether somebody wants this run to end.
    var isWanted: Bool { isAsked.load(ordering: .relaxed) }
}
