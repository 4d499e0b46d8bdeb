/// The search for the clipping threshold of each group of weights.
///
/// A group with the largest magnitude m is clipped to m, 0.95 m ... 0.55 m, quantized and restored in float32; the
/// first threshold with the least mean squared change of the group's part of the output wins.
/// Source: `AwqQuantizer._compute_best_clip` of AutoAWQ 0.2.9 (n_grid 20, max_shrink 0.5, n_sample_token 512).
enum AWQClipSearch {
    /// How many thresholds are tried.
    static let candidateCount = 10

    /// The tokens that count: every floor(T / 512)-th of T, so up to 1023 of them, as the reference takes them.
    static func sampledTokens(of count: Int) -> [Int] {
        guard count > 0 else { return [] }
        return Array(stride(from: 0, to: count, by: max(1, count / min(count, 512))))
    }

    /// Whether a group's error is formed from the second moments of its inputs rather than from the tokens.
    static func usesMoments(groupSize: Int) -> Bool { groupSize <= 128 && groupSize % 8 == 0 }

    /// The largest magnitude of each row's weights in a group.
    @inline(__always)
    static func greatestMagnitude(_ weights: Span<RowOctet>, from start: Int, count: Int) -> RowOctet {
        var greatest = RowOctet()
        for k in start..<(start + count) { greatest = greatest.greater(weights[k].magnitudes) }
        return greatest
    }

    /// The threshold of one candidate, 0..<10.
    @inline(__always)
    static func threshold(_ candidate: Int, of magnitude: RowOctet) -> RowOctet {
        magnitude * Float(1 - Double(candidate) / 20)
    }

    /// What clipping, quantizing and restoring change in a group, written to `changes` from `at`.
    @inline(__always)
    static func writeChanges(
        of weights: Span<RowOctet>, from start: Int, count: Int, clippedTo threshold: RowOctet,
        to changes: inout MutableSpan<RowOctet>, at: Int
    ) {
        let floor = -threshold
        var minimum = threshold
        var maximum = floor
        for k in start..<(start + count) {
            let weight = weights[k].greater(floor).lesser(threshold)
            minimum = minimum.lesser(weight)
            maximum = maximum.greater(weight)
        }
        let grid = AWQGrid(minimum: minimum, maximum: maximum)
        for k in 0..<count {
            let weight = weights[start + k]
            changes[at + k] = grid.restored(weight.greater(floor).lesser(threshold)) - weight
        }
    }

    /// The best thresholds of the groups of one band for eight rows.
    ///
    /// `moments` holds the band's groups as `AWQMoments` writes them; `firstColumn` is where the band starts.
    static func thresholds(
        _ weights: [RowOctet], firstColumn: Int, groups: Int, groupSize: Int, moments: [SIMD4<Float>],
        _ products: RowProducts
    ) -> [RowOctet] {
        var best = [RowOctet](repeating: RowOctet(), count: groups)
        var changes = [RowOctet](repeating: RowOctet(), count: candidateCount * groupSize)
        let weights = weights.span
        let moments = moments.span
        for group in 0..<groups {
            let start = firstColumn + group * groupSize
            let magnitude = greatestMagnitude(weights, from: start, count: groupSize)
            var choice = ClipChoice(magnitude: magnitude)
            for candidate in 0..<candidateCount {
                var span = changes.mutableSpan
                writeChanges(
                    of: weights, from: start, count: groupSize, clippedTo: threshold(candidate, of: magnitude),
                    to: &span, at: candidate * groupSize)
            }
            let errors = quadraticForms(
                changes.span, size: groupSize, moments, at: group * groupSize * groupSize, products)
            for candidate in 0..<candidateCount {
                choice.offer(threshold(candidate, of: magnitude), error: errors[candidate])
            }
            best[group] = choice.threshold
        }
        return best
    }

    /// dᵀ H d of each candidate for eight rows, H being one group of `AWQMoments`: panels of four columns, each times
    /// the rows above.
    private static func quadraticForms(
        _ changes: Span<RowOctet>, size: Int, _ moments: Span<SIMD4<Float>>, at start: Int, _ products: RowProducts
    ) -> [SIMD8<Double>] {
        var errors = [SIMD8<Double>](repeating: SIMD8(), count: candidateCount)
        var sums = [RowOctet](repeating: RowOctet(), count: candidateCount * 4)
        for column in stride(from: 0, to: size, by: 4) {
            for index in sums.indices { sums[index] = RowOctet() }
            var span = sums.mutableSpan
            products.add(
                left: moments, StridedVectors(start: start / 4 + column / 4 * size, count: 1, stride: 0),
                right: changes, StridedVectors(start: 0, count: candidateCount, stride: size), steps: column + 4,
                to: &span, stride: 4)
            for candidate in errors.indices {
                let (at, from) = (candidate * 4, candidate * size + column)
                let first = sums[at] * changes[from] + sums[at + 1] * changes[from + 1]
                let second = sums[at + 2] * changes[from + 2] + sums[at + 3] * changes[from + 3]
                errors[candidate] += SIMD8<Double>(first) + SIMD8<Double>(second)
            }
        }
        return errors
    }
}

/// The least error so far for eight rows, and the threshold that gave it.
struct ClipChoice {
    private(set) var threshold: RowOctet
    private var error = SIMD8<Double>(repeating: 1e9)

    /// Nothing clipped, until an error below the reference's starting value of 1e9 is offered.
    init(magnitude: RowOctet) { threshold = magnitude }

    /// Takes the lanes in which `other` is strictly less.
    mutating func offer(_ candidate: RowOctet, error other: SIMD8<Double>) {
        for lane in 0..<8 where other[lane] < error[lane] {
            error[lane] = other[lane]
            threshold[lane] = candidate[lane]
        }
    }
}
