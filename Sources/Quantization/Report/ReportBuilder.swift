import Tensors

/// Gathers the report tensor by tensor.
struct ReportBuilder {
    private let warnings: [String]
    private let errors: ErrorCounts
    private var tensors: [TensorReport] = []
    private var pooled = QualitySums()
    private var totalWeights = 0
    private var codedBytes = 0
    /// 2-D weights that stay as they are: modules a loader must skip.
    private(set) var skippedModules: [String] = []
    /// Modules that an override codes otherwise, with their recipes.
    private(set) var variedModules: [VariedModule] = []
    /// Σ of the code bits of all quantized weights.
    private var codeBits = 0

    init(warnings: [String], errors: ErrorCounts) {
        self.warnings = warnings
        self.errors = errors
    }

    /// Adds one tensor; `recipe` is that of its variant, `isVaried` says whether it is an override's, `knowledge` what
    /// is known of its inputs.
    mutating func add(
        _ entry: TensorEntry, _ plan: PlannedTensor, _ encoded: EncodedTensor, _ recipe: Recipe, isVaried: Bool,
        knowledge: Knowledge
    ) {
        guard plan != .calibration else { return }
        let bytes = plan.artifactBytes
        totalWeights += entry.elementCount
        if let quality = encoded.quality {
            pooled.add(quality.sums)
            codedBytes += plan.codedBytes
            codeBits += quality.sums.count * recipe.method.codeBits
            if isVaried, let module = entry.name.before(suffix: ".weight") {
                variedModules.append(VariedModule(name: module, recipe: recipe))
            }
        } else if entry.shape.count == 2, let module = entry.name.before(suffix: ".weight") {
            skippedModules.append(module)
        }
        tensors.append(
            TensorReport(
                entry: entry, artifactBytes: bytes, quality: encoded.quality, scaleRatio: encoded.scaleRatio,
                calibration: recipe.usesData && encoded.quality != nil
                    ? CalibrationReport(knowledge: knowledge, tokens: encoded.tokens, columns: entry.shape[1]) : nil,
                outputError: encoded.outputError, variant: isVaried ? recipe : nil, codedBytes: plan.codedBytes))
    }

    func report() -> QualityReport {
        let bits = pooled.count == 0 ? 0 : Double(codedBytes) * 8 / Double(pooled.count)
        return QualityReport(
            tensors: tensors, pooled: pooled, errorCounts: errors, quantizedWeights: pooled.count,
            totalWeights: totalWeights, bitsPerWeight: bits,
            codeBits: Double(codeBits) / Double(max(1, pooled.count)), findings: warnings)
    }
}

extension PlannedTensor {
    /// Bytes of all parts.
    var artifactBytes: Int {
        switch self {
        case .calibration: 0
        case .copy(let place), .castToF16(let place), .folded(let place, _): place.bytes
        case .int8(let codes, let scales, let format): codes.bytes + scales.bytes + format.bytes
        case .nf4(let parts):
            codedBytes + parts.quantMap.bytes + (parts.nestedQuantMap?.bytes ?? 0)
        case .awq: codedBytes
        case .grouped(let parts): parts.bytes
        }
    }

    /// Bytes of codes and scales, the constant tables not counted.
    var codedBytes: Int {
        switch self {
        case .calibration, .copy, .castToF16, .folded: 0
        case .int8(let codes, let scales, _): codes.bytes + scales.bytes
        case .nf4(let parts): parts.codes.bytes + parts.absmax.bytes + (parts.nestedAbsmax?.bytes ?? 0)
        case .awq(_, let bytes): bytes
        case .grouped(let parts): parts.codedBytes
        }
    }
}
