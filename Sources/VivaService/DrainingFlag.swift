import HTTPServer
import Synchronization

/// Lets handlers ask a server that does not exist yet when they are made whether it is draining.
final class DrainingFlag: Sendable {
    private let server = Mutex<Server?>(nil)

    func attach(_ server: Server) {
        self.server.withLock { $0 = server }
    }

    var isSet: Bool { server.withLock { $0?.isDraining ?? false } }
}
