import HTTPTypes
package import HTTPWire

/// A request on its way through a handler: the checked head and the body yet to be read.
package struct Request: ~Copyable {
    /// The head.
    package let head: RequestHead
    /// The template of the route that was found.
    package let template: String
    /// The parameters of the template, percent-decoded.
    package let parameters: [String: String]
    /// What `X-Request-Id` will say.
    package let id: String
    /// The trace the request belongs to.
    package let trace: RequestTrace
    /// The client's address and port.
    package let peer: String
    /// Whether the bytes are encrypted on the wire.
    package let isSecure: Bool
    /// Whether it came to an address that only this machine reaches.
    package let isLocal: Bool
    /// The clock of the request, for handlers that compute for long; nil on the loop.
    package let flight: Flight?
    /// The body; to be read or left.
    package var body: RequestBody

    init(_ admitted: Admitted, _ origin: Origin, body: consuming RequestBody) {
        head = admitted.head
        template = admitted.route.template
        parameters = admitted.parameters
        id = admitted.exchange.id
        trace = admitted.exchange.trace
        flight = admitted.exchange.flight
        peer = origin.peer
        isSecure = origin.isSecure
        isLocal = origin.isLocal
        self.body = body
    }

    consuming func releaseBody() -> RequestBody {
        body
    }
}

/// Where a connection comes from.
struct Origin: Sendable {
    /// The client's address and port.
    let peer: String
    /// Whether the bytes are encrypted on the wire.
    let isSecure: Bool
    /// Whether it came to an address that only this machine reaches.
    let isLocal: Bool
    /// Why the connection is one too many; nil of those that are served.
    let excess: ConnectionCounts.Excess?
}

/// What is known of a request from its head to the summary; no head when it was refused.
struct Exchange: Sendable {
    var head: RequestHead?
    var template: String?
    let id: String
    let trace: RequestTrace
    let started: ContinuousClock.Instant
    var bodyBytes = 0
    var errorCode: String?
    /// What an operator sees of it while it is under way; nil for what the loop answers in one step.
    var flight: Flight?
}

/// A request whose head and route are settled; it may wait in the loop or move to a thread.
final class Admitted: Sendable {
    let head: RequestHead
    let route: Route
    let parameters: [String: String]
    let coding: BodyCoding
    let exchange: Exchange

    init(head: RequestHead, route: Route, parameters: [String: String], coding: BodyCoding, exchange: Exchange) {
        self.head = head
        self.route = route
        self.parameters = parameters
        self.coding = coding
        self.exchange = exchange
    }

    /// The most bytes of the body, as sent.
    func bodyLimit(_ limits: ServerLimits) -> Int {
        min(route.maxBodyBytes ?? limits.maxBodyBytes, limits.maxBodyBytes)
    }

    /// How many bytes of the body the loop waits for before it starts the handler.
    func bodyHeadStart(_ limits: ServerLimits) -> Int {
        guard case .length(let length) = head.framing, !head.expectsContinue else { return 0 }
        return min(length, limits.bodyHeadStart)
    }

    /// Whether the body, if there is one, lies in the first `count` bytes after the head.
    func isWhole(in count: Int) -> Bool {
        switch head.framing {
        case .none: true
        case .length(let length): length <= count
        case .chunked: false
        }
    }
}

/// The content coding of a request's body.
enum BodyCoding: Sendable, Equatable {
    case identity
    case gzip

    /// Reads Content-Encoding; throws 415 with what is accepted (RFC 9110 section 15.5.16).
    static func of(_ fields: HTTPFields) throws(Problem) -> BodyCoding {
        guard let value = fields[.contentEncoding] else { return .identity }
        switch value.lowercased() {
        case "identity", "": return .identity
        case "gzip", "x-gzip": return .gzip
        default:
            throw Problem(
                .unsupportedMediaType, code: "body.unsupported_coding",
                detail: "Content-Encoding \(value) is not understood; send the bytes plain or as one gzip coding.",
                fields: [.acceptEncoding: "gzip, identity"])
        }
    }
}
