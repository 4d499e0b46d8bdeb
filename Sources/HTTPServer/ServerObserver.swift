package import HTTPTypes
package import HTTPWire
package import Sockets

/// Hears what a server does, on the server's own threads: it must be quick and must not wait.
package protocol ServerObserver: Sendable {
    /// A connection was accepted.
    func connectionOpened()
    /// A connection is gone.
    func connectionClosed()
    /// A request's head is whole, or was refused, and then has no method.
    func requestStarted(_ method: HTTPRequest.Method?, isSecure: Bool)
    /// A request was answered, or its client went away; called once for each `requestStarted`, with the same method.
    func requestFinished(_ summary: RequestSummary)
    /// A limit ended, refused or delayed something.
    func limitReached(_ limit: LimitName)
}

/// One request, told after its answer.
package struct RequestSummary: Sendable {
    /// The method; nil when the head could not be read.
    package let method: HTTPRequest.Method?
    /// That of the request line; nil when the head could not be read.
    package let version: HTTPVersion?
    /// The template of the route, `/v1/artifacts/{id}`; nil when none matched.
    package let route: String?
    /// The status of the answer.
    package let status: HTTPResponse.Status
    /// From the whole head to the last byte handed to the kernel.
    package let durationNanoseconds: UInt64
    /// Bytes of the body as coded, without its framing, as far as they were read.
    package let requestBodyBytes: Int
    /// Bytes of the answer's body, framing excluded.
    package let responseBodyBytes: Int
    /// What `X-Request-Id` says.
    package let requestID: String
    /// 32 hexadecimal digits.
    package let traceID: String
    /// The client's address and port.
    package let peer: String
    /// Whether the bytes were encrypted on the wire.
    package let isSecure: Bool
    /// The code of the problem that answered, or of what broke the answer off.
    package let errorCode: String?
}

/// Why a server could not be set up.
package enum ServerError: Error, Sendable, Equatable {
    /// The address could not be bound, or a resource of the kernel is missing.
    case socket(SocketError)
    /// Two routes have the same method and template.
    case duplicateRoute(String)
    /// A template does not start with `/` or has an empty parameter.
    case malformedTemplate(String)
}
