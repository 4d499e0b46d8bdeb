package import Tensors

import CKernels

/// Figures in the field's units, derived from the sums.
///
/// Optional figures are nil also where the sums left the range of their float32 pieces: weights about 1e20 and beyond,
/// or so small that their squares vanish.
package struct QualityFigures: Sendable, Equatable {
    /// Whether no weight changed.
    package let isExact: Bool
    /// Signal to quantization noise, 10·log10(Σx² / Σ(x−x̂)²) in dB; nil when the reconstruction is exact.
    package let sqnr: Double?
    /// Mean squared error.
    package let mse: Double
    /// Root of the mean squared error.
    package let rmse: Double
    /// Mean absolute error.
    package let mae: Double
    /// 20·log10(max|x| / RMSE) in dB; nil when the reconstruction is exact.
    package let psnr: Double?
    /// Cosine of the angle between x and x̂; nil when either is zero.
    package let cosine: Double?
    /// Largest absolute error.
    package let maximumError: Double
    /// Σ(x−x̂)² / Σx², nil when the signal is zero.
    package let relativeError: Double?

    /// Derives the figures from the sums.
    package init(_ sums: QualitySums) {
        let count = Double(max(sums.count, 1))
        mse = sums.squaredError / count
        rmse = mse.squareRoot()
        mae = sums.absoluteError / count
        maximumError = sums.maximumError
        // The squares of errors below 1e-23 vanish, the largest error does not.
        isExact = sums.squaredError == 0 && sums.maximumError == 0
        sqnr = Self.finite(10 * ck_log10(sums.signal / sums.squaredError))
        psnr = Self.finite(20 * ck_log10(sums.maximumSignal / rmse))
        relativeError = Self.finite(sums.squaredError / sums.signal)
        let norms = (sums.signal * sums.restoredSquared).squareRoot()
        let product = (sums.signal + sums.restoredSquared - sums.squaredError) / 2
        cosine = Self.finite(product / norms).map { min(1, max(-1, $0)) }
    }

    private static func finite(_ figure: Double) -> Double? { figure.isFinite ? figure : nil }
}

/// The bounds that theory sets beside a measured SQNR.
package struct QualityLimits: Sendable, Equatable {
    /// 6.02·b + 1.76 dB: a full-scale sine through b-bit uniform codes, the yardstick of the Gleam library.
    package let uniform: Double
    /// 6.02·R dB: Gaussian rate-distortion (Shannon 1959) at the stored R bits a weight, scales included.
    package let gaussian: Double

    /// Bounds for `codeBits` wide codes stored at `bitsPerWeight`.
    package init(codeBits: Double, bitsPerWeight: Double) {
        uniform = 6.02 * codeBits + 1.76
        gaussian = 20 * ck_log10(2.0) * bitsPerWeight
    }
}

/// One tensor in the report.
package struct TensorReport: Sendable {
    /// The tensor as it came in.
    package let entry: TensorEntry
    /// Bytes of all parts that the artifact holds of it.
    package let artifactBytes: Int
    /// The measured loss; nil when the tensor was copied.
    package let quality: TensorQuality?
    /// AWQ only: the ratio that the scale search chose.
    package let scaleRatio: Double?
    /// What calibration data was used; nil where the recipe uses none.
    package let calibration: CalibrationReport?
    /// What became of the layer's output, where calibration data tells.
    package let outputError: OutputError?
    /// How an override coded the tensor; nil for the recipe's own way.
    package let variant: Recipe?
    /// Bytes of codes and scales.
    let codedBytes: Int

    /// The theoretical bounds at this tensor's rate; `own` is the recipe's own method.
    package func limits(own method: Method) -> QualityLimits {
        QualityLimits(
            codeBits: Double((variant?.method ?? method).codeBits),
            bitsPerWeight: Double(codedBytes) * 8 / Double(max(1, entry.elementCount)))
    }
}

/// A module that an override coded otherwise than the rest.
package struct VariedModule: Sendable {
    /// The module's name: that of its weight without `.weight`.
    package let name: String
    /// How it was coded.
    package let recipe: Recipe

    /// Pairs a module with its recipe.
    package init(name: String, recipe: Recipe) {
        self.name = name
        self.recipe = recipe
    }
}

/// Everything that a session can say about an artifact when it is whole.
package struct QualityReport: Sendable {
    /// Every tensor of the input that is in the artifact, in input order.
    package let tensors: [TensorReport]
    /// Sums pooled over the quantized tensors.
    package let pooled: QualitySums
    /// Errors of all quantized weights, in quarter octaves.
    package var errors: ErrorDistribution { errorCounts.quarterOctaves }
    let errorCounts: ErrorCounts
    /// Weights that were quantized.
    package let quantizedWeights: Int
    /// All elements of the input, calibration data excepted.
    package let totalWeights: Int
    /// Bits of codes and scales for each quantized weight.
    package let bitsPerWeight: Double
    /// The code width, the mean over the quantized weights.
    package let codeBits: Double
    /// What was found about single tensors and about the choice of them.
    let findings: [String]

    /// Under this share of quantized weights the report warns.
    static let expectedFraction = 0.8

    /// What a person should know before using the artifact.
    package var warnings: [String] {
        let few = Self.fractionWarning(quantized: quantizedWeights, of: totalWeights)
        return findings + [few, extremeWarning, coverageWarning].compactMap { $0 }
    }

    /// What to tell where squares of weights or errors left the range of float32, so that figures are missing or zero.
    private var extremeWarning: String? {
        let extreme = tensors.filter { tensor in
            guard let sums = tensor.quality?.sums, sums.maximumError > 0 else { return false }
            return sums.squaredError == 0 || QualityFigures(sums).sqnr == nil
        }
        guard let first = extreme.first else { return nil }
        let others = extreme.count > 1 ? " and \(extreme.count - 1) more" : ""
        return "\(first.entry.name)\(others): the weights are so large or so small that their squares leave float32; "
            + "mean errors and SQNR are missing or too low."
    }

    /// What to tell where less than the expected share of the elements is quantized; nil where it is enough.
    static func fractionWarning(quantized: Int, of total: Int) -> String? {
        guard Double(quantized) < expectedFraction * Double(total) else { return nil }
        let percent = Int(100 * Double(quantized) / Double(total))
        return "Only \(percent) % of the elements are quantized; the rest is copied as it is."
    }

    /// The reports of a model's shards as one; there is at least one, and all have one recipe.
    static func joined(_ shards: [QualityReport], warnings: [String]) -> QualityReport {
        var pooled = QualitySums()
        for shard in shards { pooled.add(shard.pooled) }
        var errors = ErrorCounts()
        for shard in shards { errors.add(shard.errorCounts) }
        let weights = shards.reduce(0) { $0 + $1.quantizedWeights }
        func mean(_ figure: (QualityReport) -> Double) -> Double {
            shards.reduce(0) { $0 + figure($1) * Double($1.quantizedWeights) } / Double(max(1, weights))
        }
        return QualityReport(
            tensors: shards.flatMap(\.tensors), pooled: pooled, errorCounts: errors, quantizedWeights: weights,
            totalWeights: shards.reduce(0) { $0 + $1.totalWeights },
            bitsPerWeight: mean(\.bitsPerWeight), codeBits: mean(\.codeBits), findings: warnings)
    }

    /// The type in which the first quantized weight came.
    package var weightType: ElementType { tensors.first { $0.quality != nil }?.entry.type ?? .f32 }

    /// The theoretical bounds at this rate.
    package var limits: QualityLimits { QualityLimits(codeBits: codeBits, bitsPerWeight: bitsPerWeight) }
}
