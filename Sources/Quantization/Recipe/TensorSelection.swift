import Tensors

/// What happens to one tensor of the input.
enum Treatment: Sendable, Equatable {
    /// Quantized by one of the recipe's variants.
    case quantize(variant: Int)
    /// Copied byte for byte.
    case copy
    /// The bias of a Linear that AWQ quantizes: cast to F16, as AutoAWQ stores it.
    case castToF16
    /// Calibration data, or the scales of an FP8 weight that is quantized: read, never written.
    case calibration

    /// Which of the recipe's variants codes the tensor; nil when none does.
    var variant: Int? {
        guard case .quantize(let variant) = self else { return nil }
        return variant
    }
}

/// Decides which tensors a recipe quantizes.
///
/// With a model's architecture it is `ArchitectureRule` that decides. Without one the rule is: 2-D floating tensors
/// named `weight` or `*.weight` (or a lone tensor whatever its name), except embeddings, the output head and routers.
/// `include` replaces the rule about names, `exclude` always wins. An override selects the tensors that it matches,
/// whatever the rule about names says.
struct TensorSelection: Sendable {
    /// Names that hold embeddings or the output head, which the libraries leave in the model's type.
    static let leftOut = ["*embed*", "*wte*", "*wpe*", "*lm_head*"].map { Glob($0) }
    /// Routers of mixtures of experts: parameters without a Linear, or Linears that decide too much for few bits.
    static let routers = ["*.gate.weight", "*.wg.weight", "*router*"].map { Glob($0) }

    private let recipe: Recipe
    private let include: [Glob]
    private let exclude: [Glob]
    /// What the target library does with the architecture; nil for the rule by names.
    private let rule: ArchitectureRule?
    private let variants: [Recipe]
    private let overrides: OverrideTable

    init(_ recipe: Recipe) {
        self.recipe = recipe
        rule = recipe.architecture.flatMap { ArchitectureRule($0, recipe: recipe) }
        variants = recipe.variants
        overrides = OverrideTable(recipe.overrides, variants: variants)
        include = recipe.include.map { Glob($0) }
        exclude = recipe.exclude.map { Glob($0) }
    }

    /// The treatment of every entry, in the same order, and a warning for each that its shape excludes.
    func treatments(
        of entries: [TensorEntry], limits: SessionLimits
    ) throws(QuantizationError) -> (treatments: [Treatment], warnings: [String]) {
        var warnings: [String] = []
        let names = Set(entries.map { ExactName($0.name) })
        let takesCalibration = recipe.format == .awq || variants.contains(where: \.usesData)
        let isCalibration = entries.map { takesCalibration && calibrates($0.name, names) }
        let scales = BlockScaling.names(in: entries)
        let weights = zip(entries, isCalibration).count { !$1 && !scales.contains(ExactName($0.name)) }
        var steps = 0
        var treatments: [Treatment] = []
        treatments.reserveCapacity(entries.count)
        for (entry, calibration) in zip(entries, isCalibration) {
            if calibration {
                treatments.append(.calibration)
            } else if !scales.contains(ExactName(entry.name)),
                let variant = variant(of: entry, isLone: weights == 1, &steps)
            {
                if let problem = shapeProblem(entry, variants[variant]) {
                    warnings.append("\(entry.name) is copied as it is: \(problem)")
                    treatments.append(.copy)
                } else {
                    treatments.append(.quantize(variant: variant))
                }
            } else {
                treatments.append(.copy)
            }
            guard steps <= limits.maximumGlobSteps else {
                throw .limit(name: "glob_steps", value: steps, limit: limits.maximumGlobSteps, tensor: entry.name)
            }
        }
        if recipe.format == .awq { castBiases(entries, &treatments) }
        return (treatments, ArchitectureFindings(recipe, rule).warnings(entries, treatments) + warnings)
    }

    /// A warning for each glob of the recipe that matches no name: a slip, perhaps. Beyond a share of the work that
    /// globs may take none is found.
    func idleGlobs(_ entries: [TensorEntry], limits: SessionLimits) -> [String] {
        var steps = 0
        return (recipe.include + recipe.exclude + recipe.overrides.map(\.match)).filter { text in
            let glob = Glob(text)
            return !entries.contains { steps > limits.maximumGlobSteps / 16 || glob.matches($0.name, steps: &steps) }
        }.map { "'\($0)' matches no tensor." }
    }

    /// Why no entry is quantized, for people: the rule, and what it makes of one of them. `warnings` are those of the
    /// treatments.
    func reasonForNothing(_ entries: [TensorEntry], _ warnings: [String]) -> String {
        guard let any = entries.first else { return "The input holds no tensors." }
        let who = entries.count == 1 ? "The one tensor is no" : "None of the \(entries.count) tensors is a"
        var detail = who + " 2-D floating point weight that the recipe takes and can code."
        if let architecture = recipe.architecture, include.isEmpty {
            let (reader, format) = (recipe.reader.rawValue, recipe.format.rawValue)
            detail += " In format \(format) \(reader) quantizes none of model_type '\(architecture.modelType)'."
        }
        if let first = warnings.first { return detail + " " + first }
        let scales = BlockScaling.names(in: entries)
        let matrix = entries.first { entry in
            entry.shape.count == 2 && entry.type.isQuantizable && !scales.contains(ExactName(entry.name))
        }
        guard let matrix else { return detail + " '\(any.name)' for instance is \(any.type.rawValue) \(any.shape)." }
        var steps = 0
        if exclude.contains(where: { $0.matches(matrix.name, steps: &steps) }) {
            return detail + " exclude leaves out '\(matrix.name)' for instance."
        }
        if !include.isEmpty || rule != nil { return detail }
        return detail + " '\(matrix.name)' for instance is left out by its name: taken are '*.weight', but for "
            + "embeddings, output heads and routers; include=* takes every matrix."
    }

    /// The input with the weights that an architecture stores as [in, out] described as what they are: columns first.
    func oriented(_ input: InputDescription, _ treatments: [Treatment]) -> InputDescription {
        guard let rule else { return input }
        return input.replacing(
            entries: zip(input.entries, treatments).map { entry, treatment in
                treatment.variant != nil && rule.isTransposed(entry.name) ? entry.transposed : entry
            })
    }

    /// The variant that codes a tensor, nil when it is copied.
    private func variant(of entry: TensorEntry, isLone: Bool, _ steps: inout Int) -> Int? {
        guard entry.shape.count == 2, entry.type.isQuantizable else { return nil }
        for glob in exclude where glob.matches(entry.name, steps: &steps) { return nil }
        if let meaning = overrides.meaning(of: entry.name, steps: &steps) { return meaning }
        return isWanted(entry, isLone: isLone, &steps) ? 0 : nil
    }

    private func isWanted(_ entry: TensorEntry, isLone: Bool, _ steps: inout Int) -> Bool {
        for glob in include where glob.matches(entry.name, steps: &steps) { return true }
        if !include.isEmpty { return false }
        if let rule { return rule.quantizes(entry.name) }
        if isLone, recipe.architecture == nil { return true }
        guard entry.name.module(ofLeaf: "weight") != nil else { return false }
        return !(Self.leftOut + Self.routers).contains { $0.matches(entry.name) }
    }

    private func shapeProblem(_ entry: TensorEntry, _ recipe: Recipe) -> String? {
        if entry.elementCount == 0 { return "it holds no elements." }
        if recipe.format != .bitsandbytes, rule?.isTransposed(entry.name) == true {
            return "it is stored as [in, out], which only bitsandbytes reads quantized."
        }
        if recipe.groupedCode != nil {
            return GroupedParts.shapeProblem(columns: entry.shape[1], groupSize: recipe.groupSize)
        }
        guard recipe.format == .awq else { return nil }
        if entry.name.module(ofLeaf: "weight") == nil { return "AWQ needs the name 'weight' or '<module>.weight'." }
        return AWQLayer.shapeProblem(rows: entry.shape[0], columns: entry.shape[1], groupSize: recipe.groupSize)
    }

    private func calibrates(_ name: String, _ names: Set<ExactName>) -> Bool {
        CalibrationLeaf.allCases.contains { leaf in
            name.module(ofLeaf: leaf.rawValue).map { names.contains(ExactName($0 + "weight")) } ?? false
        }
    }

    private func castBiases(_ entries: [TensorEntry], _ treatments: inout [Treatment]) {
        let quantized = Set(zip(entries, treatments).filter { $0.1.variant != nil }.map { ExactName($0.0.name) })
        for (index, entry) in entries.enumerated() {
            guard entry.type.isQuantizable, let module = entry.name.module(ofLeaf: "bias") else { continue }
            if quantized.contains(ExactName(module + "weight")) { treatments[index] = .castToF16 }
        }
    }
}
