import ArtifactStore
package import HTTPServer
package import Jobs
package import Quantization
import OpenSSL
import Sockets

/// Everything that a person decides about a running service.
package struct ServiceConfiguration: Sendable {
    /// The addresses to listen on; at least one.
    package var listeners = [ListenAddress(.network(host: "127.0.0.1", port: 8080))]
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
    /// The share of requests that the log has a line of, 0 to 1; those that failed here have one anyway.
    package var logSample = 1.0
    /// Where the bound ports are written once the service listens, a line for each of `listeners`; for scripts that
    /// asked for port 0.
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

    /// How often a supervisor has started the server anew, in a server process: it was given a channel and the
    /// listening sockets. Nil: the server binds the addresses itself.
    package var supervisedRestarts: Int?
    /// How many of these sockets each of the addresses has.
    package var supervisedSockets: [Int] = []

    /// The defaults: loopback, port 8080, `./viva-data`.
    package init() {}

    /// Seconds that running requests may take to finish after the first SIGTERM.
    package var drainSeconds: Int {
        get { Int(serverLimits.drainDeadline.components.seconds) }
        set { serverLimits.drainDeadline = .seconds(newValue) }
    }

    /// Jobs that run at once.
    package var jobWorkers: Int {
        get { jobLimits.concurrency }
        set { jobLimits.concurrency = newValue }
    }

    /// Bytes of memory that running jobs may need together.
    package var jobMemoryBytes: Int {
        get { jobLimits.memoryBytes }
        set { jobLimits.memoryBytes = newValue }
    }

    /// Most connections at once.
    package var maxConnections: Int {
        get { serverLimits.maxConnections }
        set { serverLimits.maxConnections = newValue }
    }

    /// The first address that others can reach; nil when only this machine reaches the service.
    var openAddress: ListenAddress? { listeners.first { !$0.isLoopback } }

    /// Whether an address speaks TLS.
    func isSecure(_ listener: ListenAddress) -> Bool { listener.isSecure(certificate: tlsCertificate != nil) }
    /// Whether any address does.
    var hasTLS: Bool { listeners.contains { isSecure($0) } }

    /// Sets how long uploads and inputs are kept; a text that is no time changes nothing.
    package mutating func keeps(uploads: String, inputs: String) {
        intake.uploadTimeToLive = Self.parseDuration(uploads) ?? intake.uploadTimeToLive
        intake.inputTimeToLive = Self.parseDuration(inputs) ?? intake.inputTimeToLive
    }

    /// Reads `500ms`, `90s`, `30m`, `24h` or `7d`, at most 10,000 days; nil for anything else, none among it.
    package static func parseDuration(_ text: String) -> Duration? {
        if text.hasSuffix("ms"), text.first != "+", let number = Int(text.dropLast(2)), number > 0, number <= 10_000_000
        {
            return .milliseconds(number)
        }
        let units: [Character: Int] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        guard let unit = text.last.flatMap({ units[$0] }), let number = Int(text.dropLast()), text.first != "+",
            number > 0, number <= 10_000 * 86_400 / unit
        else { return nil }
        return .seconds(number * unit)
    }
}

/// Why a service does not start.
package enum ServiceError: Error, CustomStringConvertible {
    /// The address is reachable from elsewhere, and there is no key.
    case openAddress(host: String, dataFolder: String)
    /// Only one of certificate and key was given, or an address of TLS and neither.
    case incompleteTLS
    /// A certificate was given, and no address speaks TLS.
    case unusedTLS
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
        case .incompleteTLS: "--tls-cert and --tls-key belong together, and to every https:// address"
        case .unusedTLS: "--tls-cert is for an https:// address, and there is none"
        case .interrupted: "interrupted; nothing was written"
        case .failed(let text): text
        }
    }
}

extension ServiceError {
    /// What a person reads of a socket's failure at an address.
    init(_ error: SocketError, at place: SocketPlace) {
        switch error {
        case .system(let call, let code):
            self = .failed("\(StoreError.system(operation: call, path: "\(place)", code: code))")
        case .lookup(let host, _): self = .failed("'\(host)' has no address")
        case .timedOut: self = .failed("\(place) does not answer in time")
        case .interrupted, .disconnected, .plainHTTP: self = .failed("\(place) ended the connection")
        case .tls(let error): self = .failed("\(place): \(error.operation) failed")
        }
    }
}
