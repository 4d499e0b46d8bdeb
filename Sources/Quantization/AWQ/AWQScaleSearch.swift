/// The search for the scales of a layer's input columns.
///
/// Candidates are s = max(x^a / (w^(1 − a) + 1e-4), 1e-4), divided by √(max s · min s), for a = 0, 0.05 ... 0.95: x is
/// the mean magnitude of a column's inputs, w the mean over rows of |weight| / (largest magnitude of its group + 1e-6).
/// Without `duo` the divisor is 1. The first a with the least mean squared change of the outputs wins.
/// Source: `AwqQuantizer._search_best_scale` and `_compute_best_scale` of AutoAWQ 0.2.9 (n_grid 20).
/// Everything runs on Float weights, also for float16 and bfloat16 models: AutoAWQ rounds to the model's
/// type after each operation there, which only adds noise to the loss.
enum AWQScaleSearch {
    /// How many exponents are tried.
    static let gridCount = 20

    /// The exponent of one candidate.
    static func ratio(_ candidate: Int) -> Double { Double(candidate) / Double(gridCount) }

    /// Sums over eight rows of |weight| / (largest magnitude of its group + 1e-6), for each column.
    static func magnitudeSums(_ octet: [RowOctet], groupSize: Int) -> [Double] {
        let span = octet.span
        var sums = [Double](repeating: 0, count: octet.count)
        for start in stride(from: 0, to: octet.count, by: groupSize) {
            let greatest = AWQClipSearch.greatestMagnitude(span, from: start, count: groupSize) + 1e-6
            for k in start..<start + groupSize {
                sums[k] = SIMD8<Double>(octet[k].magnitudes / greatest).orderedSum
            }
        }
        return sums
    }

    /// The mean magnitude of each column of the activations, rounded to Float.
    static func activationMeans(_ rows: inout StagedRows) throws(QuantizationError) -> [Float] {
        let columns = rows.tensor.columns
        var sums = [Double](repeating: 0, count: columns)
        var row = [Float](repeating: 0, count: columns)
        for token in 0..<rows.tensor.rows {
            try rows.read(row: token, columns: 0..<columns, into: &row, at: 0)
            for k in 0..<columns { sums[k] += Double(row[k].magnitude) }
        }
        return sums.map { Float($0 / Double(rows.tensor.rows)) }
    }

    /// The scales of one candidate; what is not finite becomes 1.
    static func scales(
        candidate: Int, activationMeans: [Float], weightMeans: [Double], duo: Bool
    ) -> [Float] {
        let raw = zip(activationMeans, weightMeans).map { x, w in
            let power = Powers.power(Double(x), twentieths: candidate)
            let divisor = duo ? Powers.power(w, twentieths: gridCount - candidate) + 1e-4 : 1
            return max(power / divisor, 1e-4)
        }
        let (least, greatest) = (raw.min() ?? 1, raw.max() ?? 1)
        let norm = (greatest * least).squareRoot()
        return raw.map { value in
            let scale = Float(value / norm)
            return scale.isFinite && scale > 0 ? scale : 1
        }
    }

    /// The sums over tokens and eight rows of the squared change of the output, for each of `candidates`.
    static func losses(
        _ weights: [RowOctet], groupSize: Int, candidates: [[Float]], over block: TokenBlock, _ products: RowProducts
    ) -> [Double] {
        let grids = candidates.map { Self.grids(weights, groupSize: groupSize, scales: $0) }
        let squares = AWQOutputs.squares(variants: candidates.count, over: block, products) {
            variant, columns, rows, at in
            let scales = candidates[variant]
            var k = columns.lowerBound
            while k < columns.upperBound {
                let group = k / groupSize
                let grid = grids[variant][group]
                for column in k..<min(columns.upperBound, (group + 1) * groupSize) {
                    let (weight, scale) = (weights[column], scales[column])
                    rows[at + column - columns.lowerBound] = grid.restored(weight * scale) / scale - weight
                }
                k = min(columns.upperBound, (group + 1) * groupSize)
            }
        }
        return squares.map(\.orderedSum)
    }

    /// The grid of each group of the scaled weights.
    private static func grids(_ weights: [RowOctet], groupSize: Int, scales: [Float]) -> [AWQGrid] {
        stride(from: 0, to: weights.count, by: groupSize).map { start in
            var minimum = weights[start] * scales[start]
            var maximum = minimum
            for k in start + 1..<start + groupSize {
                let weight = weights[k] * scales[k]
                minimum = minimum.lesser(weight)
                maximum = maximum.greater(weight)
            }
            return AWQGrid(minimum: minimum, maximum: maximum)
        }
    }
}

/// Powers with exponents in twentieths, from square roots and Newton's iteration: the same bits on every platform,
/// which a system's `pow` does not promise.
enum Powers {
    /// `x` to the power n / 20 for x ≥ 0 and 0 ≤ n ≤ 20; 0 to the power 0 is 1.
    static func power(_ x: Double, twentieths n: Int) -> Double {
        if n == 0 { return 1 }
        if n == 20 || x == 0 || x == 1 { return x }
        let root = fifthRoot(x.squareRoot().squareRoot())
        var result = 1.0
        for _ in 0..<n { result *= root }
        return result
    }

    /// The fifth root of a positive finite number; Newton's iteration descends from a start above the root.
    static func fifthRoot(_ x: Double) -> Double {
        var root = Double(sign: .plus, exponent: Int(x.exponent) / 5 + 1, significand: 1)
        for _ in 0..<32 {
            let next = root - (root - x / (root * root * root * root)) / 5
            if next >= root { break }
            root = next
        }
        return root
    }
}
