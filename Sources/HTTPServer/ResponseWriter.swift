import Compression
import HTTPTypes
import HTTPWire
import Sockets

/// Writes heads of answers; one for each thread, for it keeps the formatted date of the second.
struct ResponseWriter {
    /// Bodies below this gain nothing from gzip.
    static let gzipFloor = 1024

    private var second = -1
    private var dateLine: [UInt8] = []

    /// How the client finds the end of the body (RFC 9112 section 6.3).
    enum Framing: Equatable {
        case length(Int)
        case chunked
        /// By the end of the connection: HTTP/1.0 knows no chunks.
        case close

        init(_ body: ResponseBody, for head: RequestHead?) {
            if case .stream = body {
                self = head?.version == .http10 ? .close : .chunked
            } else {
                self = .length(body.count)
            }
        }
    }

    /// What an answer is written for.
    struct Frame {
        let requestID: String
        let head: RequestHead?
        let closes: Bool
        let framing: Framing
    }

    /// Appends the head with the fields that every answer has.
    mutating func write(_ response: borrowing Response, _ frame: Frame, into output: inout [UInt8]) {
        var fields = response.fields
        if fields[.contentLength] != nil { fields[.contentLength] = nil }
        ResponseHead.serialize(status: response.status, fields: fields, into: &output)
        // Behind the serialized fields, before the empty line: no field value of ours needs a check or a copy.
        output.removeLast(2)
        refreshDate()
        output.append(contentsOf: dateLine)
        output.append(contentsOf: "X-Request-Id: ".utf8)
        output.append(contentsOf: frame.requestID.utf8)
        if Self.mayHaveBody(response.status) {
            switch frame.framing {
            case .length(let length):
                output.append(contentsOf: "\r\nContent-Length: ".utf8)
                output.append(contentsOf: String(length).utf8)
            case .chunked: output.append(contentsOf: "\r\nTransfer-Encoding: chunked".utf8)
            case .close: break
            }
        }
        if frame.closes {
            output.append(contentsOf: "\r\nConnection: close".utf8)
        } else if frame.head?.version == .http10 {
            output.append(contentsOf: "\r\nConnection: keep-alive".utf8)
        }
        output.append(contentsOf: "\r\n\r\n".utf8)
    }

    /// Whether the status allows a body at all (RFC 9110 section 6.4.1).
    static func mayHaveBody(_ status: HTTPResponse.Status) -> Bool {
        status.code >= 200 && status.code != 204 && status.code != 304
    }

    /// Codes text of some length with gzip when the client allows it; what is named by a digest stays as it is.
    static func compress(_ response: inout Response, for head: RequestHead?) {
        guard case .bytes(let bytes) = response.body, bytes.count >= gzipFloor, let head,
            isText(response.fields[.contentType]), response.fields[.contentEncoding] == nil,
            response.fields[.eTag] == nil, contentDigest.map({ response.fields[$0] }) ?? nil == nil
        else { return }
        let vary = response.fields[.vary].map { "\($0), " } ?? ""
        response.fields[.vary] = "\(vary)Accept-Encoding"
        // An answer that can not be coded goes out plain: the client loses nothing.
        guard acceptsGzip(head.fields), let coded = try? gzip(unsafe bytes.span.bytes) else { return }
        response.fields[.contentEncoding] = "gzip"
        response.body = .bytes(coded)
    }

    private static let contentDigest = HTTPField.Name("Content-Digest")

    private static func isText(_ contentType: String?) -> Bool {
        guard let contentType else { return false }
        let type = contentType.prefix { $0 != ";" && $0 != " " }
        return type.hasPrefix("text/") && type != "text/event-stream" || type.hasSuffix("json")
            || type.hasSuffix("yaml")
    }

    private mutating func refreshDate() {
        let now = Process.secondsSinceEpoch
        guard now != second else { return }
        second = now
        dateLine = Array("X-Content-Type-Options: nosniff\r\nDate: \(httpDate(secondsSinceEpoch: now))\r\n".utf8)
    }
}
