import Tensors

/// What a budget led to, beside what uniform choices would have.
package struct BudgetOutcome: Sendable {
    /// All tensors in one way of coding.
    package struct Uniform: Sendable {
        /// The way.
        package let recipe: Recipe
        /// Bytes of the artifact.
        package let bytes: Int
        /// Bits of each selected weight.
        package let bitsPerWeight: Double
        /// Σ (x − x̂)² of all weights.
        package let squaredError: Double
        /// Whether it is within the budget.
        package let fits: Bool
    }

    /// How many tensors got one way of coding.
    package struct Share: Sendable {
        /// The way.
        package let recipe: Recipe
        /// Tensors that have it.
        package let tensors: Int
    }

    /// What was asked for.
    package let budget: Budget
    /// Bytes of the artifact.
    package let bytes: Int
    /// Bits of each selected weight.
    package let bitsPerWeight: Double
    /// Σ (x − x̂)² of all weights.
    package let squaredError: Double
    /// Whether no other choice within the budget has less error.
    package let isOptimal: Bool
    /// The ways that were given to tensors.
    package let shares: [Share]
    /// Every uniform choice.
    package let uniforms: [Uniform]
    /// The uniform choice of the least error within the budget; nil where none is.
    package var bestUniform: Uniform? {
        uniforms.filter(\.fits).min { ($0.squaredError, $0.bytes) < ($1.squaredError, $1.bytes) }
    }
}

/// Makes the artifact of least error that a budget allows.
///
/// While the bytes pass they are staged, and a session of every candidate measures them; then a candidate is chosen for
/// each tensor, and one more session makes the artifact from the staged bytes.
package final class BudgetSession {
    private let budget: Budget
    private let candidates: [BudgetCandidate]
    private let engine: String
    private let limits: SessionLimits
    private let output: any ArtifactOutput
    private let staged: any ScratchStorage
    private let openScratch: () throws(StorageFailure) -> any ScratchStorage
    private let memory: MemoryBudget?
    private let share: MemoryShare?
    /// Called with the bytes of disk that will be used beside the artifact, then with those of the artifact.
    private let reserve: (Int) throws(QuantizationError) -> Void
    private var header: HeaderCollector
    private var table: BudgetTable?
    private var probes: [QuantizingSession?] = []
    private var position = 0

    /// A session for one input of `declaredBytes` (nil when unknown), writing to `output`.
    ///
    /// The input is kept in `staged`; `openScratch` gives each of the sessions scratch storage of its own.
    package init(
        budget: Budget, candidates: [BudgetCandidate], declaration: InputDeclaration, declaredBytes: Int?,
        engine: String, limits: SessionLimits = SessionLimits(), output: any ArtifactOutput,
        staged: any ScratchStorage, openScratch: @escaping () throws(StorageFailure) -> any ScratchStorage,
        memory: MemoryBudget? = nil,
        reserve: @escaping (Int) throws(QuantizationError) -> Void = { (_) throws(QuantizationError) in }
    ) throws(QuantizationError) {
        self.budget = budget
        self.candidates = candidates
        self.engine = engine
        self.limits = limits
        self.output = output
        self.staged = staged
        self.openScratch = openScratch
        self.memory = memory
        self.reserve = reserve
        let share = memory.map { MemoryShare($0) }
        self.share = share
        header = HeaderCollector(declaredBytes: declaredBytes, limits: limits.container, memory: share)
        if let input = try declaration.described(totalBytes: declaredBytes, limits: limits) { try begin(input) }
    }

    /// Takes the next bytes of the input.
    package func consume(_ bytes: RawSpan) throws(QuantizationError) {
        guard table == nil else { return try take(bytes) }
        let taken = try header.take(bytes)
        guard let (input, overshoot) = header.finished() else { return }
        try begin(input)
        if !overshoot.isEmpty { try take(unsafe overshoot.span.bytes) }
        let rest = bytes.extracting(droppingFirst: taken)
        if rest.byteCount > 0 { try take(rest) }
    }

    private func begin(_ input: InputDescription) throws(QuantizationError) {
        let table = try BudgetTable(input: input, candidates: candidates, engine: engine, limits: limits)
        try refuseTooSmall(table)
        let scratch = table.layouts.reduce(0) { $0 + ($1?.scratchBytes ?? 0) }
        try reserve(input.dataBytes + scratch)
        for (candidate, layout) in zip(candidates, table.layouts) {
            guard layout != nil else {
                probes.append(nil)
                continue
            }
            let probe = try session(candidate.probe, DiscardingOutput())
            try probe.begin(input)
            probes.append(probe)
        }
        self.table = table
    }

    private func session(
        _ recipe: Recipe, _ output: any ArtifactOutput
    ) throws(QuantizationError) -> QuantizingSession {
        let scratch: any ScratchStorage
        do throws(StorageFailure) { scratch = try openScratch() } catch { throw .storage(error) }
        return try QuantizingSession(
            recipe: recipe, declaration: .recognise, declaredBytes: nil, engine: engine, limits: limits,
            output: output, scratch: scratch, memory: memory)
    }

    /// Refuses a budget that even the smallest choice exceeds: known from the header.
    private func refuseTooSmall(_ table: BudgetTable) throws(QuantizationError) {
        var sizes = candidates.indices.compactMap { table.size(ofAll: $0, budget) }
        switch budget {
        case .bytes(let bytes):
            if let mixed = try table.mixed(table.smallest(budget)) { sizes.append(mixed.layout.fileBytes) }
            guard let least = sizes.min(), least > bytes else { return }
            throw .budget(name: "budget_bytes", value: Double(bytes), smallest: Double(least))
        case .bitsPerWeight(let bits):
            let options = table.options(counting: budget).options
            sizes.append(options.reduce(0) { $0 + ($1.map(\.bytes).min() ?? 0) })
            guard let least = sizes.min(), least > room(table) else { return }
            throw .budget(
                name: "budget_bits_per_weight", value: bits,
                smallest: Double(least) * 8 / Double(max(1, table.weights)))
        }
    }

    /// The bytes that tensors may take together, the rest of the file not counted.
    private func room(_ table: BudgetTable) -> Int {
        switch budget {
        case .bytes(let bytes): bytes
        case .bitsPerWeight(let bits): Int(min(bits / 8 * Double(table.weights), 1e18))
        }
    }

    private func take(_ bytes: RawSpan) throws(QuantizationError) {
        for probe in probes { try probe?.consume(bytes) }
        do throws(StorageFailure) { try staged.write(bytes, at: position) } catch { throw .storage(error) }
        position += bytes.byteCount
    }

    /// Ends the input: chooses, makes the artifact and says what was chosen.
    package func finish(
        inputDigest: String
    ) throws(QuantizationError) -> (recipe: Recipe, result: SessionResult, outcome: BudgetOutcome) {
        guard var table else { throw header.endedEarly }
        self.table = nil
        table.errors = try measured(table.input)
        let choice = try BudgetChoice(table, budget: budget, room: room(table))
        try reserve(choice.layout.fileBytes + choice.layout.scratchBytes)
        let session = try session(choice.recipe, output)
        try session.begin(table.input)
        try StagedInput(storage: staged, bytes: position).forEach { (bytes) throws(QuantizationError) in
            try session.consume(bytes)
        }
        return (choice.recipe, try session.finish(inputDigest: inputDigest), choice.outcome)
    }

    /// The squared error of every candidate and tensor; what the probes hold is given back.
    private func measured(_ input: InputDescription) throws(QuantizationError) -> [[Double]] {
        let probes = probes
        self.probes = []
        var errors: [[Double]] = []
        for probe in probes {
            var byName: [ExactName: Double] = [:]
            if let report = try probe?.finish(inputDigest: ArtifactLayout.unknownDigest).report {
                for tensor in report.tensors {
                    byName[ExactName(tensor.entry.name)] = tensor.quality?.sums.squaredError
                }
            }
            errors.append(input.entries.map { byName[ExactName($0.name)] ?? 0 })
        }
        return errors
    }
}

/// The choice of a budget.
private struct BudgetChoice {
    let recipe: Recipe
    let layout: ArtifactLayout
    let outcome: BudgetOutcome

    /// How often the room for tensors is cut where the names of overrides make the header longer than was thought.
    private static let attempts = 8

    init(_ table: BudgetTable, budget: Budget, room: Int) throws(QuantizationError) {
        let uniforms: [(candidate: Int, uniform: BudgetOutcome.Uniform)] = table.candidates.indices.compactMap {
            index in
            guard let layout = table.layouts[index], let size = table.size(ofAll: index, budget) else { return nil }
            let coded = table.size(ofAll: index, .bitsPerWeight(0)) ?? 0
            return (
                index,
                BudgetOutcome.Uniform(
                    recipe: table.candidates[index].own, bytes: layout.fileBytes,
                    bitsPerWeight: Double(coded) * 8 / Double(max(1, table.weights)),
                    squaredError: table.error(ofAll: index), fits: size <= room)
            )
        }
        let best = uniforms.filter(\.uniform.fits).min {
            ($0.uniform.squaredError, $0.uniform.bytes) < ($1.uniform.squaredError, $1.uniform.bytes)
        }
        var all: [Found] = []
        if let found = try Self.search(table, budget, room) { all.append(found) }
        let isExact = all.first?.isOptimal ?? false
        if let best {
            let choices = table.groups.map { _ in best.candidate }
            guard let (recipe, layout) = try table.mixed(choices) else { throw Self.nothing }
            // Where the search is exact, what is as good is the best there is.
            all.append((choices, best.uniform.squaredError, isExact, recipe, layout))
        } else if all.isEmpty {
            all.append(try Self.smallest(table, budget))
        }
        guard let found = all.min(by: { ($0.error, $0.layout.fileBytes) < ($1.error, $1.layout.fileBytes) }) else {
            throw Self.nothing
        }
        recipe = found.recipe
        layout = found.layout
        let coded = zip(table.groups, found.choices).reduce(0) { sum, item in
            sum + item.0.tensors.reduce(0) { $0 + table.countedBytes(of: $1, item.1) }
        }
        let shares = table.candidates.indices.compactMap { index -> BudgetOutcome.Share? in
            let tensors = zip(table.groups, found.choices).reduce(0) { $0 + ($1.1 == index ? $1.0.tensors.count : 0) }
            return tensors == 0 ? nil : .init(recipe: table.candidates[index].own, tensors: tensors)
        }
        outcome = BudgetOutcome(
            budget: budget, bytes: found.layout.fileBytes,
            bitsPerWeight: Double(coded) * 8 / Double(max(1, table.weights)), squaredError: found.error,
            isOptimal: found.isOptimal, shares: shares, uniforms: uniforms.map(\.uniform))
    }

    /// The header has shown a choice within the budget, so this is not reached.
    private static let nothing = QuantizationError.nothingToQuantize(
        detail: "No choice of options for each tensor is within the budget.")

    private typealias Found = (
        choices: [Int], error: Double, isOptimal: Bool, recipe: Recipe, layout: ArtifactLayout
    )

    /// The choice of fewest bytes: the header has shown that it is within the budget.
    private static func smallest(_ table: BudgetTable, _ budget: Budget) throws(QuantizationError) -> Found {
        let choices = table.smallest(budget)
        let error = zip(table.groups, choices).reduce(0) { sum, item in
            sum + item.0.tensors.reduce(0) { $0 + table.errors[item.1][$1] }
        }
        guard let (recipe, layout) = try table.mixed(choices) else { throw nothing }
        return (choices, error, false, recipe, layout)
    }

    private static func search(
        _ table: BudgetTable, _ budget: Budget, _ room: Int
    ) throws(QuantizationError) -> Found? {
        let (options, usable) = table.options(counting: budget)
        var room = room
        if case .bytes = budget {
            let overheads = usable.compactMap { candidate in
                table.layouts[candidate].map { layout in
                    layout.fileBytes
                        - table.groups.reduce(0) {
                            $0 + $1.tensors.reduce(0) { $0 + layout.tensors[$1].artifactBytes }
                        }
                }
            }
            room -= overheads.min() ?? 0
        }
        for attempt in 0..<attempts {
            guard let allocation = Allocation.best(of: options, budget: room) else { return nil }
            let choices = allocation.choices.map { usable[$0] }
            guard let (recipe, layout) = try table.mixed(choices), table.agrees(layout, choices) else { return nil }
            guard case .bytes(let bytes) = budget, layout.fileBytes > bytes else {
                return (choices, allocation.error, allocation.isOptimal && attempt == 0, recipe, layout)
            }
            room -= layout.fileBytes - bytes
        }
        return nil
    }
}
