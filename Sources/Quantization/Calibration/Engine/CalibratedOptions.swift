/// The codes that calibrated coding writes.
enum CalibratedCode: Sendable, Hashable {
    /// Integers 0...15 with a zero point of the same range and scales of float16: AutoAWQ.
    case affine
    /// Integers around zero with scales of the weight's type: compressed-tensors `pack-quantized`.
    case symmetric(bits: Int)
    /// 4-bit NormalFloat with float32 scales, which may be quantized themselves: bitsandbytes.
    case nf4
}

/// The choices for one calibrated layer.
struct CalibratedOptions: Sendable, Hashable {
    /// What is written.
    var code = CalibratedCode.affine
    /// Columns that share a scale; -1 is the whole row. For NF4 the block size.
    var groupSize = 128
    /// Whether scales of the input columns are searched for this layer alone, and kept beside it.
    var searchesScales = false
    /// Whether that search weighs activations against weights (AutoAWQ's `duo_scaling`).
    var duoScaling = true
    /// Whether grids are shrunk and refitted; else they span what the weights do.
    var clip = true
    /// How codes are found on the grids.
    var rounding = Rounding.auto
    /// What is added to the diagonal of the second moments, as a share of its mean; nil is 0.1, and 0.3 below 1,024
    /// tokens.
    var damping: Double?
    /// Whether the scales of NF4 are quantized to 8 bits.
    var isNested = false
    /// The most threads at work. The result does not depend on it.
    var threads = 1
}

/// The relative squared change of a Linear's outputs, ‖X(W − Ŵ)ᵀ‖² / ‖XWᵀ‖².
package struct OutputError: Sendable, Equatable {
    /// Of the codes that were written.
    package var relative: Double
    /// Of the same format rounded to nearest; nil where that was not measured.
    package var roundToNearest: Double?
    /// Of AWQ as AutoAWQ searches it, scales and clipping; nil for other codes.
    package var plainAWQ: Double?
    /// Tokens that it was measured over.
    package var tokens: Int
    /// Whether these tokens had no part in the calibration.
    package var isHeldOut: Bool
}

/// What calibrated coding made of a layer.
struct CalibratedResult: Sendable {
    /// The sums over all weights, against the original ones.
    var errors = QualitySums()
    /// How many errors fell into each bin of `ErrorHistogram`.
    var histogram = [UInt64](repeating: 0, count: ErrorHistogram.bins)
    /// The exponent of the scales that were searched here.
    var chosenRatio: Double?
    /// The scales of the input columns that were searched here.
    var columnScales: [Float]?
    /// What NF4's 8-bit scales are offset by.
    var nestedOffset: Float?
    /// How the codes were chosen: `.nearest` or `.gptq`.
    var rounding = Rounding.nearest
    /// The damping in use; nil where codes were rounded to nearest.
    var damping: Double?
    /// Tokens that the calibration data was taken from; nil where nothing says it.
    var tokens: Int?
    /// nil without products of all columns.
    var output: OutputError?
}
