import HTTPServer
import Synchronization

/// Lets handlers ask a server that does not exist yet when they are made.
final class ServerState: Sendable {
    private let server = Mutex<Server?>(nil)

    func attach(_ server: Server) {
        self.server.withLock { $0 = server }
    }

    /// Whether it is draining.
    var isDraining: Bool { server.withLock { $0?.isDraining ?? false } }

    /// The requests under way.
    var flights: [Flight] { server.withLock { $0 }?.flights ?? [] }
}
