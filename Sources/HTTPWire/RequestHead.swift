package import HTTPTypes

/// The version of HTTP that a request line states.
package enum HTTPVersion: Sendable, Equatable {
    case http10, http11
}

/// How a request's body is delimited (RFC 9112 section 6).
package enum BodyFraming: Sendable, Equatable {
    /// No body follows the head.
    case none
    /// Exactly this many bytes follow; zero when the client said `Content-Length: 0`.
    case length(Int)
    /// Chunks follow, to be read by `ChunkedDecoder`.
    case chunked
}

/// What a request head may cost.
package struct HeadLimits: Sendable {
    /// The longest head in bytes, its final empty line included; 431 beyond.
    package var maxHeadBytes: Int
    /// The most field lines; 431 beyond.
    package var maxFields: Int
    /// The longest request target in bytes; 414 beyond.
    package var maxTargetBytes: Int

    /// Sets the limits; the defaults are 32 KiB, 100 fields and 8 KiB.
    package init(maxHeadBytes: Int = 32 << 10, maxFields: Int = 100, maxTargetBytes: Int = 8 << 10) {
        self.maxHeadBytes = maxHeadBytes
        self.maxFields = maxFields
        self.maxTargetBytes = maxTargetBytes
    }
}

/// One `name=value` of a query, percent-decoded once, `+` read as a space.
package struct QueryItem: Sendable, Equatable {
    /// The text before the first `=`.
    package let name: String
    /// The text after the first `=`; empty when there is none.
    package let value: String

    /// Pairs a decoded name with its decoded value.
    package init(name: String, value: String) {
        self.name = name
        self.value = value
    }
}

/// A request's head after every check of RFC 9112 that can fail; a value of this type is safe to act on.
package final class RequestHead: Sendable {
    /// The method; any token is accepted except CONNECT.
    package let method: HTTPRequest.Method
    /// The request target as it stood in the request line.
    package let target: String
    /// The path of the target as sent, without query; `*` for `OPTIONS *`.
    package let rawPath: String
    /// The decoded segments of the path: `/a/b%20c` is `["a", "b c"]`, `/` is `[]`, `/a/` is `["a", ""]`.
    package let path: [String]
    /// The items of the query in order.
    package let query: [QueryItem]
    /// Whether the target is `*`.
    package let isAsterisk: Bool
    /// Whether an absolute-form target says `https`.
    package let isHTTPS: Bool
    /// The authority of an absolute-form target, else the Host field; nil for HTTP/1.0 without Host.
    package let authority: String?
    /// The version of the request line; HTTP/1.2 to 1.9 are read as 1.1.
    package let version: HTTPVersion
    /// The field lines in order; names and values are valid.
    package let fields: HTTPFields
    /// How the body is delimited.
    package let framing: BodyFraming
    /// Whether the client allows another request on this connection (RFC 9112 section 9.3).
    package let keepAlive: Bool
    /// Whether the client waits for 100 Continue before it sends its body.
    package let expectsContinue: Bool

    init(
        method: HTTPRequest.Method, target: String, rawPath: String, path: [String], query: [QueryItem],
        isAsterisk: Bool, isHTTPS: Bool, authority: String?, version: HTTPVersion, fields: HTTPFields,
        framing: BodyFraming, keepAlive: Bool, expectsContinue: Bool
    ) {
        self.method = method
        self.target = target
        self.rawPath = rawPath
        self.path = path
        self.query = query
        self.isAsterisk = isAsterisk
        self.isHTTPS = isHTTPS
        self.authority = authority
        self.version = version
        self.fields = fields
        self.framing = framing
        self.keepAlive = keepAlive
        self.expectsContinue = expectsContinue
    }
}

/// What a buffer that starts at a request head holds.
package enum HeadParse: Sendable {
    /// The head is not whole yet; pass `scanned` as `scannedBefore` when more bytes came.
    case partial(scanned: Int)
    /// The head, and how many bytes it took; the body starts there.
    case complete(RequestHead, consumed: Int)
    /// The bytes are refused: answer, close, never reuse the connection.
    case refused(WireError)
}
