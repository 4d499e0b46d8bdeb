import Tensors

/// A Linear as the search for the scales of its inputs sees it; `pause` is called now and then and may end the search.
protocol ScaledLinear {
    /// Rows of the weight.
    var rows: Int { get }
    /// The tokens that its data stands for; 1 where nobody says.
    var tokens: Double { get }
    /// The mean magnitude of each column's inputs.
    func inputMagnitudes(_ pause: () throws(QuantizationError) -> Void) throws(QuantizationError) -> [Float]
    /// The sums over rows of |weight| / (largest magnitude of its group + 1e-6), for each column.
    func weightMagnitudes(_ pause: () throws(QuantizationError) -> Void) throws(QuantizationError) -> [Double]
    /// For each candidate, the mean over tokens of the squared change of all outputs when the weight is multiplied by
    /// the scales of its columns, rounded to nearest and divided again.
    func losses(
        _ candidates: [[Float]], _ pause: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> [Double]
}

/// Searches the scales of Linears that read one input: AWQ's candidates, the least squared change of all their outputs
/// over all tokens.
///
/// Source: `AwqQuantizer._search_best_scale` of AutoAWQ 0.2.9, which measures the change behind the attention or the
/// perceptron that the Linears are in; here it is measured behind the Linears themselves, so that no model has to run.
/// Only one Linear is looked at at a time.
struct FoldSearch {
    /// Whether small weights are scaled more (AutoAWQ's `duo_scaling`).
    let duo: Bool
    /// Whether no scales at all are a candidate too.
    let allowsNone: Bool

    /// What was found: the exponent of AWQ's formula, nil where no scales are best, and a scale for each column.
    struct Found: Equatable {
        let ratio: Double?
        let scales: [Float]
    }

    /// The best scales for `columns` inputs; `linears` are those with data, of which there is one at least.
    ///
    /// Throws `calibration.range` when every loss overflows.
    func best(
        _ linears: [any ScaledLinear], columns: Int, name: String, pause: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> Found {
        let candidates = try candidates(linears, columns: columns, pause)
        var losses = [Double](repeating: 0, count: candidates.count)
        for linear in linears {
            for (index, loss) in try linear.losses(candidates, pause).enumerated() {
                losses[index] += loss * linear.tokens
            }
        }
        var best: Int?
        for (candidate, loss) in losses.enumerated() where loss < (best.map { losses[$0] } ?? .infinity) {
            best = candidate
        }
        guard let best else {
            throw .calibration(code: "calibration.range", detail: "The outputs of '\(name)' overflow float32.")
        }
        let isNone = best == AWQScaleSearch.gridCount
        return Found(ratio: isNone ? nil : AWQScaleSearch.ratio(best), scales: candidates[best])
    }

    private func candidates(
        _ linears: [any ScaledLinear], columns: Int, _ pause: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> [[Float]] {
        var inputs = [Double](repeating: 0, count: columns)
        var weights = [Double](repeating: 0, count: columns)
        let tokens = linears.reduce(0) { $0 + $1.tokens }
        let rows = Double(linears.reduce(0) { $0 + $1.rows })
        for linear in linears {
            let share = linear.tokens / tokens
            for (index, magnitude) in try linear.inputMagnitudes(pause).enumerated() {
                inputs[index] += Double(magnitude) * share
            }
            for (index, sum) in try linear.weightMagnitudes(pause).enumerated() { weights[index] += sum / rows }
        }
        let means = inputs.map { Float($0) }
        let scaled = (0..<AWQScaleSearch.gridCount).map { candidate in
            AWQScaleSearch.scales(candidate: candidate, activationMeans: means, weightMeans: weights, duo: duo)
        }
        return allowsNone ? scaled + [[Float](repeating: 1, count: columns)] : scaled
    }
}
