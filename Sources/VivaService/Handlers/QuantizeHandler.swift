import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import OpenSSL
import Observability
import Quantization

/// `POST /v1/quantize`: the body goes in, an artifact comes out, or one for each format that was asked for.
///
/// The order is the promise: staged files, fsync, rename, fsync of the folder, catalogue rows, answer. Whatever fails
/// before the row leaves nothing behind.
struct QuantizeHandler: Sendable {
    let store: ArtifactStore
    let catalogue: Catalogue
    let metrics: ServiceMetrics
    let pool: BufferPool
    let memory: MemoryBudget
    let limits: SessionLimits
    let freeBytesFloor: Int

    /// Until keys exist everything belongs to one owner.
    static let owner = "local"

    /// One artifact under construction.
    struct Making {
        let recipe: Recipe
        let staged: StagedContent
        let scratch: StagedFile
    }

    func callAsFunction(_ request: inout Request) throws(Problem) -> Response {
        let wanted = try QuantizeRequest(request.head)
        if let budget = wanted.budget { return try within(budget.limit, budget.candidates, &request, wanted) }
        var makings: [Making] = []
        do throws(StoreError) {
            for recipe in wanted.recipes {
                makings.append(Making(recipe: recipe, staged: try store.stage(), scratch: try store.scratch()))
            }
        } catch {
            throw Problem(error)
        }
        let outcome = try pump(&request, wanted, makings)
        return try conclude(outcome, wanted, makings)
    }

    /// Publishes what was made and answers with it.
    func conclude(
        _ outcome: InputPump.Outcome, _ wanted: QuantizeRequest, _ makings: [Making], budget: BudgetOutcome? = nil
    ) throws(Problem) -> Response {
        metrics.quantized(wanted.recipes[0].method, outcome)
        let start = ContinuousClock().now
        let made = try publish(outcome, wanted, makings, budget)
        let timing = """
            receive;dur=\(milliseconds(outcome.receiving)), finish;dur=\(milliseconds(outcome.finishing)), \
            publish;dur=\(milliseconds(ContinuousClock().now - start))
            """
        return try answer(made, isInline: wanted.isInline, timing: timing)
    }

    private func pump(
        _ request: inout Request, _ wanted: QuantizeRequest, _ makings: [Making]
    ) throws(Problem) -> InputPump.Outcome {
        let reservation = DiskReservation(store: store, floor: freeBytesFloor)
        var sessions: [QuantizingSession] = []
        do {
            for making in makings {
                sessions.append(
                    try QuantizingSession(
                        recipe: making.recipe, declaration: wanted.declaration,
                        declaredBytes: request.body.declaredLength, engine: Engine.name, limits: limits,
                        output: StagedStorage(making.staged.content), scratch: StagedStorage(making.scratch),
                        memory: memory,
                        onPlan: { (layout) throws(QuantizationError) in
                            try reservation.add(layout.fileBytes + layout.scratchBytes)
                        }))
            }
        } catch {
            throw Problem(error)
        }
        let pump: InputPump
        do throws(OpenSSLError) {
            pump = try InputPump(
                sessions: sessions, intake: intake(wanted, request.body.declaredLength, reservation),
                inputBytes: request.body.declaredLength, pool: pool)
        } catch {
            throw Problem(error)
        }
        do throws(TransferError<Problem>) {
            return try pump.run { (span) throws(Problem) in try request.body.read(into: &span) }
        } catch {
            throw Problem(error)
        }
    }

    /// Where an archive waits until it is whole; what the client described beside the bytes is none.
    private func intake(
        _ wanted: QuantizeRequest, _ declaredBytes: Int?, _ reservation: DiskReservation
    ) -> ArchiveIntake? {
        guard wanted.declaration == .recognise else { return nil }
        return ArchiveIntake(
            codec: ZlibArchiveCodec(), declaredBytes: declaredBytes, limits: limits, memory: memory,
            openScratch: { [store] () throws(StorageFailure) in
                try StagedStorage.opening { () throws(StoreError) in try store.scratch() }
            },
            reserve: { (bytes) throws(QuantizationError) in try reservation.check(bytes) })
    }

    /// Makes the artifacts durable and visible, all of them or none: the rows are one transaction, and files without a
    /// row are swept at the next start.
    private func publish(
        _ outcome: InputPump.Outcome, _ wanted: QuantizeRequest, _ makings: [Making], _ budget: BudgetOutcome?
    ) throws(Problem) -> [(record: ArtifactRecord, isNew: Bool)] {
        let input = "sha256:\(outcome.inputDigest.hex)"
        var ids: [String] = []
        for making in makings {
            ids.append(try Self.identifier(input: input, recipe: making.recipe, budget: budget?.budget))
        }
        return try store.inTurn(ids) { () throws(Problem) in
            try publish(outcome, wanted, makings, budget, input: input, as: ids)
        }
    }

    private func publish(
        _ outcome: InputPump.Outcome, _ wanted: QuantizeRequest, _ makings: [Making], _ budget: BudgetOutcome?,
        input: String, as ids: [String]
    ) throws(Problem) -> [(record: ArtifactRecord, isNew: Bool)] {
        var made: [(record: ArtifactRecord, isNew: Bool)] = []
        for ((making, result), id) in zip(zip(makings, outcome.results), ids) {
            if let known = try known(id) {
                made.append((known, false))
                continue
            }
            let description = ArtifactDescription(
                id: id, name: wanted.name, recipe: making.recipe, inputDigest: input, inputBytes: outcome.inputBytes,
                result: result, budget: budget)
            do throws(StoreError) {
                let digest = try making.staged.content.digest()
                try store.publish(making.staged, report: description.report().bytes(), as: id)
                made.append(
                    (
                        description.record(
                            digest: "sha256:\(digest.hex)", owner: Self.owner, createdAt: Clock.milliseconds()),
                        true
                    ))
            } catch {
                throw Problem(error)
            }
        }
        return try record(made)
    }

    /// Writes the rows of the new artifacts.
    private func record(
        _ made: [(record: ArtifactRecord, isNew: Bool)]
    ) throws(Problem) -> [(record: ArtifactRecord, isNew: Bool)] {
        let fresh = made.filter(\.isNew).map(\.record)
        guard !fresh.isEmpty else { return made }
        let inserted: [Bool]
        do throws(CatalogueError) {
            inserted = try catalogue.insert(fresh)
        } catch {
            throw Problem(error)
        }
        var remaining = inserted[...]
        var recorded: [(record: ArtifactRecord, isNew: Bool)] = []
        for item in made {
            guard item.isNew, remaining.popFirst() == false else {
                recorded.append(item)
                continue
            }
            // Somebody sent the same bytes at the same time and was first; the file is the same.
            guard let known = try known(item.record.id) else {
                throw Problem(
                    .conflict, code: "artifact.removed_meanwhile",
                    detail: "The artifact existed and was deleted while this request ran; send it again.")
            }
            recorded.append((known, false))
        }
        return recorded
    }

    private func known(_ id: String) throws(Problem) -> ArtifactRecord? {
        do throws(CatalogueError) {
            return try catalogue.artifact(id, owner: Self.owner)
        } catch {
            throw Problem(error)
        }
    }

    /// The same owner, bytes, recipe and engine give the same identifier.
    private static func identifier(input: String, recipe: Recipe, budget: Budget?) throws(Problem) -> String {
        let limit = budget.map { "\n\($0.option.name)=\($0.option.text)" } ?? ""
        let identity = Array("\(owner)\n\(input)\n\(recipe.canonical)\n\(Engine.version)\(limit)".utf8)
        do throws(OpenSSLError) {
            return String(try SHA256.digest(of: identity).hex.prefix(32))
        } catch {
            throw Problem(error)
        }
    }

    private func answer(
        _ made: [(record: ArtifactRecord, isNew: Bool)], isInline: Bool, timing: String
    ) throws(Problem) -> Response {
        let status: HTTPResponse.Status = made.contains(where: \.isNew) ? .created : .ok
        guard made.count == 1 else {
            let items = made.map { JSON.raw($0.record.manifest) }
            return .json(
                JSON.object([("items", .array(items))]).bytes(), status: status, fields: [.serverTiming: timing])
        }
        let record = made[0].record
        var fields: HTTPFields = [.location: "/v1/artifacts/\(record.id)"]
        fields[.serverTiming] = timing
        guard isInline else { return .json(Array(record.manifest.utf8), status: status, fields: fields) }
        let file = try ArtifactHandlers.open(record, store, catalogue)
        for field in ArtifactHandlers.contentFields(record) { fields[field.name] = field.value }
        fields[.contentType] = QuantizeRequest.safetensors
        fields[.eTag] = ArtifactHandlers.entityTag(record)
        return Response(status: status, fields: fields, body: .file(file))
    }

    private func milliseconds(_ duration: Duration) -> String {
        let microseconds = duration.components.seconds * 1_000_000 + duration.components.attoseconds / 1_000_000_000_000
        return "\(microseconds / 1000).\(String(1000 + microseconds % 1000).dropFirst())"
    }
}

extension HTTPField.Name {
    static let serverTiming = HTTPField.Name("Server-Timing") ?? .server
}
