import ArtifactStore
import Catalogue
import HTTPServer
import Logging
import Observability
import OpenSSL
import Quantization
import Sockets

/// The running service: opens the data folder, makes it consistent, and serves until it is told to drain.
package final class Service: Sendable {
    private let server: Server
    private let log: ServiceLog
    private let configuration: ServiceConfiguration
    private let retention: Retention
    private let jobs: JobService
    private let metrics: ServiceMetrics

    /// Opens store and catalogue, sweeps what a crash left behind, and binds the address.
    package init(_ configuration: ServiceConfiguration) throws(ServiceError) {
        self.configuration = configuration
        do {
            log = try ServiceLog()
            let logger = log.logger
            let store = try ArtifactStore(folder: configuration.dataFolder)
            let catalogue = try Catalogue(path: "\(configuration.dataFolder)/catalogue.sqlite")
            let access = Self.access(configuration, catalogue)
            try Self.checkKeys(configuration, access, catalogue, logger)
            try Self.recover(store, catalogue, logger)
            metrics = ServiceMetrics(logger: logger, accessLog: log.write, logSample: configuration.logSample)
            metrics.observe(store, catalogue, restarts: configuration.supervisedRestarts ?? 0)
            let state = ServerState()
            let facilities = Self.facilities(configuration, store, catalogue, access, metrics)
            let uploads = Uploads(facilities: facilities)
            retention = try Retention(uploads: uploads, logger: logger)
            jobs = JobService(facilities, limits: configuration.jobLimits, logger: logger)
            let table = RouteTable(
                facilities: facilities, uploads: uploads, jobs: jobs, server: state)
            let router = Router(table.routes) { (request) throws(Problem) in try access.admit(request) }
            let tls = try Self.identity(configuration)
            metrics.certificate(tls)
            server = try Server(
                configuration: try Self.serverConfiguration(configuration, tls), router: router, logger: logger,
                observer: metrics)
            state.attach(server)
        } catch let error as ServiceError {
            throw error
        } catch {
            throw .failed("\(error)")
        }
    }

    /// Serves on the calling thread until drained. SIGTERM or SIGINT drains, a second one stops at once; SIGHUP reads
    /// the certificate again.
    package func run() throws(ServiceError) {
        let requests = DrainRequests(server)
        let logger = log.logger
        do {
            try Signals.listen { [self] wish in
                if wish == .reload { return reload() }
                if requests.hear(.signal) { logger.notice("draining") }
            }
            try retention.start()
            if let path = configuration.portFile {
                let ports = server.addresses.map { "\($0.first?.port ?? 0)\n" }.joined()
                let file = try StagedFile.beside(path: path)
                try file.write(Array(ports.utf8))
                try file.commit(to: path)
            }
            try jobs.start()
            // Before the log: who reads there that the server listens may count on its supervisor knowing it.
            if configuration.supervisedRestarts != nil {
                try SupervisorLink().listen { [self] message in
                    switch message {
                    case .reload: reload()
                    case .drain: if requests.hear(.supervisor) { logger.notice("draining") }
                    case .listening: break
                    }
                }
            }
            let urls = zip(server.addresses, configuration.listeners).flatMap { addresses, listener in
                addresses.map { ListenAddress.url($0, isSecure: configuration.isSecure(listener)) }
            }
            logger.notice(
                "listening",
                metadata: [
                    "url": "\(urls.joined(separator: " "))", "data": "\(configuration.dataFolder)",
                    "version": "\(Engine.version)", "pid": "\(ProcessFigures.identifier)",
                ])
        } catch {
            throw .failed("\(error)")
        }
        server.run()
        retention.stop()
        jobs.stop()
        logger.notice("stopped")
        log.finish()
    }

    /// Greets new connections with the certificate that the files hold now; open ones keep theirs, and so do all when
    /// the files are no good.
    private func reload() {
        guard configuration.hasTLS else { return }
        do {
            let tls = try Self.identity(configuration)
            if let tls { server.present(tls) }
            metrics.certificate(tls)
            log.logger.notice("certificate read again", metadata: ["file": "\(configuration.tlsCertificate ?? "")"])
        } catch {
            metrics.certificateRefused()
            log.logger.error("the old certificate stays", metadata: ["error": "\(error)"])
        }
    }

    private static func recover(_ store: ArtifactStore, _ catalogue: Catalogue, _ logger: Logger) throws {
        let swept = try Recovery(store: store, catalogue: catalogue).run().filter { $0.count > 0 }
        guard !swept.isEmpty else { return }
        logger.notice(
            "swept", metadata: Dictionary(uniqueKeysWithValues: swept.map { ($0.kind, "\($0.count)") }))
    }

    private static func access(_ configuration: ServiceConfiguration, _ catalogue: Catalogue) -> Access {
        func policy(isLoopback: Bool) -> AccessPolicy {
            AccessPolicy(
                configuration.authentication, isLoopback: isLoopback, metrics: configuration.metricsScope,
                health: configuration.healthScope)
        }
        return Access(
            policy: policy(isLoopback: false), localPolicy: policy(isLoopback: true), admission: Admission(),
            keys: KeyRing(catalogue, defaults: configuration.ownerLimits), limits: configuration.ownerLimits)
    }

    /// An address that others reach is not opened before there is a key for it, unless the operator insists.
    private static func checkKeys(
        _ configuration: ServiceConfiguration, _ access: Access, _ catalogue: Catalogue, _ logger: Logger
    ) throws {
        let open = configuration.openAddress
        guard (open == nil ? access.localPolicy : access.policy).keys == .required else { return }
        if try !catalogue.hasKeys() {
            if let open, configuration.authentication != .required {
                throw ServiceError.openAddress(host: "\(open.place)", dataFolder: configuration.dataFolder)
            }
            logger.warning("no keys", metadata: ["remedy": "viva key add NAME --data \(configuration.dataFolder)"])
        }
        if configuration.listeners.contains(where: { !$0.isLoopback && !configuration.isSecure($0) }) {
            logger.warning("keys travel in the clear", metadata: ["remedy": "--tls-cert and --tls-key, or a TLS proxy"])
        }
    }

    private static func facilities(
        _ configuration: ServiceConfiguration, _ store: ArtifactStore, _ catalogue: Catalogue, _ access: Access,
        _ metrics: ServiceMetrics
    ) -> Facilities {
        Facilities(
            store: store, catalogue: catalogue, access: access, quotas: Quotas(catalogue), metrics: metrics,
            pool: BufferPool(),
            memory: MemoryBudget(bytes: configuration.sessionLimits.maximumWorkingBytes),
            limits: configuration.sessionLimits, intake: configuration.intake,
            freeBytesFloor: configuration.freeBytesFloor)
    }

    /// What the files of certificate and key hold now; nil where no address speaks TLS.
    private static func identity(_ configuration: ServiceConfiguration) throws -> TLSContext? {
        switch (configuration.tlsCertificate, configuration.tlsKey) {
        case (nil, nil) where !configuration.hasTLS: return nil
        case (let certificate?, let key?):
            guard configuration.hasTLS else { throw ServiceError.unusedTLS }
            do throws(OpenSSLError) {
                return try TLSContext(certificateFile: certificate, keyFile: key)
            } catch {
                throw ServiceError.failed("\(certificate) and \(key) are no certificate chain and its key: \(error)")
            }
        default: throw ServiceError.incompleteTLS
        }
    }

    private static func serverConfiguration(
        _ configuration: ServiceConfiguration, _ tls: TLSContext?
    ) throws(ServiceError) -> ServerConfiguration {
        var sockets = configuration.supervisedSockets.map { Int32(clamping: $0) }
        if configuration.supervisedRestarts == nil {
            sockets = configuration.listeners.map { _ in 0 }
        } else if sockets.count != configuration.listeners.count || sockets.contains(where: { $0 < 1 || $0 > 1024 }) {
            throw .failed("there is no supervisor, or another one: the listening sockets are missing")
        }
        var next = Supervision.firstListener
        let endpoints = zip(configuration.listeners, sockets).map { listener, count in
            defer { next += count }
            return Endpoint(
                listener.place, isSecure: configuration.isSecure(listener), inherited: Array(next..<next + count))
        }
        return ServerConfiguration(endpoints: endpoints, tls: tls, limits: configuration.serverLimits)
    }
}
