import ArgumentParser
import VivaService

/// `viva serve`.
struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve over HTTP until SIGTERM or SIGINT.",
        discussion: """
            Every option is also read from the environment: --data from VIVA_DATA,
            --tls-cert from VIVA_TLS_CERT.
              viva serve --listen 127.0.0.1:8080 --data ./viva-data
            """)

    @Option(help: "HOST:PORT; port 0 lets the system choose.")
    var listen = Environment.text("LISTEN") ?? "127.0.0.1:8080"

    @Option(help: "The data folder; one server at a time.")
    var data = Environment.text("DATA") ?? "./viva-data"

    @Option(help: "TLS certificate chain in PEM.")
    var tlsCert: String?

    @Option(help: "TLS private key in PEM.")
    var tlsKey: String?

    @Option(help: "Keys: auto (required off loopback), required, or none (serve anybody who reaches the address).")
    var auth = Environment.text("AUTH") ?? "auto"

    @Option(help: "The scope that metrics need: none, read, write or admin. Without keys none, else admin.")
    var metricsScope: String?

    @Option(help: "The scope that health needs: none, read, write or admin.")
    var healthScope: String?

    @Option(help: "The most bytes of one owner, unless its key says otherwise.")
    var maxBytesPerOwner: Int?

    @Option(help: "The most requests that quantize and jobs of one owner at once, unless its key says otherwise.")
    var maxConcurrentPerOwner: Int?

    @Option(help: "Write the bound port to this file once the service listens.")
    var portFile: String?

    @Option(help: "Seconds that running requests may take to finish after SIGTERM.")
    var drainSeconds = Environment.number("DRAIN_SECONDS") ?? 30

    @Option(help: "Most connections at once.")
    var maxConnections = Environment.number("MAX_CONNECTIONS") ?? 16_384

    @Option(help: "Bytes that the disk must keep free; below, uploads get 507.")
    var freeBytesFloor = Environment.number("FREE_BYTES_FLOOR") ?? 256 << 20

    @Option(help: .hidden)
    var supervised: Int?

    private var ownerLimits: OwnerLimits {
        OwnerLimits(
            bytes: maxBytesPerOwner ?? Environment.number("MAX_BYTES_PER_OWNER"),
            work: maxConcurrentPerOwner ?? Environment.number("MAX_CONCURRENT_PER_OWNER"))
    }

    /// The scope that a flag, or its variable, says; nil when neither does.
    private func asked(_ flag: String?, or variable: String) throws -> Scopes? {
        guard let text = flag ?? Environment.text(variable) else { return nil }
        guard let scopes = Scopes.asked(text) else {
            throw ValidationError("a route's scope is none, read, write or admin, not '\(text)'")
        }
        return scopes
    }

    @Option(help: "How long an unfinished upload is kept after its last bytes: 90s, 30m, 24h, 7d.")
    var uploadTtl = Environment.text("UPLOAD_TTL") ?? "24h"

    @Option(help: "How long an input is kept that nobody sends again or uses in a job.")
    var inputTtl = Environment.text("INPUT_TTL") ?? "7d"

    func validate() throws {
        guard ServiceConfiguration.parseListen(listen) != nil else {
            throw ValidationError("--listen '\(listen)' is not HOST:PORT")
        }
        guard Authentication(rawValue: auth) != nil else {
            throw ValidationError("--auth is auto, required or none, not '\(auth)'")
        }
        _ = try asked(metricsScope, or: "METRICS_SCOPE")
        _ = try asked(healthScope, or: "HEALTH_SCOPE")
        for (flag, text) in [("--upload-ttl", uploadTtl), ("--input-ttl", inputTtl)] {
            guard ServiceConfiguration.parseDuration(text) != nil else {
                throw ValidationError("\(flag) '\(text)' is not a time like 90s, 30m, 24h or 7d")
            }
        }
        guard drainSeconds >= 0, maxConnections > 0, freeBytesFloor >= 0, ownerLimits.bytes ?? 0 >= 0,
            ownerLimits.work ?? 0 >= 0
        else {
            throw ValidationError("limits are not negative")
        }
    }

    func run() throws {
        guard let (host, port) = ServiceConfiguration.parseListen(listen) else {
            throw ValidationError("--listen '\(listen)' is not HOST:PORT")
        }
        var configuration = ServiceConfiguration()
        configuration.host = host
        configuration.port = port
        configuration.dataFolder = data
        configuration.tlsCertificate = tlsCert ?? Environment.text("TLS_CERT")
        configuration.tlsKey = tlsKey ?? Environment.text("TLS_KEY")
        configuration.authentication = Authentication(rawValue: auth) ?? .auto
        configuration.metricsScope = try asked(metricsScope, or: "METRICS_SCOPE")
        configuration.healthScope = try asked(healthScope, or: "HEALTH_SCOPE")
        configuration.ownerLimits = ownerLimits
        configuration.portFile = portFile ?? Environment.text("PORT_FILE")
        configuration.drainSeconds = drainSeconds
        configuration.maxConnections = maxConnections
        configuration.freeBytesFloor = freeBytesFloor
        configuration.keeps(uploads: uploadTtl, inputs: inputTtl)
        if let supervised {
            configuration.supervisedRestarts = supervised
            return try Service(configuration).run()
        }
        let code = try Supervisor(configuration, arguments: CommandLine.arguments).run()
        if code != 0 { throw ExitCode(code) }
    }
}

/// The environment's side of the flags: `VIVA_` and the flag's name.
enum Environment {
    static func text(_ name: String) -> String? { ProcessEnvironment.value("VIVA_\(name)") }
    static func number(_ name: String) -> Int? { text(name).flatMap { Int($0) } }
}
