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
              viva serve --listen https://0.0.0.0:8443 --listen http://127.0.0.1:8080 \\
                --tls-cert chain.pem --tls-key key.pem
            SIGHUP reads certificate and key again.
            """)

    @Option(help: "HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:PATH (repeatable); port 0: any.")
    var listen: [String] = []

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

    @Option(help: "Jobs that run at once, each in a process of its own.")
    var jobWorkers = Environment.number("JOB_WORKERS") ?? 2

    @Option(help: "Bytes of memory that running jobs may need together.")
    var jobMemory = Environment.number("JOB_MEMORY") ?? 2 << 30

    @Option(help: "Write the bound port to this file once the service listens.")
    var portFile: String?

    @Option(help: "Seconds that running requests may take to finish after SIGTERM.")
    var drainSeconds = Environment.number("DRAIN_SECONDS") ?? 30

    @Option(help: "Most connections at once.")
    var maxConnections = Environment.number("MAX_CONNECTIONS") ?? 16_384

    @Option(help: "A limit as NAME=VALUE, for instance head-deadline=10s (repeatable); docs/OPERATIONS.md has all.")
    var limit: [String] = []

    @Option(help: "The share of requests that the log has a line of, 0 to 1; failures have one anyway.")
    var logSample = Environment.text("LOG_SAMPLE") ?? "1"

    @Option(help: "Bytes that the disk must keep free; below, uploads get 507.")
    var freeBytesFloor = Environment.number("FREE_BYTES_FLOOR") ?? 256 << 20

    /// Of a server that a supervisor has started: how often before, and its listening sockets for each address.
    @Option(parsing: .upToNextOption, help: .hidden)
    var supervised: [Int] = []

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

    /// The addresses; of the environment, separated by spaces, where no flag names one.
    private func addresses() throws -> [ListenAddress] {
        let variable = Environment.text("LISTEN").map { $0.split(separator: " ").map(String.init) } ?? []
        let texts = !listen.isEmpty ? listen : !variable.isEmpty ? variable : ["127.0.0.1:8080"]
        return try texts.map { text in
            guard let address = ListenAddress(text) else {
                throw ValidationError(
                    "--listen '\(text)' is not HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:PATH")
            }
            return address
        }
    }

    /// The limits that flags and the environment, there separated by spaces, change.
    private func limits(_ configuration: inout ServiceConfiguration) throws {
        let variable = Environment.text("LIMIT").map { $0.split(separator: " ").map(String.init) } ?? []
        for text in variable + limit {
            if let reason = NamedLimits.set(text, in: &configuration) { throw ValidationError("--limit \(reason)") }
        }
    }

    private func sample() throws -> Double {
        guard let share = Double(logSample), (0...1).contains(share) else {
            throw ValidationError("--log-sample '\(logSample)' is not a number from 0 to 1")
        }
        return share
    }

    func validate() throws {
        _ = try addresses()
        _ = try sample()
        var scratch = ServiceConfiguration()
        try limits(&scratch)
        guard Authentication(rawValue: auth) != nil else {
            throw ValidationError("--auth is auto, required or none, not '\(auth)'")
        }
        _ = try asked(metricsScope, or: "METRICS_SCOPE")
        _ = try asked(healthScope, or: "HEALTH_SCOPE")
        try Environment.checkNumbers([
            "JOB_WORKERS", "JOB_MEMORY", "DRAIN_SECONDS", "MAX_CONNECTIONS", "FREE_BYTES_FLOOR", "MAX_BYTES_PER_OWNER",
            "MAX_CONCURRENT_PER_OWNER",
        ])
        for (flag, text) in [("--upload-ttl", uploadTtl), ("--input-ttl", inputTtl)] {
            guard ServiceConfiguration.parseDuration(text) != nil else {
                throw ValidationError("\(flag) '\(text)' is not a time like 90s, 30m, 24h or 7d")
            }
        }
        guard (1...64).contains(jobWorkers), jobMemory > 0 else {
            throw ValidationError("--job-workers is 1 to 64, --job-memory more than 0")
        }
        guard drainSeconds >= 0, maxConnections > 0, freeBytesFloor >= 0, ownerLimits.bytes ?? 0 >= 0,
            ownerLimits.work ?? 0 >= 0
        else {
            throw ValidationError("limits are not negative")
        }
    }

    func run() throws {
        var configuration = ServiceConfiguration()
        configuration.listeners = try addresses()
        configuration.logSample = try sample()
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
        try limits(&configuration)
        configuration.freeBytesFloor = freeBytesFloor
        configuration.jobWorkers = jobWorkers
        configuration.jobMemoryBytes = jobMemory
        configuration.keeps(uploads: uploadTtl, inputs: inputTtl)
        if let restarts = supervised.first {
            configuration.supervisedRestarts = restarts
            configuration.supervisedSockets = Array(supervised.dropFirst())
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

    /// Refuses variables that are set and are no numbers: a default in their place would go unseen.
    static func checkNumbers(_ names: [String]) throws {
        for name in names where text(name) != nil && number(name) == nil {
            throw ValidationError("VIVA_\(name)='\(text(name) ?? "")' is not a number")
        }
    }
}
