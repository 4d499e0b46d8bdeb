import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import HTTPWire
import OpenSSL
import Quantization

/// Everything below `/v1/artifacts`.
struct ArtifactHandlers: Sendable {
    let facilities: Facilities

    private var catalogue: Catalogue { facilities.catalogue }
    private var store: ArtifactStore { facilities.store }

    func list(_ request: inout Request) throws(Problem) -> Response {
        let owner = try facilities.access.principal(request).owner
        let query = try Query(request.head, known: ["limit", "cursor", "method", "name"])
        let (limit, method) = (try query.pageSize(), try query.choice("method", Method.self))
        let name = try query.artifactName()
        do throws(CatalogueError) {
            let page = try catalogue.artifacts(
                owner: owner, after: query.text("cursor"), limit: limit, method: method?.rawValue, name: name)
            let items = page.items.map { JSON.raw(String($0.manifest.dropLast())) }
            return .json(JSON.page(items, next: page.next).bytes())
        } catch {
            throw Problem(error)
        }
    }

    func describe(_ request: inout Request) throws(Problem) -> Response {
        .json(Array(try record(request).manifest.utf8))
    }

    func remove(_ request: inout Request) throws(Problem) -> Response {
        let record = try record(request)
        let (id, owner) = (record.id, record.owner)
        // Who says which bytes are to go removes no others.
        let refusal = request.head.failedPrecondition(
            etag: Self.entityTag(record.digest), lastModified: Int(record.createdAt / 1000))
        if let refusal { throw refusal }
        try store.inTurn([id]) { () throws(Problem) in
            let isRemoved: Bool
            do throws(CatalogueError) {
                isRemoved = try catalogue.remove(id, owner: owner)
            } catch {
                throw Problem(error)
            }
            guard isRemoved else { throw Problem.notFound(id) }
            do throws(StoreError) {
                try store.remove(.artifact, id)
            } catch {
                throw Problem(error)
            }
        }
        return Response(status: .noContent)
    }

    func content(_ request: inout Request) throws(Problem) -> Response {
        let record = try record(request)
        return try .file(
            request.head, Self.open(record, facilities), contentType: QuantizeRequest.safetensors,
            etag: Self.entityTag(record.digest), lastModified: Int(record.createdAt / 1000),
            fields: Self.contentFields(record))
    }

    func report(_ request: inout Request) throws(Problem) -> Response {
        let record = try record(request)
        var response = Page.isWanted(request.head) ? try reportPage(record) : try storedReport(record)
        response.fields[.vary] = "Accept"
        return response
    }

    /// The longest report that is read into memory, once for each of its readers, and may be compressed; a longer one
    /// is sent as it lies on the disk.
    static let heldReportBytes = 1 << 20

    private func storedReport(_ record: ArtifactRecord) throws(Problem) -> Response {
        let descriptor: Int32
        do throws(StoreError) {
            let file = try store.open(record.id, .report)
            guard file.length > Self.heldReportBytes else { return .json(try file.bytes()) }
            descriptor = file.takeDescriptor()
        } catch {
            throw Self.unopened(record, error, catalogue)
        }
        var response = Response.json([])
        response.body = .file(try Self.body(descriptor))
        return response
    }

    private func reportPage(_ record: ArtifactRecord) throws(Problem) -> Response {
        let bytes: [UInt8]
        let length: Int
        let relatives: [ArtifactRecord]
        let memory = MemoryShare(facilities.memory)
        defer { withExtendedLifetime(memory) {} }
        do throws(StoreError) {
            let file = try store.open(record.id, .report)
            length = file.length
            bytes = try file.bytes(atMost: ReportDocument.maximumBytes)
        } catch {
            throw Self.unopened(record, error, catalogue)
        }
        do throws(CatalogueError) {
            relatives = try catalogue.artifacts(
                owner: record.owner, ofInput: record.inputDigest, limit: ReportPage.maximumRelatives + 1)
        } catch {
            throw Problem(error)
        }
        do {
            let read = relatives.reduce(bytes.count + record.manifest.utf8.count) { $0 + $1.manifest.utf8.count }
            try memory.add(read * ReportDocument.memoryForByte)
            let card = try ArtifactCard(manifest: record.manifest)
            return try ReportPage(
                card: card, report: ReportDocument(bytes, length: length),
                relatives: relatives.filter { $0.id != record.id }.prefix(ReportPage.maximumRelatives).map {
                    try ArtifactCard(manifest: $0.manifest)
                },
                loading: LoadingSteps(card: card, config: nil, isServed: true)
            ).page.response()
        } catch let problem as Problem {
            throw problem
        } catch let error as QuantizationError {
            throw Problem(error)
        } catch {
            throw Problem(unreadable: error)
        }
    }

    func config(_ request: inout Request) throws(Problem) -> Response {
        let record = try record(request)
        do {
            let config = try ManifestReader.text(of: "quantization_config", in: record.manifest) ?? "null"
            return .json(Array("{\"quantization_config\": \(config)}\n".utf8))
        } catch {
            throw Problem(unreadable: error)
        }
    }

    /// The artifact that a request names; its query may have been read before.
    func record(_ request: borrowing Request, checkingQuery: Bool = true) throws(Problem) -> ArtifactRecord {
        let owner = try facilities.access.principal(request).owner
        if checkingQuery { _ = try Query(request.head, known: []) }
        let id = request.parameters["id"] ?? ""
        do throws(CatalogueError) {
            if let record = try catalogue.artifact(id, owner: owner) { return record }
        } catch {
            throw Problem(error)
        }
        throw Problem.notFound(id)
    }

    /// The artifact's file for an answer; 500 when its length is not the recorded one: the entity tag vouches for all.
    static func open(
        _ record: ArtifactRecord, _ facilities: Facilities
    ) throws(Problem) -> FileBody {
        let descriptor: Int32
        do throws(StoreError) {
            descriptor = try facilities.store.open(record.id, .content).takeDescriptor()
        } catch {
            throw unopened(record, error, facilities.catalogue)
        }
        let file = try body(descriptor)
        guard file.length == record.bytes else {
            throw Problem(
                .internalServerError, code: "artifact.damaged", title: "The artifact is damaged",
                detail: "Its file has \(file.length) bytes, \(record.bytes) are recorded: run viva fsck.")
        }
        return file
    }

    private static func body(_ descriptor: Int32) throws(Problem) -> FileBody {
        do {
            return try FileBody(owning: descriptor)
        } catch {
            throw .failure(code: "storage.failed", evidence: "The artifact's file cannot be sent: \(error).")
        }
    }

    /// The answer when a file of `record` does not open: 404 when the artifact was removed since the row was read.
    static func unopened(_ record: ArtifactRecord, _ error: StoreError, _ catalogue: Catalogue) -> Problem {
        guard case .notFound = error else { return Problem(error) }
        do throws(CatalogueError) {
            return try catalogue.artifact(record.id, owner: record.owner) == nil ? .notFound(record.id) : Problem(error)
        } catch {
            return Problem(error)
        }
    }

    /// The strong entity tag of bytes: their digest, `sha256:<hex>`.
    static func entityTag(_ digest: String) -> String { "\"sha256-\(digest.dropFirst("sha256:".count))\"" }

    /// Digest and file name of an artifact's bytes.
    static func contentFields(_ record: ArtifactRecord) -> HTTPFields {
        var fields = HTTPFields()
        if let digest = Digest(hex: record.digest.dropFirst("sha256:".count)), let repr = HTTPField.Name("Repr-Digest")
        {
            fields[repr] = "sha-256=:\(digest.base64):"
        }
        fields[.contentDisposition] = attachment(record)
        return fields
    }

    /// The name under which a browser saves an artifact, or what was made of it.
    static func attachment(_ record: ArtifactRecord, as kind: String = "") -> String {
        let safe = (record.name ?? record.id).map {
            $0.isASCII && ($0.isLetter || $0.isNumber || "-_.".contains($0)) ? $0 : "_"
        }
        return "attachment; filename=\"\(String(safe)).\(record.method)\(kind).safetensors\""
    }
}
