import ArtifactStore
import Catalogue
import FoundationEssentials
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

    /// Opens store and catalogue, sweeps what a crash left behind, and binds the address.
    package init(_ configuration: ServiceConfiguration) throws(ServiceError) {
        self.configuration = configuration
        do {
            log = try ServiceLog()
            let logger = log.logger
            let store = try ArtifactStore(folder: configuration.dataFolder)
            let catalogue = try Catalogue(path: "\(configuration.dataFolder)/catalogue.sqlite")
            let access = Self.access(configuration, catalogue)
            try Self.checkKeys(configuration, access.policy, catalogue, logger)
            try Self.recover(store, catalogue, logger)
            let metrics = ServiceMetrics(logger: logger, accessLog: log.write)
            metrics.observe(store, catalogue, restarts: configuration.supervisedRestarts ?? 0)
            let draining = DrainingFlag()
            let facilities = Self.facilities(configuration, store, catalogue, access, metrics)
            let uploads = Uploads(facilities: facilities)
            retention = try Retention(uploads: uploads, logger: logger)
            jobs = JobService(facilities, limits: configuration.jobLimits, logger: logger)
            let table = RouteTable(
                facilities: facilities, uploads: uploads, jobs: jobs, isDraining: { draining.isSet })
            let router = Router(table.routes) { (request) throws(Problem) in try access.admit(request) }
            server = try Server(
                configuration: try Self.serverConfiguration(configuration), router: router, logger: logger,
                observer: metrics)
            draining.attach(server)
        } catch let error as ServiceError {
            throw error
        } catch {
            throw .failed("\(error)")
        }
    }

    /// Serves on the calling thread until drained. SIGTERM or SIGINT drains, a second one stops at once.
    package func run() throws(ServiceError) {
        let requests = DrainRequests(server)
        let logger = log.logger
        do {
            try Signals.listen { signal in
                if requests.hear(.signal) { logger.notice("draining", metadata: ["signal": "\(signal)"]) }
            }
            try retention.start()
            let address = server.address
            if let path = configuration.portFile {
                try Data("\(address.port)\n".utf8).write(to: URL(filePath: path), options: .atomic)
            }
            try jobs.start()
            // Before the log: who reads there that the server listens may count on its supervisor knowing it.
            if configuration.supervisedRestarts != nil {
                try SupervisorLink().listen {
                    if requests.hear(.supervisor) { logger.notice("draining") }
                }
            }
            let scheme = configuration.tlsCertificate == nil ? "http" : "https"
            let host = address.host.contains(":") ? "[\(address.host)]" : address.host
            logger.notice(
                "listening",
                metadata: [
                    "url": "\(scheme)://\(host):\(address.port)", "data": "\(configuration.dataFolder)",
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

    private static func recover(_ store: ArtifactStore, _ catalogue: Catalogue, _ logger: Logger) throws {
        let swept = try Recovery(store: store, catalogue: catalogue).run().filter { $0.count > 0 }
        guard !swept.isEmpty else { return }
        logger.notice(
            "swept", metadata: Dictionary(uniqueKeysWithValues: swept.map { ($0.kind, "\($0.count)") }))
    }

    private static func access(_ configuration: ServiceConfiguration, _ catalogue: Catalogue) -> Access {
        Access(
            policy: AccessPolicy(
                configuration.authentication, isLoopback: configuration.isLoopback,
                metrics: configuration.metricsScope, health: configuration.healthScope),
            admission: Admission(isLoopback: configuration.isLoopback),
            keys: KeyRing(catalogue, defaults: configuration.ownerLimits), limits: configuration.ownerLimits)
    }

    /// An address that others reach is not opened before there is a key for it, unless the operator insists.
    private static func checkKeys(
        _ configuration: ServiceConfiguration, _ policy: AccessPolicy, _ catalogue: Catalogue, _ logger: Logger
    ) throws {
        guard policy.keys == .required else { return }
        if try !catalogue.hasKeys() {
            guard configuration.authentication == .required else {
                throw ServiceError.openAddress(host: configuration.host, dataFolder: configuration.dataFolder)
            }
            logger.warning("no keys", metadata: ["remedy": "viva key add NAME --data \(configuration.dataFolder)"])
        }
        if !configuration.isLoopback, configuration.tlsCertificate == nil {
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

    private static func serverConfiguration(_ configuration: ServiceConfiguration) throws -> ServerConfiguration {
        let tls: TLSContext?
        switch (configuration.tlsCertificate, configuration.tlsKey) {
        case (nil, nil): tls = nil
        case (let certificate?, let key?): tls = try TLSContext(certificateFile: certificate, keyFile: key)
        default: throw ServiceError.incompleteTLS
        }
        return ServerConfiguration(
            host: configuration.host, port: configuration.port, tls: tls, limits: configuration.serverLimits,
            inheritedListener: configuration.supervisedRestarts.map { _ in Supervision.listener })
    }
}
