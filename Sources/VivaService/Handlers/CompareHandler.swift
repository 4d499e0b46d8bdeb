import ArtifactStore
import HTTPServer
import HTTPTypes
import Quantization

/// `POST /v1/compare`: one input, every recipe: what each costs and what it loses.
///
/// Nothing is published. A sample of the weights is staged on disk without a name, so that it goes with the request.
struct CompareHandler: Sendable {
    let facilities: Facilities

    func callAsFunction(_ request: inout Request) throws(Problem) -> Response {
        try QuantizeRequest.refuseMultipart(request.head)
        let question = try CompareQuestion(Query.items(request.head))
        let permit = try facilities.quotas.permit(try facilities.access.principal(request))
        defer { permit.end() }
        let staged: StagedFile
        let scratch: StagedFile
        do throws(StoreError) {
            staged = try facilities.store.scratch()
            scratch = try facilities.store.scratch()
        } catch {
            throw Problem(error)
        }
        let reservation = facilities.reservation(permit)
        let session: ComparisonSession
        do throws(QuantizationError) {
            session = try question.session(
                declaredBytes: request.body.declaredLength, limits: facilities.limits, staged: StagedStorage(staged),
                scratch: StagedStorage(scratch), memory: facilities.memory,
                onSample: { (bytes) throws(QuantizationError) in try reservation.add(bytes) })
        } catch {
            throw reservation.problem(error)
        }
        do throws(TransferError<Problem>) {
            let comparison = try session.run { (span) throws(Problem) in try request.body.read(into: &span) }
            return try Self.answer(ComparisonJSON.json(comparison).bytes(), asPage: Page.isWanted(request.head))
        } catch {
            throw reservation.problem(error)
        }
    }

    private static func answer(_ json: [UInt8], asPage: Bool) throws(TransferError<Problem>) -> Response {
        var response: Response
        if asPage {
            do {
                response = try ComparisonPage(comparison: ComparisonDocument(json)).page.response()
            } catch {
                throw .receive(error as? Problem ?? Problem(unreadable: error))
            }
        } else {
            response = .json(json)
        }
        response.fields[.vary] = "Accept"
        return response
    }
}

/// What a comparison is asked for.
struct CompareQuestion {
    let recipes: [Recipe]
    let declaration: InputDeclaration
    let sampleLimits: SampleLimits

    /// What the route takes beside the options of recipes.
    static let names: Set<String> = ["dtype", "shape", "sample_tensors", "sample_bytes"]

    init(_ items: [Query.Item]) throws(Problem) {
        let (query, recipes) = try Query.withRecipes(items, known: Self.names, varied: Recipe.qualityOptions)
        self.recipes = recipes.filter { $0.method != .awq || $0.usesData }
        guard !self.recipes.isEmpty else {
            throw Query.invalid("AWQ without activations is method=int4&format=awq; compare that.")
        }
        declaration = try QuantizeRequest.declaration(dtype: query.text("dtype"), shape: query.text("shape"))
        var limits = SampleLimits()
        if let tensors = try query.integer("sample_tensors", in: 1...SampleLimits.mostTensors) {
            limits.maximumTensors = tensors
        }
        if let bytes = try query.integer("sample_bytes", in: 1...SampleLimits.mostBytes) {
            limits.maximumBytes = bytes
        }
        sampleLimits = limits
    }

    func session(
        declaredBytes: Int?, limits: SessionLimits, staged: StagedStorage, scratch: StagedStorage,
        memory: MemoryBudget?, onSample: @escaping (Int) throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> ComparisonSession {
        try ComparisonSession(
            recipes: recipes, declaration: declaration, declaredBytes: declaredBytes, engine: Engine.name,
            sampleLimits: sampleLimits, limits: limits, staged: staged, scratch: scratch, memory: memory,
            onSample: onSample)
    }
}
