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

    /// Adds the float32 sums of one piece.
    mutating func add(_ piece: ErrorSums, count: Int) {
        self.count += count
        signal += Double(piece.signal)
        squaredError += Double(piece.squaredError)
        restoredSquared += Double(piece.restoredSquared)
        absoluteError += Double(piece.absoluteError)
        maximumError = max(maximumError, Double(piece.maximumError))
    }
}

/// What one quantized tensor lost.
package struct TensorQuality: Sendable, Equatable {
    /// The exact sums.
    package var sums: QualitySums
    /// 99 of 100 weights have at most this error: interpolated in a histogram with 16 bins an octave.
    package var p99Error: Double
    /// Whether mean, largest and p99 absolute error are upper bounds: so in the reference's double quantization, whose
    /// offset only the end of the tensor knows. The squared errors are exact all the same.
    package var absoluteErrorsAreBounds = false
    /// Whether the cast of the restored weight to F16 / BF16 is left out of the squared error (below 0.005 dB): so
    /// in the reference's double quantization of such weights.
    package var excludesCast = false
}

extension TensorQuality {
    /// What AWQ measured of one layer.
    init(_ errors: AWQErrorSums) {
        sums = QualitySums()
        sums.count = errors.count
        sums.signal = errors.signal
        sums.squaredError = errors.squaredError
        sums.restoredSquared = errors.restoredSquared
        sums.absoluteError = errors.absoluteError
        sums.maximumError = Double(errors.maximumError)
        sums.maximumSignal = Double(errors.maximumSignal)
        var counts = ErrorCounts()
        counts.add(errors.histogram)
        p99Error = counts.quantile(0.99)
    }
}

/// Counts of |error| by magnitude: bin = float32 bits >> 19, that is 16 bins an octave.
struct ErrorCounts: Sendable {
    /// Counts since the last flush; the kernels add to them.
    var recent = [UInt32](repeating: 0, count: ErrorHistogram.bins)
    private(set) var counts = [UInt64](repeating: 0, count: ErrorHistogram.bins)
    private var unflushed = 0

    /// Announces `count` more elements and moves the recent counts on before one could overflow.
    mutating func willCount(_ count: Int) {
        if unflushed + count > Int(UInt32.max) { flush() }
        unflushed += count
    }

    /// Adds counts that were made elsewhere.
    mutating func add(_ other: [UInt64]) {
        for (bin, count) in other.enumerated() { counts[bin] += count }
    }

    /// Takes back counts of this announcement that are not to stand, and leaves `rejected` at zero.
    mutating func withdraw(_ rejected: inout [UInt32]) {
        for bin in 0..<ErrorHistogram.bins {
            recent[bin] &-= rejected[bin]
            rejected[bin] = 0
        }
    }

    private mutating func flush() {
        for bin in 0..<ErrorHistogram.bins where recent[bin] != 0 {
            counts[bin] += UInt64(recent[bin])
            recent[bin] = 0
        }
        unflushed = 0
    }

    /// The smallest error that `fraction` of all elements do not exceed, linear inside its bin.
    mutating func quantile(_ fraction: Double) -> Double {
        flush()
        let total = counts.reduce(0, +)
        guard total > 0 else { return 0 }
        let wanted = fraction * Double(total)
        var below = 0.0
        for (bin, count) in counts.enumerated() where count > 0 {
            let reached = below + Double(count)
            if reached >= wanted {
                let low = Double(ErrorHistogram.lowerBound(of: bin))
                let high = Double(ErrorHistogram.lowerBound(of: bin + 1))
                return low + (high - low) * (wanted - below) / Double(count)
            }
            below = reached
        }
        return 0
    }
}
