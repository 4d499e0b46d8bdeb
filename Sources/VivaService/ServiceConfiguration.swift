package import HTTPServer
package import Jobs
package import Quantization

/// Everything that a person decides about a running service.
package struct ServiceConfiguration: Sendable {
    /// The address to listen on.
    package var host = "127.0.0.1"
    /// The port; 0 lets the system choose.
    package var port: UInt16 = 8080
    /// The data folder.
    package var dataFolder = "./viva-data"
    /// Certificate chain and private key in PEM; both or neither.
    package var tlsCertificate: String?
    /// The private key's file.
    package var tlsKey: String?
    /// Whether requests need a key.
    package var authentication = Authentication.auto
    /// What metrics ask of a key, none of it for everybody; nil: `admin` where keys are needed.
    package var metricsScope: Scopes?
    /// What health asks of a key; nil: nothing.
    package var healthScope: Scopes?
    /// What one owner may have, unless the key says otherwise.
    package var ownerLimits = OwnerLimits()
    /// Where the bound port is written once the service listens; for scripts that asked for port 0.
    package var portFile: String?
    /// Limits of the HTTP server.
    package var serverLimits = ServerLimits()
    /// Limits of a quantizing session.
    package var sessionLimits = SessionLimits.ofThisMachine
    /// What jobs may take of the machine.
    package var jobLimits = JobLimits()
    /// How long what clients send is kept, and how much of it.
    package var intake = IntakeLimits()
    /// Free bytes that the disk must keep: below, uploads get 507 and `/readyz` says no.
    package var freeBytesFloor = 256 << 20

    /// How often a supervisor has started the server anew, in a server process: it was given the listening socket and
    /// a channel. Nil: the server binds the address itself.
    package var supervisedRestarts: Int?

    /// The defaults: loopback, port 8080, `./viva-data`.
    package init() {}

    /// Seconds that running requests may take to finish after the first SIGTERM.
    package var drainSeconds: Int {
        get { Int(serverLimits.drainDeadline.components.seconds) }
        set { serverLimits.drainDeadline = .seconds(newValue) }
    }

    /// Most connections at once.
    package var maxConnections: Int {
        get { serverLimits.maxConnections }
        set { serverLimits.maxConnections = newValue }
    }

    /// Whether only this machine can reach the address.
    package var isLoopback: Bool { host == "localhost" || host == "::1" || host.hasPrefix("127.") }

    /// Sets how long uploads and inputs are kept; a text that is no time changes nothing.
    package mutating func keeps(uploads: String, inputs: String) {
        intake.uploadTimeToLive = Self.parseDuration(uploads) ?? intake.uploadTimeToLive
        intake.inputTimeToLive = Self.parseDuration(inputs) ?? intake.inputTimeToLive
    }

    /// Reads `90s`, `30m`, `24h` or `7d`, at least a second and at most 10,000 days; nil for anything else.
    package static func parseDuration(_ text: String) -> Duration? {
        let units: [Character: Int] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        guard let unit = text.last.flatMap({ units[$0] }), let number = Int(text.dropLast()), text.first != "+",
            number > 0, number <= 10_000 * 86_400 / unit
        else { return nil }
        return .seconds(number * unit)
    }

    /// Splits `HOST:PORT`, `[::1]:8080` included; nil when it is neither.
    package static func parseListen(_ text: String) -> (host: String, port: UInt16)? {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            return nil
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        return host.isEmpty ? nil : (String(host), port)
    }
}

/// Why a service does not start.
package enum ServiceError: Error, CustomStringConvertible {
    /// The address is reachable from elsewhere, and there is no key.
    case openAddress(host: String, dataFolder: String)
    /// Only one of certificate and key was given.
    case incompleteTLS
    /// Somebody pressed Ctrl-C; nothing was left behind.
    case interrupted
    /// A part below failed; the text says which and how.
    case failed(String)

    /// One sentence for the terminal.
    package var description: String {
        switch self {
        case .openAddress(let host, let folder):
            "refusing to listen on \(host): others reach it, and there is no key yet. Make one with "
                + "'viva key add NAME --data \(folder)', or say --auth none if the network is trusted."
        case .incompleteTLS: "--tls-cert and --tls-key belong together"
        case .interrupted: "interrupted; nothing was written"
        case .failed(let text): text
        }
    }
}
