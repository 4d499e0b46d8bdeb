import Tensors

/// The choices of one AWQ run; 4 bits with zero points are fixed, as AutoAWQ's GEMM kernels want them.
struct AWQOptions: Sendable {
    /// Columns that share a scale: 32, 64, 128, or -1 for the whole row.
    var groupSize = 128
    /// Whether input channels are scaled.
    var scaling = Scaling.none
    /// Whether activations are used.
    var calibration = Calibration.activations
    /// Whether the clipping threshold of each group is searched; needs activations.
    var clip = true
    /// Whether the scale search weighs activations against weights (AutoAWQ's `duo_scaling`).
    var duoScaling = true
    /// Whether grids of less error than the library's are searched; only where nothing is scaled or clipped.
    var searchesGrids = false
    /// The most threads at work; nil leaves it to Dispatch. The result does not depend on it.
    var threads: Int?
}

extension AWQOptions {
    /// The choices that a recipe makes.
    init(_ recipe: Recipe) {
        self.init(
            groupSize: recipe.groupSize, scaling: recipe.scaling, calibration: recipe.calibration,
            searchesGrids: recipe.mode == .best)
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
    var errors = AWQErrorSums()
    /// The exponent a of the chosen scales, one of 0, 0.05 ... 0.95; nil where nothing was scaled.
    var chosenRatio: Double?
    /// The scales of the input columns; nil where nothing was scaled.
    var inputScales: [Float]?
    /// ‖X(W − Ŵ)ᵀ‖² / ‖XWᵀ‖² over at most 256 evenly spaced calibration tokens (64 at 16384
    /// columns); nil without activations or signal.
    var outputErrorRelative: Double?
}

/// Sums over weights x and their restored values y, in Double.
struct AWQErrorSums: Sendable, Equatable {
    /// Bins of `histogram`: the 12 bits below the sign of the Float |x − y|.
    static let binCount = 4096

    /// Σ x².
    var signal = 0.0
    /// Σ (x − y)².
    var squaredError = 0.0
    /// Σ y².
    var restoredSquared = 0.0
    /// Σ |x − y|.
    var absoluteError = 0.0
    /// max |x − y|.
    var maximumError: Float = 0
    /// max |x|.
    var maximumSignal: Float = 0
    /// How many weights were counted.
    var count = 0
    /// How many errors fell into each bin; bin = (bits of the Float |x − y|) >> 19.
    var histogram = [UInt64](repeating: 0, count: binCount)

    /// Adds the sums of other weights.
    mutating func merge(_ other: AWQErrorSums) {
        signal += other.signal
        squaredError += other.squaredError
        restoredSquared += other.restoredSquared
        absoluteError += other.absoluteError
        maximumError = max(maximumError, other.maximumError)
        maximumSignal = max(maximumSignal, other.maximumSignal)
        count += other.count
        for bin in histogram.indices { histogram[bin] += other.histogram[bin] }
    }
}
