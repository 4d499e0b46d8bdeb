/// The error of one quantized tensor as exact sums; everything people read follows from them.
package struct QualitySums: Sendable, Equatable {
    /// Number of weights.
    package var count = 0
    /// Σ x².
    package var signal = 0.0
    /// Σ (x − x̂)².
    package var squaredError = 0.0
    /// Σ x̂².
    package var restoredSquared = 0.0
    /// Σ |x − x̂|.
    package var absoluteError = 0.0
    /// max |x − x̂|.
    package var maximumError = 0.0
    /// max |x|.
    package var maximumSignal = 0.0

    /// Sums of nothing.
    package init() {}

    /// Adds another tensor's sums.
    package mutating func add(_ other: QualitySums) {
        count += other.count
        signal += other.signal
        squaredError += other.squaredError
        restoredSquared += other.restoredSquared
        absoluteError += other.absoluteError
        maximumError = max(maximumError, other.maximumError)
        maximumSignal = max(maximumSignal, other.maximumSignal)
    }

    /// Adds the float32 sums of one piece, whose weights the caller counts.
    mutating func add(_ piece: ErrorSums) {
        signal += Double(piece.signal)
        squaredError += Double(piece.squaredError)
        restoredSquared += Double(piece.restoredSquared)
        absoluteError += Double(piece.absoluteError)
        maximumError = max(maximumError, Double(piece.maximumError))
    }

    /// Adds the float32 sums of one NF4 block, whose weights the caller counts.
    mutating func add(_ block: NF4BlockSums) {
        signal += Double(block.signal)
        squaredError += Double(block.squaredError)
        restoredSquared += Double(block.restoredSquared)
        absoluteError += Double(block.absoluteError)
        maximumError = max(maximumError, Double(block.maximumError))
    }
}

/// What one quantized tensor lost.
package struct TensorQuality: Sendable, Equatable {
    /// The exact sums.
    package var sums: QualitySums
    /// 99 of 100 weights have at most this error: interpolated in a histogram with 16 bins an octave.
    package var p99Error: Double
    /// How many weights have which error, in octaves. Counted before the scales were quantized themselves where
    /// `absoluteErrorsAreBounds`.
    package let errors: ErrorDistribution
    /// Whether mean, largest and p99 absolute error are upper bounds: so in the reference's double quantization, whose
    /// offset only the end of the tensor knows. The squared errors are exact all the same.
    package var absoluteErrorsAreBounds = false
    /// Whether the cast of the restored weight to F16 / BF16 is left out of the squared error (below 0.005 dB): so
    /// in the reference's double quantization of such weights.
    package var excludesCast = false
}

extension TensorQuality {
    /// What the sums and the counted errors of a tensor say.
    init(sums: QualitySums, counts: ErrorCounts) {
        self.sums = sums
        p99Error = counts.quantile(0.99)
        errors = counts.octaves
    }
}
