import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import OpenSSL
import Observability
import Quantization

/// `POST /v1/quantize`: the body goes in, an artifact comes out.
///
/// The order is the promise: staged file, fsync, rename, fsync of the folder, catalogue row, answer. Whatever fails
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

    func callAsFunction(_ request: inout Request) throws(Problem) -> Response {
        let wanted = try QuantizeRequest(request.head)
        let staged: StagedArtifact
        let scratch: StagedFile
        do throws(StoreError) {
            staged = try store.stage()
            scratch = try store.scratch()
        } catch {
            throw Problem(error)
        }
        let outcome = try pump(&request, wanted, staged, scratch)
        metrics.quantized(wanted.recipe.method, outcome)
        let start = ContinuousClock().now
        let (record, isNew) = try publish(outcome, wanted, staged)
        let timing = """
            receive;dur=\(milliseconds(outcome.receiving)), finish;dur=\(milliseconds(outcome.finishing)), \
            publish;dur=\(milliseconds(ContinuousClock().now - start))
            """
        return try answer(record, isNew: isNew, isInline: wanted.isInline, timing: timing)
    }

    private func pump(
        _ request: inout Request, _ wanted: QuantizeRequest, _ staged: StagedArtifact, _ scratch: StagedFile
    ) throws(Problem) -> InputPump.Outcome {
        let session: QuantizingSession
        do {
            session = try QuantizingSession(
                recipe: wanted.recipe, declaration: wanted.declaration, declaredBytes: request.body.declaredLength,
                engine: Engine.name, limits: limits, output: StagedStorage(staged.content),
                scratch: StagedStorage(scratch), memory: memory,
                onPlan: { [store, freeBytesFloor] (layout) throws(QuantizationError) in
                    try Self.reserve(layout, store, freeBytesFloor)
                })
        } catch {
            throw Problem(error)
        }
        let pump: InputPump
        do throws(OpenSSLError) {
            pump = try InputPump(session: session, inputBytes: request.body.declaredLength, pool: pool)
        } catch {
            throw Problem(error)
        }
        do throws(InputPump.Failure<Problem>) {
            return try pump.run { (span) throws(Problem) in try request.body.read(into: &span) }
        } catch {
            switch error {
            case .receive(let problem): throw problem
            case .session(let error): throw Problem(error)
            }
        }
    }

    /// Refuses an artifact that the disk has no room for, before a weight has been received.
    private static func reserve(
        _ layout: ArtifactLayout, _ store: ArtifactStore, _ floor: Int
    ) throws(QuantizationError) {
        let free: Int
        do throws(StoreError) {
            free = try store.space().free
        } catch {
            throw .storage(StorageFailure(operation: "statvfs", code: StagedStorage.deviceFailed))
        }
        guard layout.fileBytes + layout.scratchBytes <= free - floor else {
            throw .storage(StorageFailure(operation: "reserve", code: StagedStorage.diskFull))
        }
    }

    private func publish(
        _ outcome: InputPump.Outcome, _ wanted: QuantizeRequest, _ staged: StagedArtifact
    ) throws(Problem) -> (ArtifactRecord, isNew: Bool) {
        let input = "sha256:\(outcome.inputDigest.hex)"
        let id = try Self.identifier(input: input, recipe: wanted.recipe)
        do throws(CatalogueError) {
            if let known = try catalogue.artifact(id, owner: Self.owner) { return (known, false) }
        } catch {
            throw Problem(error)
        }
        let description = ArtifactDescription(
            id: id, name: wanted.name, recipe: wanted.recipe, inputDigest: input, inputBytes: outcome.inputBytes,
            result: outcome.result)
        let digest: Digest
        do throws(StoreError) {
            digest = try staged.content.digest()
            try store.publish(staged, report: description.report().bytes(), as: id)
        } catch {
            throw Problem(error)
        }
        let record = description.record(
            digest: "sha256:\(digest.hex)", owner: Self.owner, createdAt: Clock.milliseconds())
        do throws(CatalogueError) {
            if try catalogue.insert(record) { return (record, true) }
            // Somebody sent the same bytes at the same time and was first; the file is the same.
            if let known = try catalogue.artifact(id, owner: Self.owner) { return (known, false) }
        } catch {
            throw Problem(error)
        }
        throw Problem(
            .conflict, code: "artifact.removed_meanwhile",
            detail: "The artifact existed and was deleted while this request ran; send it again.")
    }

    /// The same owner, bytes, recipe and engine give the same identifier.
    private static func identifier(input: String, recipe: Recipe) throws(Problem) -> String {
        let identity = Array("\(owner)\n\(input)\n\(recipe.canonical)\n\(Engine.version)".utf8)
        do throws(OpenSSLError) {
            return String(try SHA256.digest(of: identity).hex.prefix(32))
        } catch {
            throw Problem(error)
        }
    }

    private func answer(
        _ record: ArtifactRecord, isNew: Bool, isInline: Bool, timing: String
    ) throws(Problem) -> Response {
        var fields: HTTPFields = [.location: "/v1/artifacts/\(record.id)"]
        fields[.serverTiming] = timing
        let status: HTTPResponse.Status = isNew ? .created : .ok
        guard isInline else { return .json(Array(record.manifest.utf8), status: status, fields: fields) }
        let file = try ArtifactHandlers.open(record, store)
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
