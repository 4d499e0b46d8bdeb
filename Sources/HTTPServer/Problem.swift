package import HTTPTypes
import HTTPWire

/// A value of an extension member of a problem.
package enum ProblemValue: Sendable, Equatable {
    case string(String)
    case integer(Int)
    /// Not a number and the infinities are written as null.
    case double(Double)
    case bool(Bool)
    case null
}

/// A refusal, as `application/problem+json` (RFC 9457).
package struct Problem: Error, Sendable {
    /// The status of the answer.
    package var status: HTTPResponse.Status
    /// The stable code, `tensor.non_finite`; `type` is `urn:viva:problem:` and this.
    package var code: String
    /// What kind of problem it is, the same for every occurrence.
    package var title: String
    /// What is wrong this time, and what would be right.
    package var detail: String
    /// Extension members in order.
    package var members: [(String, ProblemValue)]
    /// Fields of the answer: `Allow`, `Retry-After`.
    package var fields: HTTPFields
    /// What the server knows of a failure of its own, for its log alone: paths, error numbers, SQL.
    package private(set) var evidence: String?
    /// The limit of the server that was reached.
    var limit: LimitName?

    /// Describes a refusal; without a title it is the status's phrase.
    package init(
        _ status: HTTPResponse.Status, code: String, title: String? = nil, detail: String,
        members: [(String, ProblemValue)] = [], fields: HTTPFields = [:]
    ) {
        self.status = status
        self.code = code
        self.title = title ?? status.reasonPhrase
        self.detail = detail
        self.members = members
        self.fields = fields
    }

    /// A failure of the server itself: the client reads no more than where its operator finds the `evidence`.
    package static func failure(code: String, evidence: String) -> Problem {
        var problem = Problem(
            .internalServerError, code: code, detail: "The server failed: its log says why, under this trace_id.")
        problem.evidence = evidence
        return problem
    }

    /// Bytes that the parser refused.
    init(_ error: WireError) {
        let (status, title): (HTTPResponse.Status, String) =
            switch error.status {
            case 413: (.contentTooLarge, "The body is too large")
            case 414: (.uriTooLong, "The request target is too long")
            case 417: (.expectationFailed, "What the request expects is not offered")
            case 431: (.requestHeaderFieldsTooLarge, "The header fields are too large")
            case 501: (.notImplemented, "The request uses what this server does not implement")
            case 505: (.httpVersionNotSupported, "This version of HTTP is not supported")
            default: (.badRequest, "The request is not well-formed HTTP/1.1")
            }
        self.init(status, code: error.code, title: title, detail: error.detail)
        limit =
            switch error.code {
            case "http.head_too_long": .headBytes
            case "http.too_many_fields": .headFields
            case "http.target_too_long": .targetBytes
            default: nil
            }
    }

    /// Plain bytes where TLS is spoken.
    static var plainHTTP: Problem {
        Problem(
            .badRequest, code: "tls.required", title: "This address speaks TLS",
            detail: "The request came as plain HTTP; send it to https://.")
    }

    /// The same, with the limit that was reached.
    consuming func reaching(_ limit: LimitName) -> Problem {
        self.limit = limit
        return self
    }

    /// Whether the server itself is at fault, not the request and not its load.
    var isFailure: Bool { status == .internalServerError }

    /// The JSON of the answer.
    package func render(traceID: String) -> [UInt8] {
        var text = JSONObject()
        text.add("type", .string("urn:viva:problem:\(code)"))
        text.add("title", .string(title))
        text.add("status", .integer(status.code))
        text.add("detail", .string(detail))
        text.add("code", .string(code))
        text.add("trace_id", .string(traceID))
        for (name, value) in members {
            text.add(name, value)
        }
        return text.finish()
    }

    /// The answer.
    func response(traceID: String) -> Response {
        var fields = fields
        fields[.contentType] = "application/problem+json"
        fields[.cacheControl] = fields[.cacheControl] ?? "no-store"
        return Response(status: status, fields: fields, body: .bytes(render(traceID: traceID)))
    }
}

/// Writes one flat JSON object (RFC 8259).
private struct JSONObject {
    private var bytes: [UInt8] = [UInt8(ascii: "{")]

    mutating func add(_ name: String, _ value: ProblemValue) {
        if bytes.count > 1 { bytes.append(UInt8(ascii: ",")) }
        add(text: name)
        bytes.append(UInt8(ascii: ":"))
        switch value {
        case .string(let text): add(text: text)
        case .integer(let number): bytes.append(contentsOf: String(number).utf8)
        case .double(let number): bytes.append(contentsOf: (number.isFinite ? "\(number)" : "null").utf8)
        case .bool(let flag): bytes.append(contentsOf: (flag ? "true" : "false").utf8)
        case .null: bytes.append(contentsOf: "null".utf8)
        }
    }

    private mutating func add(text: String) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes.append(contentsOf: [UInt8(ascii: "\\"), byte])
            case 0..<32:
                let digits = String(byte, radix: 16)
                bytes.append(contentsOf: "\\u00\(digits.count == 1 ? "0" : "")\(digits)".utf8)
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    consuming func finish() -> [UInt8] {
        bytes.append(UInt8(ascii: "}"))
        return bytes
    }
}
