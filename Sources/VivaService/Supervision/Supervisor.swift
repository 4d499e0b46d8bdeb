import FoundationEssentials
import HTTPServer
import Logging
import Processes
import Sockets
import Synchronization

/// Keeps a server process running: binds the addresses, starts this program again with the listening sockets in
/// its hands, and starts it anew when a trap, a kill or a failure ends it. Clients that connect meanwhile wait in the
/// socket's backlog.
///
/// It does nothing else: what can trap is in the process that may die.
package final class Supervisor: Sendable {
    /// The most starts in a row that end before the server listens; then the supervisor gives up.
    static let mostFailedStarts = 5
    /// What is waited after the first of them; twice as long after each further one.
    static let firstPause: Duration = .milliseconds(50)
    /// How often processes that lost their parent are looked for, where this is the first process of a container.
    private static let reapingMilliseconds = 1_000
    /// What a server gets beyond its drain deadline, and after a second signal, before it is killed: one that does not
    /// move any more keeps no deadline of its own.
    static let lastGrace: Duration = .seconds(3)
    /// How often that is looked at.
    private static let drainingMilliseconds = 250
    /// The exit code of a supervisor that has given up (EX_SOFTWARE of sysexits.h).
    package static let gaveUp: Int32 = 70
    /// Swift's runtime prints no backtrace before a server process ends, unless the operator asks for one: it takes
    /// seconds in which nobody is served, and for ever when a second thread traps meanwhile.
    private static let backtrace = "enable=no"

    /// A server process and the channel to it.
    private final class Generation: Sendable {
        let process: ChildProcess
        let channel: Channel

        init(_ process: ChildProcess, _ channel: consuming Channel) {
            self.process = process
            self.channel = channel
        }
    }

    /// A listening socket, closed with its last holder.
    private final class Bound: Sendable {
        let listener: Listener

        init(_ listener: consuming Listener) {
            self.listener = listener
        }

        /// Those of a place.
        static func all(_ place: SocketPlace, of places: [SocketPlace]) throws(ServiceError) -> [Bound] {
            do throws(SocketError) {
                return try Listener.bind(place, of: places) { Bound($0) }
            } catch {
                throw ServiceError(error, at: place)
            }
        }
    }

    private struct State {
        /// Those of each address of the configuration. Gone once the server is to drain: new clients are refused then,
        /// and nothing is started anew.
        var listeners: [[Bound]]
        var generation: Generation?
        /// When a server that is to drain is killed.
        var killsAt: ContinuousClock.Instant?
    }

    private let arguments: [String]
    private let state: Mutex<State>
    private let log: ServiceLog
    private let drainDeadline: Duration
    /// Whether SIGHUP says that the terminal has gone.
    private let endsWithTerminal: Bool
    /// Ends a pause early.
    private let wakeup: Semaphore

    /// Binds the addresses of `configuration`.
    ///
    /// - Parameter arguments: the program's own, its name first; they start the same server again.
    package init(_ configuration: ServiceConfiguration, arguments: [String]) throws(ServiceError) {
        self.arguments = arguments
        ChildProcess.setDefault(Self.backtrace, of: "SWIFT_BACKTRACE")
        do {
            log = try ServiceLog()
            wakeup = try Semaphore()
            endsWithTerminal = !configuration.hasTLS && log.isTerminal
            let places = configuration.listeners.map(\.place)
            state = Mutex(State(listeners: try places.map { try Bound.all($0, of: places) }))
            drainDeadline = configuration.serverLimits.drainDeadline
        } catch let error as ServiceError {
            throw error
        } catch {
            throw .failed("\(error)")
        }
    }

    /// Keeps the server running on the calling thread until it has ended in an orderly way or there is no hope; answers
    /// the exit code. SIGTERM or SIGINT drains the server, a second one stops it at once; SIGHUP has it read its
    /// certificate again, or drains it where there is none and the terminal has gone.
    package func run() throws(ServiceError) -> Int32 {
        defer {
            // Files of local sockets go with them.
            state.withLock { $0.listeners = [] }
            log.finish()
        }
        do {
            try Signals.listen { [self] wish in
                if wish == .reload, !endsWithTerminal { reload() } else { drain() }
            }
            var failures = 0
            var restarts = 0
            while let generation = try start(restarts: restarts) {
                let end = wait(for: generation)
                let hasListened = Self.hasListened(generation)
                if let code = verdict(end, hasListened: hasListened, restarts: restarts) { return code }
                failures = hasListened ? 0 : failures + 1
                restarts += 1
                let metadata: Logger.Metadata = [
                    "ended": "\(end)", "pid": "\(generation.process.identifier)", "restarts": "\(restarts)",
                ]
                guard failures < Self.mostFailedStarts else {
                    log.logger.critical("the server does not come up: giving up", metadata: metadata)
                    return Self.gaveUp
                }
                log.logger.error("the server ended; it is started anew", metadata: metadata)
                if failures > 0 { _ = wakeup.wait(until: .now + Self.firstPause * (1 << (failures - 1))) }
            }
            return 0
        } catch {
            throw .failed("\(error)")
        }
    }

    /// The exit code, when there is nothing to start anew.
    private func verdict(_ end: ChildExit, hasListened: Bool, restarts: Int) -> Int32? {
        let isDraining = state.withLock { $0.listeners.isEmpty }
        switch end {
        case .code(0): return 0
        // It refused to start, and has said why: a wrong option does not get right by repeating it.
        case .code(let code) where isDraining || restarts == 0 && !hasListened: return code
        // As shells report it.
        case .signal(let signal) where isDraining: return 128 + signal
        case .code, .signal: return nil
        }
    }

    /// Starts a server process; nil when the server is to drain.
    private func start(restarts: Int) throws(ProcessError) -> Generation? {
        return try state.withLock { (state) throws(ProcessError) -> Generation? in
            guard !state.listeners.isEmpty else { return nil }
            let numbers = [restarts] + state.listeners.map(\.count)
            var plan = ChildPlan(arguments: arguments + ["--supervised"] + numbers.map { "\($0)" })
            var process: ChildProcess?
            let channel = try Channel.connected { (far) throws(ProcessError) in
                plan.descriptors = [far.number] + state.listeners.joined().map { $0.listener.descriptor.number }
                process = try ChildProcess(plan)
            }
            guard let process else { return nil }
            let generation = Generation(process, channel)
            state.generation = generation
            return generation
        }
    }

    private func wait(for generation: Generation) -> ChildExit {
        while true {
            let killsAt = state.withLock { $0.killsAt }
            let end = generation.process.wait(
                milliseconds: killsAt == nil ? Self.reapingMilliseconds : Self.drainingMilliseconds)
            if end == nil, let killsAt, killsAt < .now { generation.process.signal(ChildProcess.kill) }
            ChildProcess.reapStrangers(besides: generation.process)
            if let end { return end }
        }
    }

    /// What an ended process has said before.
    private static func hasListened(_ generation: Generation) -> Bool {
        // A channel that breaks has said nothing.
        guard generation.channel.hasInput(), let frame = try? generation.channel.receive(atMost: 0) else {
            return false
        }
        return frame.kind == Supervision.Message.listening.rawValue
    }

    private func reload() {
        do {
            try state.withLock { $0.generation }?.channel.send(Supervision.Message.reload.frame, milliseconds: 0)
        } catch {
            // It has ended, and the next one reads the files; or it does not hear, and has them from before.
            log.logger.warning("the server did not hear of the certificate", metadata: ["error": "\(error)"])
        }
    }

    private func drain() {
        let generation = state.withLock { state in
            let isFirst = !state.listeners.isEmpty
            state.listeners = []
            let grace = isFirst ? drainDeadline + Self.lastGrace : Self.lastGrace
            state.killsAt = min(state.killsAt ?? .now + grace, .now + grace)
            return state.generation
        }
        wakeup.signal()
        do {
            try generation?.channel.send(Supervision.Message.drain.frame, milliseconds: 0)
        } catch {
            // It has ended, or does not hear: a signal it hears, or the next one to come.
            generation?.process.signal(ChildProcess.terminate)
        }
    }
}
