import Tensors

/// What every candidate makes of every tensor: the bytes from the header, the errors from one pass.
struct BudgetTable {
    /// Tensors that get the same candidate, and the elements of the weights among them.
    struct Group {
        var tensors: [Int]
        var weights: Int
    }

    let input: InputDescription
    let candidates: [BudgetCandidate]
    let groups: [Group]
    /// The artifact when all tensors get one candidate; nil where it has nothing to quantize.
    let layouts: [ArtifactLayout?]
    private let engine: String
    private let limits: SessionLimits
    /// Squared errors by candidate and tensor; empty before the pass.
    var errors: [[Double]] = []

    init(
        input: InputDescription, candidates: [BudgetCandidate], engine: String, limits: SessionLimits
    ) throws(QuantizationError) {
        self.input = input
        self.candidates = candidates
        self.engine = engine
        var limits = limits
        limits.maximumGlobSteps /= candidates.count
        self.limits = limits
        var layouts: [ArtifactLayout?] = []
        var refusal: QuantizationError?
        for candidate in candidates {
            do throws(QuantizationError) {
                layouts.append(
                    try ArtifactLayout(input: input, recipe: candidate.probe, engine: engine, limits: limits))
            } catch {
                guard case .nothingToQuantize = error else { throw error }
                refusal = error
                layouts.append(nil)
            }
        }
        if let refusal, layouts.allSatisfy({ $0 == nil }) { throw refusal }
        self.layouts = layouts
        groups = Self.groups(input, layouts, ties: candidates[0].own.format == .compressedTensors)
    }

    /// The tensors that a candidate quantizes, those of one Linear of the target library together.
    private static func groups(
        _ input: InputDescription, _ layouts: [ArtifactLayout?], ties: Bool
    ) -> [Group] {
        var groups: [Group] = []
        var places: [ExactName: Int] = [:]
        func key(_ name: String) -> ExactName { ExactName(ties ? FusedName(name).text : name) }
        for (index, entry) in input.entries.enumerated() {
            guard layouts.contains(where: { ($0?.tensors[index].codedBytes ?? 0) > 0 }) else { continue }
            if let place = places[key(entry.name)] {
                groups[place].tensors.append(index)
                groups[place].weights += entry.elementCount
            } else {
                places[key(entry.name)] = groups.count
                groups.append(Group(tensors: [index], weights: entry.elementCount))
            }
        }
        // The block scales of an FP8 weight come and go with it.
        for (index, entry) in input.entries.enumerated() {
            guard let weight = entry.name.before(suffix: "_scale_inv"), let place = places[key(weight)],
                layouts.contains(where: { $0?.tensors[index] == .calibration })
            else { continue }
            groups[place].tensors.append(index)
        }
        return groups
    }

    /// Weights that a candidate quantizes.
    var weights: Int { groups.reduce(0) { $0 + $1.weights } }

    /// The options of each group, and the candidate of each.
    func options(counting budget: Budget) -> (options: [[Allocation.Option]], candidates: [Int]) {
        let usable = candidates.indices.filter { layouts[$0] != nil }
        let options = groups.map { group in
            usable.map { candidate in
                let bytes = group.tensors.reduce(0) { $0 + self.bytes(of: $1, candidate, budget) }
                let error = errors.isEmpty ? 0 : group.tensors.reduce(0) { $0 + errors[candidate][$1] }
                return Allocation.Option(bytes: bytes, error: error.isFinite ? error : 1e300)
            }
        }
        return (options, usable)
    }

    /// The candidate of fewest bytes for each group.
    func smallest(_ budget: Budget) -> [Int] {
        let (options, usable) = options(counting: budget)
        return options.map { group in usable[group.indices.min { group[$0].bytes < group[$1].bytes } ?? 0] }
    }

    private func bytes(of tensor: Int, _ candidate: Int, _ budget: Budget) -> Int {
        guard let planned = layouts[candidate]?.tensors[tensor] else { return 0 }
        switch budget {
        case .bytes: return planned.artifactBytes
        case .bitsPerWeight: return planned.codedBytes > 0 ? planned.codedBytes : planned.artifactBytes
        }
    }

    /// Bytes of a tensor's codes and scales, or of the tensor itself where the candidate leaves it.
    func countedBytes(of tensor: Int, _ candidate: Int) -> Int { bytes(of: tensor, candidate, .bitsPerWeight(0)) }

    /// What a uniform choice takes of the budget.
    func size(ofAll candidate: Int, _ budget: Budget) -> Int? {
        guard let layout = layouts[candidate] else { return nil }
        if case .bytes = budget { return layout.fileBytes }
        return groups.reduce(0) { $0 + $1.tensors.reduce(0) { $0 + bytes(of: $1, candidate, budget) } }
    }

    /// The squared error of a uniform choice.
    func error(ofAll candidate: Int) -> Double {
        groups.reduce(0) { $0 + $1.tensors.reduce(0) { $0 + errors[candidate][$1] } }
    }

    /// The recipe that gives each group the candidate of `choices`, and its artifact: the most frequent candidate is
    /// the recipe, the others are overrides by name. Nil where the names of all overrides are too long for a header.
    func mixed(_ choices: [Int]) throws(QuantizationError) -> (recipe: Recipe, layout: ArtifactLayout)? {
        var counts = [Int](repeating: 0, count: candidates.count)
        for (group, choice) in zip(groups, choices) { counts[choice] += group.tensors.count }
        let base = counts.indices.max { counts[$0] < counts[$1] } ?? 0
        var overrides: [(Int, Override)] = []
        for (group, choice) in zip(groups, choices) where choice != base {
            for tensor in group.tensors where layouts[choice]?.tensors[tensor] != .calibration {
                let name = input.entries[tensor].name
                overrides.append((tensor, Override(match: name, recipe: candidates[choice].own)))
            }
        }
        overrides.sort { $0.0 < $1.0 }
        let recipe = candidates[base].whole.replacing(overrides: overrides.map(\.1))
        do throws(QuantizationError) {
            return (recipe, try ArtifactLayout(input: input, recipe: recipe, engine: engine, limits: limits))
        } catch .limit(name: "artifact_header_bytes", _, _, _) {
            return nil
        }
    }

    /// Whether an artifact holds of every tensor what `choices` mean: a name with a `*` may have matched another.
    func agrees(_ layout: ArtifactLayout, _ choices: [Int]) -> Bool {
        zip(groups, choices).allSatisfy { group, choice in
            group.tensors.allSatisfy {
                layout.tensors[$0].artifactBytes == layouts[choice]?.tensors[$0].artifactBytes
            }
        }
    }
}

/// The name of the Linear that vLLM makes of several: they must be coded alike.
///
/// Source: `packed_modules_mapping` of vLLM's models (qkv_proj, gate_up_proj, fused_qkv_a_proj), and its fused
/// experts.
struct FusedName {
    let text: String

    init(_ name: String) {
        if let range = name.firstRange(of: ".experts.") {
            text = String(name[..<range.upperBound])
            return
        }
        for (parts, fused) in Self.fusions {
            for part in parts {
                guard let module = name.before(suffix: ".\(part).weight") else { continue }
                text = "\(module).\(fused).weight"
                return
            }
        }
        text = name
    }

    private static let fusions = [
        (["q_proj", "k_proj", "v_proj"], "qkv_proj"), (["query", "key", "value"], "qkv_proj"),
        (["gate_proj", "up_proj"], "gate_up_proj"), (["w1", "w3"], "gate_up_proj"),
        (["q_a_proj", "kv_a_proj_with_mqa"], "fused_qkv_a_proj"),
    ]
}
