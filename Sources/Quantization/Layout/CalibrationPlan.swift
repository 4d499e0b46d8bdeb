import Tensors

/// What is known of the inputs of each weight that a recipe codes, from headers alone.
struct CalibrationPlan: Sendable {
    /// For every entry of the input; `.none` where the recipe uses no data or there is none.
    private(set) var knowledge: [Knowledge]
    /// The tokens for each input of the weights whose activations are given, in input order.
    private(set) var coverage: [(name: String, coverage: Double)] = []
    /// The weights that could be coded with data and have none, in input order.
    private var withoutData: [String] = []
    /// What to say of those whose shape does not go with data.
    private var unfit: [String] = []
    /// Whether the input has one weight alone that is quantized: bare names mean that.
    let isLone: Bool
    /// Whether there is data for any weight.
    private(set) var isUsed = false
    /// Modules that see the very same tokens, by architecture: those without data use the others'.
    private(set) var sharing: [[String]] = []
    /// Where the scales of the Linears go; nil where they are not folded.
    private(set) var fold: FoldPlan?

    /// What the codes of the tensor at `index` are chosen by, with the recipe that codes it; nil where they depend on
    /// its weights alone, or the library's own searches run.
    func calibrated(_ index: Int, _ recipe: Recipe) -> Knowledge? {
        recipe.mode == .best && knowledge[index] != .none ? knowledge[index] : nil
    }

    /// Whether AWQ's layout takes the tensor at `index` as it arrives: its codes depend on its weights alone, and no
    /// scales are folded into it.
    func arrivesAsAWQ(_ index: Int) -> Bool { knowledge[index] == .none && fold?.uses[index] == nil }

    /// The most names in one warning.
    private static let namesInWarning = 10

    /// Looks up the data of every weight, in the input itself and in `file`.
    ///
    /// Throws `calibration` for data that does not fit its weight, that a choice of the recipe cannot do with, or that
    /// is nowhere, unless the input is a shard; `limit` for a Linear that is too wide or a search that would not end.
    init(
        _ entries: [TensorEntry], _ treatments: [Treatment], _ variants: [Recipe], file: CalibrationFile?,
        neighbours: NeighbourTreatments, limits: SessionLimits, isShard: Bool
    ) throws(QuantizationError) {
        knowledge = Array(repeating: .none, count: entries.count)
        isLone = treatments.count { $0.variant != nil } == 1
        guard variants.contains(where: \.usesData) else { return }
        let (all, treated) = (entries + neighbours.entries, treatments + neighbours.treatments)
        let own = zip(all, treated).filter { $1 == .calibration }.map(\.0)
        for entry in own { try Self.checkOrder(entry) }
        let described = own.map { CalibrationTensor($0.widened, base: 0, storage: UnreadBytes()) }
        sharing = Self.sharing(all, treated, variants[0].architecture)
        let index = try CalibrationIndex(described + (file?.entries ?? []), sharing: sharing, limits: limits)
        for (position, (entry, treatment)) in zip(entries, treatments).enumerated() {
            guard let variant = treatment.variant, variants[variant].usesData else { continue }
            let layer = try index.layer(ofWeight: entry.name, columns: entry.shape[1], isLone: isLone)
            try Self.check(layer, of: entry, variants[variant], limits)
            guard let layer, layer.knowledge != .none else {
                withoutData.append(entry.name)
                continue
            }
            if let problem = Self.shapeProblem(entry, variants[variant]) {
                unfit.append("\(entry.name) is coded without its calibration data: \(problem).")
                continue
            }
            knowledge[position] = layer.knowledge
            if let tokens = layer.activations?.shape[0] {
                let tokens = variants[variant].mode == .best ? InputMoments.calibrationTokens(of: tokens) : tokens
                coverage.append((entry.name, Double(tokens) / Double(max(1, entry.shape[1]))))
            }
        }
        isUsed = knowledge.contains { $0 != .none }
        if !isUsed, !isShard {
            if let first = unfit.first { throw .calibration(code: "calibration.shape", detail: first) }
            if let first = withoutData.first { throw Self.missing(first) }
        }
        guard variants[0].coding.scaling == .fold else { return }
        var coding = Self.coding(treated, variants)
        for (position, entry) in all.enumerated() {
            guard let variant = treated[position].variant, variants[variant].usesData else { continue }
            guard case .scalable = coding[position], Self.shapeProblem(entry, variants[variant]) == nil else {
                continue
            }
            let layer = try index.layer(ofWeight: entry.name, columns: entry.shape[1])
            coding[position] = .scalable(hasData: layer.map { $0.knowledge != .none } ?? false)
        }
        fold = try FoldPlan(all, coding, architecture: variants[0].architecture, local: entries.count)
        try neighbours.check(fold, local: entries.count)
        // A file without any Linear may hold norms that stand in front of those of another file.
        isUsed = isUsed || fold.map { !$0.groups.isEmpty } ?? false
    }

    /// What folding may do with each tensor; nothing is known of the inputs yet.
    private static func coding(_ treatments: [Treatment], _ variants: [Recipe]) -> [FoldCoding] {
        treatments.map { treatment in
            switch treatment {
            case .calibration: .absent
            case .copy, .castToF16: .copied
            case .quantize(let variant):
                variants[variant].format == .awq && variants[variant].coding.scaling != .keep
                    ? .scalable(hasData: false) : .fixed
            }
        }
    }

    /// Modules that see the same tokens.
    private static func sharing(
        _ entries: [TensorEntry], _ treatments: [Treatment], _ architecture: Architecture?
    ) -> [[String]] {
        let coding = treatments.map { $0 == .calibration ? FoldCoding.absent : .copied }
        return FoldPlan.sharedInputs(entries, coding, architecture: architecture).map { set in
            set.compactMap { entries[$0].name.module(ofLeaf: "weight") }
        }
    }

    /// What to say of the weights that are coded without data.
    var warnings: [String] {
        guard let first = withoutData.first else { return unfit }
        if withoutData.count == 1 { return ["\(first) has no calibration data; it is rounded to nearest."] + unfit }
        let count = withoutData.count
        return ["\(count) weights have no calibration data and are rounded to nearest: \(Self.names(withoutData))."]
            + unfit
    }

    /// Names for a warning: the first of many.
    static func names(_ names: [String]) -> String {
        let told = names.prefix(namesInWarning).joined(separator: ", ")
        return names.count > namesInWarning ? "\(told) and \(names.count - namesInWarning) more" : told
    }

    /// Refuses data with which a weight cannot be coded as the recipe wants it.
    private static func check(
        _ layer: LayerCalibration?, of entry: TensorEntry, _ recipe: Recipe, _ limits: SessionLimits
    ) throws(QuantizationError) {
        if recipe.needsActivations {
            guard let activations = layer?.activations else { throw missing(entry.name, isReference: true) }
            if recipe.coding.scaling == .keep { try limits.checkSearch(entry, tokens: activations.shape[0]) }
            return
        }
        guard let layer else { return }
        try limits.checkCalibrated(entry)
        if recipe.coding.rounding == .gptq, layer.knowledge < .gram {
            throw .calibration(
                code: "calibration.missing",
                detail: "rounding=gptq needs '\(layer.module)activations', or a '\(layer.module)gram' of all inputs, "
                    + "for '\(entry.name)'; rounding=auto does with less.")
        }
    }

    private static func missing(_ weight: String, isReference: Bool = false) -> QuantizationError {
        let module = weight.module(ofLeaf: "weight") ?? ""
        let wanted = "'\(module)activations' [tokens, in]"
        let less = isReference ? "mode=best does with less" : "or '\(module)gram', or '\(module)square_mean'"
        return .calibration(
            code: "calibration.missing",
            detail: isReference
                ? "AWQ's reference needs \(wanted) for '\(weight)'; \(less), calibration=none with nothing."
                : "No weight has calibration data: '\(weight)' for instance would need \(wanted), \(less); "
                    + "calibration=none does with nothing.")
    }

    /// Why the codes of a weight cannot be chosen by data.
    private static func shapeProblem(_ entry: TensorEntry, _ recipe: Recipe) -> String? {
        guard recipe.mode == .best else { return nil }
        return CalibratedLayer.shapeProblem(
            rows: entry.shape[0], columns: entry.shape[1], options: CalibratedOptions(recipe))
    }

    /// A matrix can be turned while it is staged; nothing else has two orders that a file would tell apart.
    private static func checkOrder(_ entry: TensorEntry) throws(QuantizationError) {
        guard entry.isFortranOrder, entry.shape.count != 2 else { return }
        throw .calibration(
            code: "calibration.shape",
            detail: "'\(entry.name)' \(entry.shape) is stored column by column; store it in C order.")
    }
}

/// Stands for bytes that have not come yet, while headers are looked at.
private final class UnreadBytes: StoredBytes {
    func read(into bytes: inout MutableRawSpan, at offset: Int) throws(StorageFailure) {
        throw StorageFailure(operation: "read", code: 9)
    }
}
