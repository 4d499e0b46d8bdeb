package import HTTPTypes
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
    /// The body; to be read or left.
    package var body: RequestBody

    init(_ admitted: Admitted, peer: String, isSecure: Bool, body: consuming RequestBody) {
        head = admitted.head
        template = admitted.route.template
        parameters = admitted.parameters
        id = admitted.id
        trace = admitted.trace
        self.peer = peer
        self.isSecure = isSecure
        self.body = body
    }

    consuming func releaseBody() -> RequestBody {
        body
    }
}

/// A request whose head and route are settled; it may wait in the loop or move to a thread.
struct Admitted: Sendable {
    let head: RequestHead
    let route: Route
    let parameters: [String: String]
    let coding: BodyCoding
    let id: String
    let trace: RequestTrace
    let started: ContinuousClock.Instant

    /// The most bytes of the body, as sent.
    func bodyLimit(_ limits: ServerLimits) -> Int {
        min(route.maxBodyBytes ?? limits.maxBodyBytes, limits.maxBodyBytes)
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
