import Catalogue
import Observability
import Quantization
import Tensors

/// An artifact as the contract describes it: the artifact JSON and the report.
struct ArtifactDescription {
    let id: String
    let name: String?
    let recipe: Recipe
    let inputDigest: String
    let inputBytes: Int
    let result: SessionResult
    /// A second input with calibration data, as `sha256:<hex>`.
    var calibration: String?
    /// Of a request with a budget, what it led to.
    var budget: BudgetOutcome?

    private var options: JSON { .object(recipe.saidMembers.map { ($0.0, .raw($0.1)) }) }

    /// The artifact JSON as it is stored and answered.
    func record(digest: String, owner: String, createdAt: Int64) -> ArtifactRecord {
        ArtifactRecord(
            id: id, owner: owner, name: name, method: recipe.method.rawValue, format: recipe.format.rawValue,
            mode: recipe.mode.rawValue, inputDigest: inputDigest, inputBytes: inputBytes,
            bytes: result.artifactBytes, digest: digest,
            manifest: String(decoding: manifest(digest, createdAt).bytes(), as: UTF8.self), createdAt: createdAt)
    }

    private func manifest(_ digest: String, _ createdAt: Int64) -> JSON {
        let report = result.report
        let path = "/v1/artifacts/\(id)"
        let members: [(String, JSON)] = [
            ("id", .string(id)), ("name", .optional(name)), ("method", .string(recipe.method.rawValue)),
            ("format", .string(recipe.format.rawValue)), ("mode", .string(recipe.mode.rawValue)),
            ("options", options),
            ("input", .object([("digest", .string(inputDigest)), ("bytes", .integer(inputBytes))])),
            ("calibration", calibrationSource),
            ("bytes", .integer(result.artifactBytes)), ("digest", .string(digest)),
            ("quantization_config", quantizationConfig),
            ("quantized_fraction", .number(fraction)),
            ("compression_ratio", .number(Double(inputBytes) / Double(max(1, result.artifactBytes)))),
            ("compression_ratio_fp32", .number(compressionAgainstFloat32)),
            ("bits_per_weight", .number(report.bitsPerWeight)),
            ("summary", Self.summary(report.pooled)), ("warnings", .strings(report.warnings)),
            (
                "links",
                .object([
                    ("self", .string(path)), ("content", .string("\(path)/content")),
                    ("report", .string("\(path)/report")), ("config", .string("\(path)/config.json")),
                    ("dequantized", .string("\(path)/dequantized")),
                ])
            ),
            ("created_at", .string(rfc3339(milliseconds: createdAt))), ("engine_version", .string(Engine.version)),
        ]
        return .object(members + budgetMember)
    }

    /// Where calibration data came from, and what computed with it; null without.
    private var calibrationSource: JSON {
        guard recipe.usesCalibration else { return .null }
        return .object([
            ("digest", .string(calibration ?? inputDigest)),
            ("computed_by", .optional(recipe.usesMatrices ? MatrixBackend.name : nil)),
        ])
    }

    private var budgetMember: [(String, JSON)] { budget.map { [("budget", BudgetJSON.json($0))] } ?? [] }

    private var quantizationConfig: JSON {
        QuantizationConfig.json(
            recipe, skipped: result.skippedModules, varied: result.variedModules, dtype: result.report.weightType)
    }

    private var fraction: Double {
        Double(result.report.quantizedWeights) / Double(max(1, result.report.totalWeights))
    }

    /// Float32 bytes of the quantized weights over the bytes of their codes and scales.
    private var compressionAgainstFloat32: Double {
        result.report.bitsPerWeight > 0 ? 32 / result.report.bitsPerWeight : 0
    }

    private static func summary(_ sums: QualitySums) -> JSON {
        let figures = QualityFigures(sums)
        var members: [(String, JSON)] = [
            ("sqnr_db", .optional(figures.sqnr)), ("mse", .number(figures.mse)),
            ("psnr_db", .optional(figures.psnr)), ("max_abs_error", .number(figures.maximumError)),
            ("cosine_similarity", .optional(figures.cosine)),
        ]
        if figures.isExact { members.append(("exact", .bool(true))) }
        return .object(members)
    }

    /// The report: every tensor, the totals, the worst tensors, the warnings.
    func report() -> JSON {
        let report = result.report
        let worst = report.worst(atMost: Self.worstTensors)
        let members: [(String, JSON)] = [
            ("artifact", .string(id)), ("method", .string(recipe.method.rawValue)),
            ("format", .string(recipe.format.rawValue)), ("mode", .string(recipe.mode.rawValue)),
            ("options", options), ("calibration", calibrationSource), ("totals", totals()),
            (
                "worst_tensors",
                .array(
                    worst.map { .object([("name", .string($0.tensor.entry.name)), ("sqnr_db", .number($0.sqnr))]) })
            ),
            ("warnings", .strings(report.warnings)),
            (
                "error_histogram",
                ErrorHistogramJSON.json(
                    report.errors,
                    isBeforeDoubleQuantization: report.tensors.contains {
                        $0.quality?.absoluteErrorsAreBounds == true
                    })
            ),
            (
                "tensors",
                .list(count: report.tensors.count) { [method = recipe.method] index in
                    let tensor = report.tensors[index]
                    return TensorJSON(tensor: tensor, limits: tensor.limits(own: method)).json
                }
            ),
            ("engine_version", .string(Engine.version)),
        ]
        let bare = report.weightsWithoutData
        let calibration: [(String, JSON)] = bare.isEmpty ? [] : [("without_calibration", .strings(bare))]
        return .object(members + calibration + budgetMember)
    }

    /// How many of the worst tensors the report names.
    private static let worstTensors = 10

    private func totals() -> JSON {
        let report = result.report
        var members: [(String, JSON)] = [
            ("tensors", .integer(report.tensors.count)),
            ("quantized_tensors", .integer(report.tensors.count { $0.quality != nil })),
            ("weights", .integer(report.totalWeights)), ("quantized_weights", .integer(report.quantizedWeights)),
            ("quantized_fraction", .number(fraction)), ("input_bytes", .integer(inputBytes)),
            ("artifact_bytes", .integer(result.artifactBytes)), ("bits_per_weight", .number(report.bitsPerWeight)),
            ("compression_ratio_fp32", .number(compressionAgainstFloat32)),
        ]
        members += FiguresJSON.members(report.pooled, report.limits)
        return .object(members)
    }
}
