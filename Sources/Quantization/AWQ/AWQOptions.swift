import Tensors

/// The choices of one AWQ run; 4 bits with zero points are fixed, as AutoAWQ's GEMM kernels want them.
struct AWQOptions: Sendable {
    /// Columns that share a scale: 32, 64, 128, or -1 for the whole row.
    var groupSize = 128
    /// Whether input channels are scaled.
    var scaling = Scaling.none
    /// Whether activations are used.
    var calibration = Calibration.data
    /// Whether the clipping threshold of each group is searched; needs activations.
    var clip = true
    /// Whether the scale search weighs activations against weights (AutoAWQ's `duo_scaling`).
    var duoScaling = true
    /// The most threads at work; nil leaves it to Dispatch. The result does not depend on it.
    var threads: Int?
}

extension AWQOptions {
    /// The choices that a recipe makes for a layer that is coded without calibrated codes: the reference's searches,
    /// or rounding to nearest.
    init(_ recipe: Recipe) {
        let searches = recipe.needsActivations
        self.init(
            groupSize: recipe.groupSize, scaling: searches ? recipe.coding.scaling : .none,
            calibration: searches ? .data : .none, clip: recipe.coding.clip, duoScaling: recipe.coding.duoScaling)
    }
}

/// Where the parts of one layer go: offsets in bytes from the start of the artifact.
struct AWQPlacement: Sendable, Equatable {
    /// I32 [columns, rows / 8].
    let qweight: Int
    /// I32 [columns / group, rows / 8].
    let qzeros: Int
    /// F16 [columns / group, rows].
    let scales: Int
    /// F32 [columns]; ones are written where nothing was scaled.
    let inputScales: Int?

    /// Of a layer that is searched and not written.
    static let none = AWQPlacement(qweight: 0, qzeros: 0, scales: 0, inputScales: nil)
}

/// A row-major matrix that waits in scratch storage, little-endian.
struct StagedTensor: Sendable {
    /// F32, F16, BF16 or F64.
    let type: ElementType
    let rows: Int
    let columns: Int
    /// Bytes from the start of the scratch storage.
    let offset: Int
}

/// What was done to one layer, and what it cost.
///
/// Sums run over every weight in Double, against the original weights narrowed to Float; with `scaling` = `keep` the
/// restored weight is divided by its column's input scale first.
struct AWQResult: Sendable, Equatable {
    /// The sums over all weights.
    var errors = QualitySums()
    /// How many errors fell into each bin of `ErrorHistogram`.
    var histogram = [UInt64](repeating: 0, count: ErrorHistogram.bins)
    /// The exponent a of the chosen scales, one of 0, 0.05 ... 0.95; nil where nothing was scaled.
    var chosenRatio: Double?
    /// The scales of the input columns; nil where nothing was scaled.
    var inputScales: [Float]?
    /// What became of the output over at most 256 evenly spaced calibration tokens (64 at 16384 columns); nil without
    /// activations or signal.
    var outputError: OutputError?
}
