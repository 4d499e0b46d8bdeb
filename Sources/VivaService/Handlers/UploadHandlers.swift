import Catalogue
import HTTPServer
import HTTPTypes
import HTTPWire
import Observability
import Quantization

/// Everything below `/v1/uploads`: resumable uploads by tus 1.0.0.
struct UploadHandlers: Sendable {
    let uploads: Uploads

    private var facilities: Facilities { uploads.facilities }

    /// `OPTIONS /v1/uploads`: what the server can do; the one request that needs no `Tus-Resumable`.
    func options(_ request: inout Request) throws(Problem) -> Response {
        _ = try Query(request.head, known: [])
        var fields: HTTPFields = [.allow: "OPTIONS, POST"]
        fields[.tusResumable] = UploadFields.version
        fields[.tusVersion] = UploadFields.version
        fields[.tusExtension] = UploadFields.extensions
        fields[.tusMaxSize] = String(facilities.limits.maximumInputBytes)
        fields[.tusChecksumAlgorithm] = "sha1,sha256"
        return Response(status: .noContent, fields: fields)
    }

    /// `POST /v1/uploads`, with or without the first bytes.
    func create(_ request: inout Request) throws(Problem) -> Response {
        try speaking(&request) { (request) throws(Problem) in
            let principal = try facilities.access.principal(request)
            let fields = request.head.fields
            let length = try UploadFields.length(fields)
            let limit = facilities.limits.maximumInputBytes
            if let length, length > limit {
                throw Problem(QuantizationError.limit(name: "input_bytes", value: length, limit: limit, tensor: nil))
            }
            let metadata = try UploadFields.metadata(fields, atMost: facilities.intake.maximumMetadataBytes)
            let hasBody = request.body.declaredLength != 0
            if hasBody { try Self.checkType(fields) }
            let delivery = try UploadDelivery(request, offset: 0, length: nil)
            if let bytes = delivery.bytes, let length, bytes > length { throw UploadDelivery.tooLong(length) }
            var record = try uploads.begin(
                principal, length: length, metadata: metadata, query: UploadQuestion.recorded(request.head))
            if hasBody || length == 0 {
                record = try uploads.fill(record, delivery, of: principal, from: &request)
            }
            var response = Self.answer(record, status: .created)
            response.fields[.location] = Self.location(record)
            return response
        }
    }

    /// `HEAD` and `GET /v1/uploads/{id}`: how far it is.
    func describe(_ request: inout Request) throws(Problem) -> Response {
        if request.head.method == .head { try Self.checkVersion(request.head) }
        _ = try Query(request.head, known: [])
        let owner = try facilities.access.principal(request).owner
        let record = try uploads.find(request.parameters["id"] ?? "", owner: owner)
        var response = Self.answer(record, status: .ok)
        response.fields[.uploadLength] = (record.length ?? Self.sealedLength(record)).map(String.init)
        if response.fields[.uploadLength] == nil { response.fields[.uploadDeferLength] = "1" }
        if !record.metadata.isEmpty { response.fields[.uploadMetadata] = record.metadata }
        response.fields[.contentType] = "application/json"
        response.body = .bytes(UploadJSON.json(record).bytes())
        return response
    }

    /// `PATCH /v1/uploads/{id}`: the next bytes.
    func append(_ request: inout Request) throws(Problem) -> Response {
        try speaking(&request) { (request) throws(Problem) in
            let fields = request.head.fields
            _ = try Query(request.head, known: [])
            try Self.checkType(fields)
            guard let offset = try UploadFields.bytes(.uploadOffset, fields) else {
                throw UploadFields.malformed("Upload-Offset is missing.")
            }
            let length = try UploadFields.bytes(.uploadLength, fields)
            let delivery = try UploadDelivery(request, offset: offset, length: length)
            let principal = try facilities.access.principal(request)
            let id = request.parameters["id"] ?? ""
            return Self.answer(
                try uploads.append(delivery, to: id, of: principal, from: &request), status: .noContent)
        }
    }

    /// `DELETE /v1/uploads/{id}`.
    func remove(_ request: inout Request) throws(Problem) -> Response {
        try speaking(&request) { (request) throws(Problem) in
            _ = try Query(request.head, known: [])
            let owner = try facilities.access.principal(request).owner
            let record = try uploads.find(request.parameters["id"] ?? "", owner: owner)
            if let refusal = request.head.failedPrecondition(etag: "") { throw refusal }
            try uploads.remove(record.id, owner: owner)
            return Response(status: .noContent)
        }
    }
}

extension UploadHandlers {
    /// Lets `body` answer a request of the protocol's version; every answer names it, refusals too.
    private func speaking(
        _ request: inout Request, _ body: (inout Request) throws(Problem) -> Response
    ) throws(Problem) -> Response {
        try Self.checkVersion(request.head)
        do throws(Problem) {
            var response = try body(&request)
            response.fields[.tusResumable] = UploadFields.version
            return response
        } catch {
            var problem = error
            problem.fields[.tusResumable] = UploadFields.version
            throw problem
        }
    }

    private static func checkVersion(_ head: RequestHead) throws(Problem) {
        guard head.fields[.tusResumable] != UploadFields.version else { return }
        throw Problem(
            .preconditionFailed, code: "upload.version", title: "Another version of tus is spoken here",
            detail: "Tus-Resumable must be \(UploadFields.version).",
            fields: [.tusVersion: UploadFields.version, .tusResumable: UploadFields.version])
    }

    private static func checkType(_ fields: HTTPFields) throws(Problem) {
        guard fields[.contentType]?.lowercased() != UploadFields.contentType else { return }
        throw Problem(
            .unsupportedMediaType, code: "upload.media_type",
            detail: "The bytes of an upload are sent as \(UploadFields.contentType).")
    }

    /// Where the upload stands, and where its result is.
    private static func answer(_ record: UploadRecord, status: HTTPResponse.Status) -> Response {
        var fields: HTTPFields = [.cacheControl: "no-store"]
        fields[.tusResumable] = UploadFields.version
        fields[.uploadOffset] = String(record.offset)
        fields[.uploadExpires] = httpDate(secondsSinceEpoch: Int(record.expiresAt / 1000))
        fields[.contentLocation] = record.location
        return Response(status: status, fields: fields)
    }

    /// The length of an upload that was said with its last bytes only.
    private static func sealedLength(_ record: UploadRecord) -> Int? {
        record.location == nil ? nil : record.offset
    }

    static func location(_ record: UploadRecord) -> String { "/v1/uploads/\(record.id)" }
}

/// An upload as JSON.
enum UploadJSON {
    static func json(_ record: UploadRecord) -> JSON {
        var links: [(String, JSON)] = [("self", .string(UploadHandlers.location(record)))]
        if let location = record.location { links.append(("result", .string(location))) }
        let length = record.length ?? (record.location == nil ? nil : record.offset)
        return .object([
            ("id", .string(record.id)), ("offset", .integer(record.offset)),
            ("length", length.map { .integer($0) } ?? .null), ("is_complete", .bool(record.location != nil)),
            ("metadata", .string(record.metadata)), ("query", .optional(record.query)),
            ("created_at", .string(rfc3339(milliseconds: record.createdAt))),
            ("expires_at", .string(rfc3339(milliseconds: record.expiresAt))), ("links", .object(links)),
        ])
    }
}
