import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import HTTPWire
import OpenSSL
import Quantization
import Tensors

/// Everything below `/v1/inputs`: bytes that a client sends once and uses by their digest.
struct InputHandlers: Sendable {
    let facilities: Facilities

    private var catalogue: Catalogue { facilities.catalogue }
    private var publisher: InputPublisher {
        InputPublisher(store: facilities.store, catalogue: facilities.catalogue)
    }

    /// `POST /v1/inputs`, and PUT, which `curl -T` sends.
    func create(_ request: inout Request) throws(Problem) -> Response {
        let principal = try facilities.access.principal(request)
        return try receive(&request, InputQuestion(request.head), principal, expected: nil)
    }

    /// `PUT /v1/inputs/sha256:<hex>`: who has it need not send it again; nobody learns whether others have it.
    func put(_ request: inout Request) throws(Problem) -> Response {
        let principal = try facilities.access.principal(request)
        let question = try InputQuestion(request.head)
        let name = request.parameters["id"] ?? ""
        guard let expected = InputName.digest(name) else {
            throw Problem(
                .badRequest, code: "input.invalid_digest", title: "The name is no digest",
                detail: "An input is called sha256: and 64 hexadecimal digits in small letters, not '\(name)'.")
        }
        if let known = try refresh(name, question, principal.owner, request.head) {
            var response = try answer(known)
            response.fields[.location] = InputName.location(name)
            return response
        }
        if let refusal = request.head.failedPrecondition(etag: nil) { throw refusal }
        return try receive(&request, question, principal, expected: expected)
    }

    func list(_ request: inout Request) throws(Problem) -> Response {
        let owner = try facilities.access.principal(request).owner
        let query = try Query(request.head, known: ["limit", "cursor"])
        let limit = try query.pageSize()
        do throws(CatalogueError) {
            let page = try catalogue.inputs(owner: owner, after: query.text("cursor"), limit: limit)
            let items = page.items.map { JSON.object(InputJSON.members($0, expiresAt: expiry($0))) }
            return .json(JSON.page(items, next: page.next).bytes())
        } catch {
            throw Problem(error)
        }
    }

    func describe(_ request: inout Request) throws(Problem) -> Response {
        let owner = try facilities.access.principal(request).owner
        let query = try Query(request.head, known: ["limit", "cursor"])
        var page = TensorPage()
        page.limit = try query.integer("limit", in: 1...Catalogue.maximumPageSize) ?? page.limit
        if let cursor = query.text("cursor") {
            guard let start = Int(cursor), start >= 0 else { throw Problem(CatalogueError.invalidCursor(cursor)) }
            page.start = start
        }
        let name = request.parameters["id"] ?? ""
        guard let record = try known(name, owner: owner) else { throw Self.notFound(name) }
        return try answer(record, page)
    }

    func remove(_ request: inout Request) throws(Problem) -> Response {
        let owner = try facilities.access.principal(request).owner
        _ = try Query(request.head, known: [])
        let name = request.parameters["id"] ?? ""
        guard let record = try known(name, owner: owner) else { throw Self.notFound(name) }
        let refusal = Self.failedPrecondition(request.head, record)
        // A job that needs it is told of either way (RFC 9110 section 13.2.1); nothing is unused since before all time.
        switch try publisher.remove(name, owner: owner, unusedSince: refusal == nil ? nil : .min) {
        case .removed: return Response(status: .noContent)
        case .absent: throw refusal ?? Self.notFound(name)
        case .needed(let job):
            throw Problem(
                .conflict, code: "input.in_use", title: "A job needs the input",
                detail: "Job '\(job)' is not finished; cancel it, or wait for it.", members: [("job", .string(job))])
        }
    }

    /// The entity tag of an input is that of its bytes, which are never others under its name.
    private static func failedPrecondition(_ head: RequestHead, _ record: InputRecord) -> Problem? {
        head.failedPrecondition(
            etag: ArtifactHandlers.entityTag(record.digest), lastModified: Int(record.createdAt / 1000))
    }

    static func notFound(_ name: String) -> Problem {
        Problem(.notFound, code: "input.not_found", detail: "There is no input '\(name)'.")
    }
}

// Receiving.
extension InputHandlers {
    private func receive(
        _ request: inout Request, _ question: InputQuestion, _ principal: Principal, expected: Digest?
    ) throws(Problem) -> Response {
        let kept = try keep(&request, question, principal, expected: expected)
        var response = answer(kept.record, kept.description, TensorPage())
        response.status = kept.isNew ? .created : .ok
        response.fields[.location] = InputName.location(kept.record.digest)
        return response
    }

    /// Stores the body of a request as an input of its sender's.
    func keep(
        _ request: inout Request, _ question: InputQuestion, _ principal: Principal, expected: Digest? = nil
    ) throws(Problem) -> (record: InputRecord, description: InputDescription, isNew: Bool) {
        let owner = principal.owner
        let permit = try facilities.quotas.permit(principal)
        defer { permit.end() }
        // An owner without room for a single byte is refused before it sends any.
        try permit.check(1)
        let staged: StagedContent
        do throws(StoreError) {
            staged = try facilities.store.stage()
        } catch {
            throw Problem(error)
        }
        let (finding, digest, bytes) = try fill(staged.content, question, &request, facilities.reservation(permit))
        if let expected, digest != expected {
            throw Problem(
                .badRequest, code: "digest.mismatch", title: "The bytes are not those of the name",
                detail: "The body's sha-256 is not the one that the input is named by; nothing was kept.",
                members: [("expected", .string(expected.hex)), ("found", .string(digest.hex))])
        }
        let record = InputRecord(
            owner: owner, digest: InputName.of(digest), bytes: bytes, container: finding.container.rawValue,
            dtype: question.dtype, shape: question.shape, createdAt: Clock.milliseconds())
        // Archives say at their end whether they are sound; this is looked at before anybody can name them.
        let description = try describe(StagedSource(staged.content, byteCount: bytes), question.declaration)
        let isNew = try publisher.publish(staged, as: digest) { () throws(CatalogueError) in
            try catalogue.insert(record)
        }
        return (try isNew ? record : known(record.digest, owner: owner) ?? record, description, isNew)
    }

    /// Takes a new input away again, unless somebody was told since that it is there.
    func discard(_ record: InputRecord) throws(Problem) {
        _ = try publisher.remove(record.digest, owner: record.owner, unusedSince: record.usedAt + 1)
    }

    private func fill(
        _ file: StagedFile, _ question: InputQuestion, _ request: inout Request, _ reservation: DiskReservation
    ) throws(Problem) -> (finding: InputInspection.Finding, digest: Digest, bytes: Int) {
        let declared = request.body.declaredLength
        do {
            let receiver = try InputReceiver(
                facilities, file: file, length: declared,
                inspection: InputInspection(
                    declaration: question.declaration, declaredBytes: declared, limits: facilities.limits,
                    memory: facilities.memory), hash: InputHash(), reservation: reservation)
            while try receiver.take({ (span) throws(Problem) in try request.body.read(into: &span) }) > 0 {}
            let (finding, digest) = try receiver.finish()
            return (finding, digest, receiver.offset)
        } catch let error as TransferError<Problem> {
            throw Problem(error)
        } catch let error as QuantizationError {
            throw reservation.problem(error)
        } catch let error as OpenSSLError {
            throw Problem(error)
        } catch {
            throw Problem(unexpected: error)
        }
    }

    /// The owner's input, used anew, with what `question` declares of raw bytes; nil when the owner has none.
    private func refresh(
        _ name: String, _ question: InputQuestion, _ owner: String, _ head: RequestHead
    ) throws(Problem) -> InputRecord? {
        guard var record = try known(name, owner: owner) else { return nil }
        let now = Clock.milliseconds()
        do throws(QuantizationError) {
            if let input = try question.declaration.described(totalBytes: record.bytes, limits: facilities.limits) {
                (record.container, record.dtype) = (input.container.rawValue, question.dtype)
                record.shape = question.shape
            }
        } catch {
            throw Problem(error)
        }
        if let refusal = Self.failedPrecondition(head, record) { throw refusal }
        do throws(CatalogueError) {
            // It may have been removed since: then it is sent as any other.
            guard try catalogue.useInput(name, owner: owner, at: now) else { return nil }
            record.usedAt = now
            if record.dtype != nil { try catalogue.insert(record) }
            return record
        } catch {
            throw Problem(error)
        }
    }
}

// Describing.
extension InputHandlers {
    private func known(_ name: String, owner: String) throws(Problem) -> InputRecord? {
        do throws(CatalogueError) {
            return try catalogue.input(name, owner: owner)
        } catch {
            throw Problem(error)
        }
    }

    private func expiry(_ record: InputRecord) -> Int64 {
        record.usedAt + facilities.intake.inputTimeToLive.milliseconds
    }

    private func describe(
        _ source: any ArtifactSource, _ declaration: InputDeclaration
    ) throws(Problem) -> InputDescription {
        do throws(QuantizationError) {
            return try InputDescription.of(
                source, declaration: declaration, codec: ZlibArchiveCodec(), limits: facilities.limits,
                memory: facilities.memory)
        } catch {
            throw Problem(error)
        }
    }

    private func answer(_ record: InputRecord, _ page: TensorPage = TensorPage()) throws(Problem) -> Response {
        let source: OpenedSource
        do throws(StoreError) {
            let hex = String(record.digest.dropFirst(InputName.prefix.count))
            source = OpenedSource(try facilities.store.openInput(hex))
        } catch {
            // Removed since its row was read, or lost.
            guard case .notFound = error, try known(record.digest, owner: record.owner) == nil else {
                throw Problem(error)
            }
            throw Self.notFound(record.digest)
        }
        let declaration = try QuantizeRequest.declaration(dtype: record.dtype, shape: record.shape)
        return answer(record, try describe(source, declaration), page)
    }

    private func answer(_ record: InputRecord, _ description: InputDescription, _ page: TensorPage) -> Response {
        .json(InputJSON.described(record, description, tensors: page, expiresAt: expiry(record)).bytes())
    }
}

/// What is said beside the bytes of an input.
struct InputQuestion {
    let declaration: InputDeclaration
    let dtype: String?
    let shape: String?

    /// What a query may say of an input.
    static let names: Set<String> = ["dtype", "shape"]

    init(_ head: RequestHead) throws(Problem) {
        try QuantizeRequest.refuseMultipart(head)
        try self.init(Query.items(head))
    }

    init(_ items: [Query.Item]) throws(Problem) {
        let query = try Query(items, known: Self.names)
        dtype = query.text("dtype")
        shape = query.text("shape")
        declaration = try QuantizeRequest.declaration(dtype: dtype, shape: shape)
    }
}
