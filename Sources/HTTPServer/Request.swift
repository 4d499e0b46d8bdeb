import HTTPTypes
package import HTTPWire

/// A request on its way through a handler: all that is known of it, and the body yet to be read.
package struct Request: ~Copyable {
    /// What was known before its body.
    package let routed: RoutedRequest
    /// The body; to be read or left.
    package var body: RequestBody

    init(_ routed: RoutedRequest, body: consuming RequestBody) {
        self.routed = routed
        self.body = body
    }

    /// The head.
    package var head: RequestHead { routed.head }
    /// The parameters of the template, percent-decoded.
    package var parameters: [String: String] { routed.parameters }
    /// The trace the request belongs to.
    package var trace: RequestTrace { routed.trace }
    /// The clock of the request, for handlers that compute for long; nil on the loop.
    package var flight: Flight? { routed.exchange.flight }

    consuming func releaseBody() -> RequestBody {
        body
    }
}

/// Where a connection comes from.
struct Origin: Sendable {
    /// The client's address and port.
    let peer: String
    /// What stands for the client among others (`ConnectionCounts.client`); nil of who comes by an address of this
    /// machine alone, for that is one of many behind a proxy.
    let client: String?
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

/// A request whose head and route are settled: all that is known before its body. It may wait in the loop or move to a
/// thread, and is handed on for the price of one reference.
package final class RoutedRequest: Sendable {
    /// The head.
    package let head: RequestHead
    /// The parameters of the template, percent-decoded.
    package let parameters: [String: String]
    let route: Route
    let coding: BodyCoding
    let origin: Origin
    let exchange: Exchange
    /// Whether the client waits for 100 Continue, which nobody has said yet.
    let owesContinue: Bool

    init(
        head: RequestHead, route: Route, parameters: [String: String], coding: BodyCoding, origin: Origin,
        exchange: Exchange, isContinued: Bool = false
    ) {
        self.head = head
        owesContinue = head.expectsContinue && !isContinued
        self.route = route
        self.parameters = parameters
        self.coding = coding
        self.origin = origin
        self.exchange = exchange
    }

    /// The template of the route that was found.
    package var template: String { route.template }
    /// The trace the request belongs to.
    package var trace: RequestTrace { exchange.trace }
    /// The client's address and port.
    package var peer: String { origin.peer }
    /// Whether it came to an address that only this machine reaches.
    package var isLocal: Bool { origin.isLocal }

    /// The most bytes of the body, as sent.
    func bodyLimit(_ limits: ServerLimits) -> Int {
        min(route.maxBodyBytes ?? limits.maxBodyBytes, limits.maxBodyBytes)
    }

    /// The same, once the client was told to continue.
    var continued: RoutedRequest {
        RoutedRequest(
            head: head, route: route, parameters: parameters, coding: coding, origin: origin, exchange: exchange,
            isContinued: true)
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
