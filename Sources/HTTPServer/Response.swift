package import HTTPTypes
package import Sockets

/// A file that is sent as it is; its descriptor closes when the last answer that names it is done.
package final class FileBody: Sendable {
    let source: FileSource
    /// The file's length in bytes.
    package var length: Int { source.length }

    /// Takes over an open file.
    package init(_ source: consuming FileSource) {
        self.source = source
    }

    /// Takes over the descriptor of an open regular file; nobody else may close it.
    package convenience init(owning descriptor: Int32) throws(SocketError) {
        self.init(try FileSource(owning: descriptor))
    }
}

/// A piece of a body that is sent in pieces.
package enum BodyPart: Sendable {
    case bytes([UInt8])
    /// A range of byte offsets of a file.
    case file(FileBody, Range<Int>)
    /// All that a producer makes.
    case produced(any BodyProducer)

    var count: Int {
        switch self {
        case .bytes(let bytes): bytes.count
        case .file(_, let range): range.count
        case .produced(let producer): producer.byteCount
        }
    }

    /// Whether only a thread of the pool may make the bytes, however few they are.
    var needsThread: Bool {
        if case .produced = self { true } else { false }
    }
}

/// What follows the head of an answer.
package enum ResponseBody: Sendable {
    case empty
    case bytes([UInt8])
    case file(FileBody)
    /// Pieces in order, as a multipart answer has them.
    case parts([BodyPart])
    /// Bytes that are made while they are sent.
    case produced(any BodyProducer)
    /// Bytes of unknown number that are sent as they come about, without a thread; never coded.
    case stream(any EventSource, EventSignal)

    /// Bytes in all, as far as they are known before.
    package var count: Int {
        switch self {
        case .empty, .stream: 0
        case .bytes(let bytes): bytes.count
        case .file(let file): file.length
        case .parts(let parts): parts.reduce(0) { $0 + $1.count }
        case .produced(let producer): producer.byteCount
        }
    }

    /// The body as pieces.
    var pieces: [BodyPart] {
        switch self {
        case .empty, .stream: []
        case .bytes(let bytes): [.bytes(bytes)]
        case .file(let file): [.file(file, 0..<file.length)]
        case .parts(let parts): parts
        case .produced(let producer): [.produced(producer)]
        }
    }
}

/// An answer. The server adds `Date`, `Content-Length` or `Transfer-Encoding`, `Connection`, `X-Request-Id` and
/// `X-Content-Type-Options`.
package struct Response: Sendable {
    /// The status.
    package var status: HTTPResponse.Status
    /// The fields.
    package var fields: HTTPFields
    /// The body; never sent to HEAD.
    package var body: ResponseBody

    /// Puts an answer together.
    package init(status: HTTPResponse.Status, fields: HTTPFields = [:], body: ResponseBody = .empty) {
        self.status = status
        self.fields = fields
        self.body = body
    }

    /// An answer of JSON that is already written.
    package static func json(
        _ bytes: [UInt8], status: HTTPResponse.Status = .ok, fields: HTTPFields = [:]
    ) -> Response {
        var fields = fields
        fields[.contentType] = "application/json"
        return Response(status: status, fields: fields, body: .bytes(bytes))
    }
}
