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
    let facilities: Facilities

    /// One artifact under construction.
    struct Making {
        let recipe: Recipe
        let staged: StagedContent
        let scratch: StagedFile
    }

    func callAsFunction(_ request: inout Request) throws(Problem) -> Response {
        let principal = try facilities.access.principal(request)
        let wanted = try QuantizeRequest(request.head)
        let permit = try facilities.quotas.permit(principal)
        defer { permit.end() }
        // An owner without room for a single byte is refused before it sends any.
        try permit.check(1)
        if let budget = wanted.budget {
            return try within(budget.limit, budget.candidates, &request, wanted, principal, permit)
        }
        var makings: [Making] = []
        do throws(StoreError) {
            for recipe in wanted.recipes {
                makings.append(
                    Making(
                        recipe: recipe, staged: try facilities.store.stage(), scratch: try facilities.store.scratch()))
            }
        } catch {
            throw Problem(error)
        }
        let outcome = try pump(&request, wanted, makings, facilities.reservation(permit))
        return try conclude(outcome, wanted, makings, principal)
    }

    /// Publishes what was made and answers with it.
    func conclude(
        _ outcome: InputPump.Outcome, _ wanted: QuantizeRequest, _ makings: [Making], _ principal: Principal,
        budget: BudgetOutcome? = nil
    ) throws(Problem) -> Response {
        facilities.metrics.quantized(wanted.recipes[0].method, outcome)
        let start = ContinuousClock().now
        let made = try publish(outcome, wanted, makings, budget, principal)
        let timing = """
            receive;dur=\(milliseconds(outcome.receiving)), finish;dur=\(milliseconds(outcome.finishing)), \
            publish;dur=\(milliseconds(ContinuousClock().now - start))
            """
        return try answer(made, isInline: wanted.isInline, timing: timing)
    }

    private func pump(
        _ request: inout Request, _ wanted: QuantizeRequest, _ makings: [Making], _ reservation: DiskReservation
    ) throws(Problem) -> InputPump.Outcome {
        var sessions: [QuantizingSession] = []
        do {
            for making in makings {
                sessions.append(
                    try QuantizingSession(
                        recipe: making.recipe, declaration: wanted.declaration,
                        declaredBytes: request.body.declaredLength, engine: Engine.name, limits: facilities.limits,
                        output: StagedStorage(making.staged.content), scratch: StagedStorage(making.scratch),
                        memory: facilities.memory,
                        onPlan: { (layout) throws(QuantizationError) in
                            try reservation.add(layout.fileBytes + layout.scratchBytes)
                        }))
            }
        } catch {
            throw reservation.problem(error)
        }
        let pump: InputPump
        do throws(OpenSSLError) {
            pump = InputPump(
                sessions: sessions, intake: intake(wanted, request.body.declaredLength, reservation),
                inputBytes: request.body.declaredLength, pool: facilities.pool, hash: try InputHash())
        } catch {
            throw Problem(error)
        }
        let flight = request.flight
        do throws(TransferError<Problem>) {
            return try pump.run(
                onLayer: { (_, _) throws(QuantizationError) in
                    if flight?.isOverdue == true { throw .interrupted }
                }, { (span) throws(Problem) in try request.body.read(into: &span) })
        } catch {
            if case .session(.interrupted) = error { throw .overdue }
            throw reservation.problem(error)
        }
    }

    /// Where an archive waits until it is whole; what the client described beside the bytes is none.
    private func intake(
        _ wanted: QuantizeRequest, _ declaredBytes: Int?, _ reservation: DiskReservation
    ) -> ArchiveIntake? {
        guard wanted.declaration == .recognise else { return nil }
        return ArchiveIntake(
            codec: ZlibArchiveCodec(), declaredBytes: declaredBytes, limits: facilities.limits,
            memory: facilities.memory,
            openScratch: { [store = facilities.store] () throws(StorageFailure) in
                try StagedStorage.opening { () throws(StoreError) in try store.scratch() }
            },
            reserve: { (bytes) throws(QuantizationError) in try reservation.check(bytes) })
    }

    private func publish(
        _ outcome: InputPump.Outcome, _ wanted: QuantizeRequest, _ makings: [Making], _ budget: BudgetOutcome?,
        _ principal: Principal
    ) throws(Problem) -> [ArtifactPublisher.Published] {
        let publisher = ArtifactPublisher(
            store: facilities.store, catalogue: facilities.catalogue, owner: principal.owner)
        var finished: [ArtifactPublisher.Finished] = []
        for (making, result) in zip(makings, outcome.results) {
            finished.append(
                try publisher.describe(
                    making.staged, result, recipe: making.recipe, name: wanted.name,
                    input: (outcome.inputDigest, outcome.inputBytes), declaration: wanted.declaration,
                    budget: budget))
        }
        return try publisher.publish(finished)
    }

    private func answer(
        _ made: [ArtifactPublisher.Published], isInline: Bool, timing: String
    ) throws(Problem) -> Response {
        let status: HTTPResponse.Status = made.contains(where: \.isNew) ? .created : .ok
        guard made.count == 1 else {
            let items = made.map { JSON.raw(String($0.record.manifest.dropLast())) }
            return .json(
                JSON.object([("items", .array(items))]).bytes(), status: status, fields: [.serverTiming: timing])
        }
        let record = made[0].record
        var fields: HTTPFields = [.location: "/v1/artifacts/\(record.id)"]
        fields[.serverTiming] = timing
        guard isInline else { return .json(Array(record.manifest.utf8), status: status, fields: fields) }
        let file = try ArtifactHandlers.open(record, facilities)
        for field in ArtifactHandlers.contentFields(record) { fields[field.name] = field.value }
        fields[.contentType] = QuantizeRequest.safetensors
        fields[.eTag] = ArtifactHandlers.entityTag(record.digest)
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
