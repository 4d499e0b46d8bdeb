/// Counts of |error| by magnitude: bin = float32 bits >> 19, that is 16 bins an octave.
struct ErrorCounts: Sendable {
    /// Counts since the last flush; the kernels add to them.
    var recent = [UInt32](repeating: 0, count: ErrorHistogram.bins)
    private var flushed = [UInt64](repeating: 0, count: ErrorHistogram.bins)
    private var unflushed = 0

    /// Announces `count` more elements and moves the recent counts on before one could overflow.
    mutating func willCount(_ count: Int) {
        if unflushed + count > Int(UInt32.max) { flush() }
        unflushed += count
    }

    /// Adds counts that were made elsewhere.
    mutating func add(_ other: [UInt64]) {
        for (bin, count) in other.enumerated() { flushed[bin] += count }
    }

    /// Adds the counts of another tensor.
    mutating func add(_ other: ErrorCounts) {
        add(other.counts)
    }

    /// Takes back counts of this announcement that are not to stand, and leaves `rejected` at zero.
    mutating func withdraw(_ rejected: inout [UInt32]) {
        for bin in 0..<ErrorHistogram.bins {
            recent[bin] &-= rejected[bin]
            rejected[bin] = 0
        }
    }

    private mutating func flush() {
        flushed = counts
        for bin in 0..<ErrorHistogram.bins { recent[bin] = 0 }
        unflushed = 0
    }

    /// All that was counted.
    var counts: [UInt64] {
        var counts = flushed
        for bin in 0..<ErrorHistogram.bins { counts[bin] += UInt64(recent[bin]) }
        return counts
    }

    /// The smallest error that `fraction` of all elements do not exceed, linear inside its bin.
    func quantile(_ fraction: Double) -> Double {
        let counts = counts
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

    /// The errors of one tensor, in octaves.
    var octaves: ErrorDistribution {
        ErrorDistribution(counts, merging: 16, atMost: ErrorDistribution.maximumTensorBins)
    }

    /// The errors of all tensors, in quarter octaves.
    var quarterOctaves: ErrorDistribution { ErrorDistribution(counts, merging: 4, atMost: ErrorHistogram.bins) }
}

/// How many weights have which absolute error |x - x̂|.
///
/// `edges` and `counts` as `numpy.histogram` returns them: bin `i` holds errors from `edges[i]` up to, and without,
/// `edges[i + 1]`. The edges are powers of two, or those and 1.25, 1.5 and 1.75 of them.
package struct ErrorDistribution: Sendable, Equatable {
    /// The most bins of one tensor; what is smaller than all of them stands in the first.
    package static let maximumTensorBins = 12

    /// Weights that came back unchanged: their error is zero, or below 2⁻¹³⁰ (7e-40), where the counting ends.
    package let unchanged: Int
    /// The bounds of the bins, ascending, one more than there are bins; none when every weight came back unchanged.
    package let edges: [Float]
    /// Weights in each bin; the first bin and the last are not empty.
    package let counts: [Int]

    /// Merges `width` bins of `ErrorHistogram` into one, from the smallest that is not empty to the largest.
    init(_ counts: [UInt64], merging width: Int, atMost limit: Int) {
        unchanged = Int(counts[0])
        // No finite error lies beyond; one that is infinite belongs to the last bin.
        let beyond = ErrorHistogram.bin(of: .infinity)
        let merged = stride(from: 0, to: beyond, by: width).map { start in
            let end = start + width == beyond ? counts.count : start + width
            return counts[max(1, start)..<end].reduce(0) { $0 + Int($1) }
        }
        guard let first = merged.firstIndex(where: { $0 > 0 }), let last = merged.lastIndex(where: { $0 > 0 }) else {
            edges = []
            self.counts = []
            return
        }
        func edge(_ index: Int) -> Float {
            min(ErrorHistogram.lowerBound(of: max(1, index * width)), .greatestFiniteMagnitude)
        }
        let second = max(first + 1, last + 2 - limit)
        edges = [edge(first)] + (second...last + 1).map(edge)
        self.counts = [merged[first..<second].reduce(0, +)] + merged[second..<last + 1]
    }
}
