import HTTPServer
import Processes
import Sockets
import Synchronization

/// What a supervisor and the server process that it started have between them.
enum Supervision {
    /// The server's end of the channel to its supervisor, as the server process has it.
    static let channel: Int32 = 3
    /// The first listening socket; the others follow in the order of the configuration's.
    static let firstListener: Int32 = 4

    /// The frames of the channel; none has a payload.
    enum Message: UInt8 {
        /// The server says that it accepts connections.
        case listening = 1
        /// The supervisor was told to end once more.
        case drain = 2
        /// The supervisor was told to have the certificate read again.
        case reload = 3

        var frame: Frame { Frame(kind: rawValue) }
    }
}

/// Drains a server as often as it was asked to. The supervisor and the kernel may both tell of one signal to a whole
/// group of processes (Ctrl-C, a service manager), so their requests are not added up.
final class DrainRequests: Sendable {
    /// Who asks.
    enum Origin: Sendable {
        case signal, supervisor
    }

    private struct State {
        var signals = 0
        var messages = 0
        var done = 0
    }

    private let server: Server
    private let state = Mutex(State())

    init(_ server: Server) {
        self.server = server
    }

    /// Hears one request; true when it is news.
    func hear(_ origin: Origin) -> Bool {
        let isNews = state.withLock { state in
            switch origin {
            case .signal: state.signals += 1
            case .supervisor: state.messages += 1
            }
            defer { state.done = max(state.signals, state.messages) }
            return max(state.signals, state.messages) > state.done
        }
        if isNews { server.drain() }
        return isNews
    }
}

/// A server's way to its supervisor.
final class SupervisorLink: Sendable {
    private let channel = Channel(owning: Supervision.channel)

    /// Says that the server listens, and hears from now on, on a thread of its own, what it is to do.
    func listen(_ hear: @escaping @Sendable (Supervision.Message) -> Void) throws {
        try channel.send(Supervision.Message.listening.frame)
        try Thread.start(name: "viva-parent") { [self] in
            // The channel ends, whatever the form, with the supervisor, and then the kernel ends this process too.
            while let frame = try? channel.receive(atMost: 0) {
                if let message = Supervision.Message(rawValue: frame.kind) { hear(message) }
            }
        }
    }
}
