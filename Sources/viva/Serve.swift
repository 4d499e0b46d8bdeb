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

    @Option(help: "none: serve anybody who reaches the address. Needed off loopback until keys exist.")
    var auth: String?

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

    private var authentication: String? { auth ?? Environment.text("AUTH") }

    func validate() throws {
        guard ServiceConfiguration.parseListen(listen) != nil else {
            throw ValidationError("--listen '\(listen)' is not HOST:PORT")
        }
        guard authentication == nil || authentication == "none" else {
            throw ValidationError("--auth knows only 'none'")
        }
        guard drainSeconds >= 0, maxConnections > 0, freeBytesFloor >= 0 else {
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
        configuration.allowsAnybody = authentication == "none"
        configuration.portFile = portFile ?? Environment.text("PORT_FILE")
        configuration.drainSeconds = drainSeconds
        configuration.maxConnections = maxConnections
        configuration.freeBytesFloor = freeBytesFloor
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
