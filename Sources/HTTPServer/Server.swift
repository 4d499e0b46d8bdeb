package import Logging
package import Sockets
import Synchronization

/// An HTTP/1.1 server: binds when it is made, serves in `run`, ends after `drain`.
package final class Server: Sendable {
    /// The bound addresses of each of the configuration's; ports are the real ones where 0 was asked for.
    package let addresses: [[SocketAddress]]
    private let service: Service
    private let identity: Identity?
    private let listeners: [SharedListener]
    private let pool: WorkerPool
    private let mailboxes: [Mailbox]

    /// Binds and listens; clients wait in the backlog until `run`.
    package init(
        configuration: ServerConfiguration, router: Router, logger: Logger, observer: any ServerObserver,
        startThread: @escaping Thread.Starter = Thread.start
    ) throws(ServerError) {
        service = try Service(limits: configuration.limits, router: router, logger: logger, observer: observer)
        do throws(SocketError) {
            let limit = try Process.prepare()
            if limit < configuration.limits.maxConnections {
                logger.notice("fewer descriptors than connections", metadata: ["descriptors": "\(limit)"])
            }
            let identity = configuration.tls.map { Identity($0) }
            self.identity = identity
            let listeners = try configuration.endpoints.map { endpoint throws(SocketError) in
                let identity = endpoint.isSecure ? identity : nil
                guard endpoint.inherited.isEmpty else {
                    return try endpoint.inherited.map { (number) throws(SocketError) in
                        SharedListener(try Listener(inheriting: number), identity)
                    }
                }
                return try Listener.bind(endpoint.place, of: configuration.endpoints.map(\.place)) {
                    SharedListener($0, identity)
                }
            }
            self.listeners = Array(listeners.joined())
            addresses = listeners.map { $0.map(\.address) }
            pool = try WorkerPool(service, startThread)
            var mailboxes = [Mailbox]()
            for _ in 0..<max(1, configuration.limits.eventLoops) { mailboxes.append(try Mailbox()) }
            self.mailboxes = mailboxes
        } catch {
            throw .socket(error)
        }
    }

    /// The first of them that has a port.
    package var address: SocketAddress {
        addresses.joined().first { !$0.isLocal } ?? SocketAddress(host: "", port: 0)
    }

    /// The requests under way, the oldest first, but for those that the loop answers in one step.
    package var flights: [Flight] { service.flights.all }

    /// Greets new connections with another certificate; those that are open keep theirs.
    package func present(_ tls: TLSContext) {
        identity?.replace(by: tls)
    }

    /// Whether `drain` was called.
    package var isDraining: Bool { service.isDraining }

    /// Serves on the calling thread until the server has drained; to be called once.
    package func run() {
        guard let ended = try? Semaphore() else {
            return service.logger.critical("no descriptor for the server's threads")
        }
        let others = Others(ended)
        for mailbox in mailboxes.dropFirst() {
            do throws(SocketError) {
                try Thread.start(name: "viva-loop") { [self] in
                    runLoop(mailbox)
                    others.ended.signal()
                }
            } catch {
                service.logger.error("no thread for a loop", metadata: ["error": "\(error)"])
                others.ended.signal()
            }
        }
        if let first = mailboxes.first { runLoop(first) }
        let deadline = ContinuousClock.now + .seconds(1)
        for _ in mailboxes.dropFirst() { _ = others.ended.wait(until: deadline) }
        if !pool.stop(by: deadline) { service.logger.warning("a thread was still busy when the server ended") }
    }

    private final class Others: Sendable {
        let ended: Semaphore

        init(_ ended: consuming Semaphore) {
            self.ended = ended
        }
    }

    private func runLoop(_ mailbox: Mailbox) {
        do throws(SocketError) {
            let loop = try EventLoop(service, arrivals: Arrivals(listeners), mailbox: mailbox, pool: pool)
            loop.run()
        } catch {
            service.logger.critical("event loop failed", metadata: ["error": "\(error)"])
        }
    }

    /// Stops accepting, lets what runs finish within `drainDeadline` and makes `run` return; a second call ends
    /// everything at once. May be called from any thread.
    package func drain() {
        let level = service.drainLevel.add(1, ordering: .relaxed).newValue
        if level > 1 { service.interruption.request() }
        for mailbox in mailboxes { mailbox.wakeup.signal() }
    }
}
