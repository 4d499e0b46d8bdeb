package import HTTPTypes
package import HTTPWire
import Sockets

extension Response {
    /// Answers GET or HEAD of an immutable file: preconditions, one or several ranges (RFC 9110 sections 13 and 14).
    ///
    /// - Parameters:
    ///   - etag: a strong entity tag with its quotes, `"sha256-…"`.
    ///   - lastModified: seconds since 1970, for a file that has not changed since; nil leaves dates out.
    ///   - fields: what else the whole answer carries. A `Repr-Digest` is the `Content-Digest` of a whole answer too
    ///     (RFC 9530 section 2); a partial one and HEAD have other content.
    /// - Throws: 412 `precondition.failed`, 416 `range.unsatisfiable` or `range.too_many` with
    ///   `Content-Range: bytes */length`.
    package static func file(
        _ head: RequestHead, _ file: FileBody, contentType: String, etag: String, lastModified: Int? = nil,
        fields extra: HTTPFields = [:]
    ) throws(Problem) -> Response {
        var fields = extra
        fields[.eTag] = etag
        fields[.acceptRanges] = "bytes"
        // Never later than the Date of the answer (RFC 9110 section 8.8.2.1).
        let lastModified = lastModified.map { min($0, Process.secondsSinceEpoch) }
        if let lastModified { fields[.lastModified] = httpDate(secondsSinceEpoch: lastModified) }
        if let unchanged = try conditional(head, etag: etag, lastModified, fields) { return unchanged }
        fields[.contentType] = contentType
        // Range is defined for GET alone (RFC 9110 section 14.2).
        guard head.method == .get else { return Response(status: .ok, fields: fields, body: .file(file)) }
        switch evaluateRange(head.fields, length: file.length, etag: etag, lastModified: lastModified) {
        case .whole:
            if let digest = representationDigest.flatMap({ fields[$0] }), let name = contentDigest {
                fields[name] = digest
            }
            return Response(status: .ok, fields: fields, body: .file(file))
        case .unsatisfiable:
            throw refusal(
                file, code: "range.unsatisfiable",
                detail: "No range of the request lies within the \(file.length) bytes of the representation.")
        case .excessive:
            throw refusal(
                file, code: "range.too_many",
                detail: "A request names at most \(maxRequestedRanges) ranges; ask for the others in further requests.")
        case .ranges(let ranges): return partial(file, ranges, contentType: contentType, fields: fields)
        }
    }

    /// Answers GET or HEAD of bytes that are produced while they are sent: preconditions, no ranges.
    ///
    /// - Parameters:
    ///   - etag: a strong entity tag with its quotes: the producer must always make the same bytes for it.
    ///   - make: makes the producer, when the preconditions ask for the bytes.
    /// - Throws: 412 `precondition.failed`, and what `make` throws.
    package static func produced(
        _ head: RequestHead, contentType: String, etag: String, fields extra: HTTPFields = [:],
        _ make: () throws(Problem) -> any BodyProducer
    ) throws(Problem) -> Response {
        var fields = extra
        fields[.eTag] = etag
        fields[.acceptRanges] = "none"
        if let unchanged = try conditional(head, etag: etag, nil, fields) { return unchanged }
        fields[.contentType] = contentType
        return Response(status: .ok, fields: fields, body: .produced(try make()))
    }

    /// 304 where the client holds what it asks for; nil where the method is to be performed.
    private static func conditional(
        _ head: RequestHead, etag: String, _ lastModified: Int?, _ fields: HTTPFields
    ) throws(Problem) -> Response? {
        switch evaluateConditions(head.fields, method: head.method, etag: etag, lastModified: lastModified) {
        case .proceed: return nil
        case .notModified:
            // What guides caches and no more: the client has the rest (RFC 9110 section 15.4.5).
            let names: [HTTPField.Name] = [.eTag, .lastModified, .cacheControl, .vary]
            return Response(status: .notModified, fields: HTTPFields(fields.filter { names.contains($0.name) }))
        case .preconditionFailed: throw .preconditionFailed(etag)
        }
    }

    private static func refusal(_ file: FileBody, code: String, detail: String) -> Problem {
        Problem(
            .rangeNotSatisfiable, code: code, detail: detail, members: [("length", .integer(file.length))],
            fields: [.contentRange: "bytes */\(file.length)", .acceptRanges: "bytes"])
    }

    private static func partial(
        _ file: FileBody, _ ranges: [Range<Int>], contentType: String, fields: HTTPFields
    ) -> Response {
        var fields = fields
        if ranges.count == 1, let range = ranges.first {
            fields[.contentRange] = contentRange(range, of: file)
            return Response(status: .partialContent, fields: fields, body: .parts([.file(file, range)]))
        }
        let boundary = "viva-" + String(UInt64.random(in: .min ... .max), radix: 36)
        fields[.contentType] = "multipart/byteranges; boundary=\(boundary)"
        var parts = [BodyPart]()
        for range in ranges {
            let head = """
                \r\n--\(boundary)\r\nContent-Type: \(contentType)\r\n\
                Content-Range: \(contentRange(range, of: file))\r\n\r\n
                """
            parts.append(.bytes(Array(head.utf8)))
            parts.append(.file(file, range))
        }
        parts.append(.bytes(Array("\r\n--\(boundary)--\r\n".utf8)))
        return Response(status: .partialContent, fields: fields, body: .parts(parts))
    }

    private static let contentDigest = HTTPField.Name("Content-Digest")
    private static let representationDigest = HTTPField.Name("Repr-Digest")

    private static func contentRange(_ range: Range<Int>, of file: FileBody) -> String {
        "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(file.length)"
    }
}

extension RequestHead {
    /// Why the method must not be performed: its preconditions do not hold (RFC 9110 section 13.1); nil when they do.
    ///
    /// To be asked when every other check has passed, and right before anything changes (section 13.2.1).
    /// - Parameters:
    ///   - etag: the entity tag of what the method would change, with its quotes; empty for what has none, which no
    ///     tag matches and `*` does; nil for what is not there.
    ///   - lastModified: seconds since 1970; nil for what has no date.
    package func failedPrecondition(etag: String?, lastModified: Int? = nil) -> Problem? {
        let outcome = evaluateConditions(fields, method: method, etag: etag, lastModified: lastModified)
        return outcome == .proceed ? nil : .preconditionFailed(etag)
    }
}

extension Problem {
    fileprivate static func preconditionFailed(_ etag: String?) -> Problem {
        let state = etag.map { $0.isEmpty ? "There is no entity tag." : "The entity tag is \($0)." }
        return Problem(
            .preconditionFailed, code: "precondition.failed", detail: state ?? "There is nothing of that name yet.")
    }
}
