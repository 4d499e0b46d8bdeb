import Tensors

/// Compares recipes on one input: stages a sample of its weights while the bytes pass, then runs the session of each
/// recipe over the sample. Nothing is published; both storages are scratch.
package final class ComparisonSession {
    private let recipes: [Recipe]
    private let declaration: InputDeclaration
    private let engine: String
    private let sampleLimits: SampleLimits
    private let limits: SessionLimits
    private let staged: any ScratchStorage
    private let scratch: any ScratchStorage
    private let memory: MemoryBudget?
    private let share: MemoryShare?
    /// Called once, with the bytes of disk that will be used.
    private let onSample: (Int) throws(QuantizationError) -> Void
    private var header: HeaderCollector
    private var work: Work?

    private struct Work {
        let input: InputDescription
        let sample: Sample
        let plans: [(recipe: Recipe, outcome: Result<PlannedArtifact, QuantizationError>)]
        var stage: SampleStage
    }

    /// A comparison of `recipes` on one input of `declaredBytes` (nil when unknown).
    package init(
        recipes: [Recipe], declaration: InputDeclaration, declaredBytes: Int?, engine: String,
        sampleLimits: SampleLimits = SampleLimits(), limits: SessionLimits = SessionLimits(),
        staged: any ScratchStorage, scratch: any ScratchStorage, memory: MemoryBudget? = nil,
        onSample: @escaping (Int) throws(QuantizationError) -> Void = { (_) throws(QuantizationError) in }
    ) throws(QuantizationError) {
        self.recipes = recipes
        self.declaration = declaration
        self.engine = engine
        self.sampleLimits = sampleLimits
        self.staged = staged
        self.scratch = scratch
        self.memory = memory
        self.onSample = onSample
        var limits = limits
        limits.maximumSearchProducts = min(limits.maximumSearchProducts, SampleLimits.searchProducts)
        self.limits = limits
        let share = memory.map { MemoryShare($0) }
        self.share = share
        header = HeaderCollector(declaredBytes: declaredBytes, limits: limits.container, memory: share)
        if let input = try declaration.described(totalBytes: declaredBytes, limits: limits) { try begin(input) }
    }

    /// Takes the next bytes of the input.
    package func consume(_ bytes: RawSpan) throws(QuantizationError) {
        if work != nil {
            try work?.stage.consume(bytes)
            return
        }
        let taken = try header.take(bytes)
        guard let (input, overshoot) = header.finished() else { return }
        try begin(input)
        if !overshoot.isEmpty { try work?.stage.consume(unsafe overshoot.span.bytes) }
        let rest = bytes.extracting(droppingFirst: taken)
        if rest.byteCount > 0 { try work?.stage.consume(rest) }
    }

    /// Takes all of an input, which `receive` fills piece by piece into the start of a buffer, and measures it.
    package func run<Failure: Error>(
        _ receive: (inout MutableRawSpan) throws(Failure) -> Int
    ) throws(TransferError<Failure>) -> Comparison {
        try transfer(receive) { (bytes) throws(QuantizationError) in
            try consume(bytes)
            return true
        }
        do throws(QuantizationError) {
            return try finish()
        } catch {
            throw .session(error)
        }
    }

    private func begin(_ input: InputDescription) throws(QuantizationError) {
        let sample = try Sample(of: input, recipes: recipes, limits: sampleLimits, sessionLimits: limits)
        let plan = FilePlan(inputs: [input], recipes: recipes, engine: engine, limits: limits)
        let refusals = plan.choices.compactMap(\.refusal)
        if refusals.count == plan.choices.count, let refusal = refusals.first { throw refusal }
        var scratchBytes = 0
        for recipe in recipes {
            guard let layout = try? ArtifactLayout(input: sample.input, recipe: recipe, engine: engine, limits: limits)
            else { continue }  // Told when its turn comes.
            scratchBytes = max(scratchBytes, layout.scratchBytes)
        }
        try onSample(sample.input.dataBytes + scratchBytes)
        work = Work(
            input: input, sample: sample, plans: plan.choices.map { ($0.recipe, $0.outcome) },
            stage: SampleStage(sample: sample, whole: input, storage: staged))
    }

    /// Ends the input and measures every recipe.
    ///
    /// A recipe that cannot take these weights is told among the refusals; what no recipe can take is thrown.
    package func finish() throws(QuantizationError) -> Comparison {
        guard var work else { throw header.endedEarly }
        self.work = nil
        try work.stage.finish()
        var points: [ComparisonPoint] = []
        var refusals: [(recipe: Recipe, error: QuantizationError)] = []
        for (recipe, outcome) in work.plans {
            do throws(QuantizationError) {
                points.append(try measure(recipe, try outcome.get(), work.sample))
            } catch {
                let error = work.sample.translated(error, whole: work.input)
                guard error.isOfOneRecipe else { throw error }
                refusals.append((recipe, error))
            }
        }
        if points.isEmpty, let refusal = refusals.first { throw refusal.error }
        return Comparison(
            input: work.input, sample: work.sample, sampleLimits: sampleLimits, points: points, refusals: refusals)
    }

    private func measure(
        _ recipe: Recipe, _ plan: PlannedArtifact, _ sample: Sample
    ) throws(QuantizationError) -> ComparisonPoint {
        let session = try QuantizingSession(
            recipe: recipe, declaration: .recognise, declaredBytes: nil, engine: engine, limits: limits,
            output: DiscardingOutput(), scratch: scratch, memory: memory)
        try session.begin(sample.input)
        let clock = ContinuousClock()
        var duration = Duration.zero
        try StagedInput(storage: staged, bytes: sample.input.dataBytes).forEach { (bytes) throws(QuantizationError) in
            let start = clock.now
            try session.consume(bytes)
            duration += clock.now - start
        }
        let start = clock.now
        let result = try session.finish(inputDigest: ArtifactLayout.unknownDigest)
        duration += clock.now - start
        let seconds =
            Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
        return ComparisonPoint(
            plan: plan, report: result.report, seconds: seconds, sampleBytes: sample.input.dataBytes)
    }
}

/// An input that lies on scratch storage, to be read from its start to its end as often as it is needed.
struct StagedInput {
    let storage: any ScratchStorage
    let bytes: Int

    /// How much is read at once.
    private static let pieceBytes = 512 << 10

    /// Gives the bytes in order.
    func forEach(_ take: (RawSpan) throws(QuantizationError) -> Void) throws(QuantizationError) {
        var buffer = [UInt8](repeating: 0, count: min(Self.pieceBytes, bytes))
        var position = 0
        while position < bytes {
            let count = min(buffer.count, bytes - position)
            do throws(StorageFailure) {
                var span = buffer.mutableSpan
                var room = unsafe span.mutableBytes
                var wanted = room._mutatingExtracting(first: count)
                try storage.read(into: &wanted, at: position)
            } catch {
                throw .storage(error)
            }
            try take(unsafe buffer.span.bytes.extracting(first: count))
            position += count
        }
    }
}

/// Where the codes of a comparison go: nowhere.
final class DiscardingOutput: ArtifactOutput {
    func write(_ bytes: RawSpan, at offset: Int) throws(StorageFailure) {}
}

extension QuantizationError {
    /// Whether another recipe may still take the same input.
    fileprivate var isOfOneRecipe: Bool {
        switch self {
        case .recipe, .outOfRange, .limit, .nothingToQuantize, .calibration, .gate, .budget: true
        case .container(let error): error.code == "tensor.name_conflict"
        case .truncated, .trailingBytes, .nonFinite, .busy, .scales, .artifact, .snapshot, .interrupted, .storage:
            false
        }
    }
}
