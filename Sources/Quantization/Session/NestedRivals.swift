/// The nested group at hand in `mode=best`, in two forms that compete: its searched scales and its absmax values.
struct NestedRivals {
    /// What the differences are taken from, which the format lets an encoder choose.
    var offset: Float = 0
    /// The searched scales.
    private(set) var searched = NestedFit()
    /// The absmax values.
    private(set) var plain = NestedFit()
    /// Whether the group keeps its absmax values.
    var keepsPlain = false

    private var weights = [Float](repeating: 0, count: NestedQuantizer.blockSize)
    private var tolerance = 0.0
    private var absmax = [Float](repeating: 0, count: NestedQuantizer.blockSize)

    /// A fit whose cost is below this share of the error, 0.02 dB, is good enough.
    private static let negligible = 0x1p-8

    /// Fits the searched scales of a group and returns the least squared error that the reference's codes could have
    /// with any scales at all: Σe² − (Σe·c)² / Σc² for each block, where e = x − c·absmax.
    mutating func fit(_ choices: [NF4Choice], _ scales: [Float], blocks: Int) -> Double {
        keepsPlain = false
        var (error, bound) = (0.0, 0.0)
        for block in 0..<blocks {
            let choice = choices[block]
            weights[block] = choice.chosenCodeSquared
            error += Double(choice.squaredError)
            guard choice.codeSquared > 0 else { continue }
            let product = Double(choice.errorTimesCode)
            bound += Double(choice.squaredError) - product * product / Double(choice.codeSquared)
        }
        tolerance = error * Self.negligible
        searched.fit(scales, weights: weights, count: blocks, offset: offset, tolerance: tolerance)
        return bound
    }

    /// Fits the group's absmax values; the codes that the reference gives them say what a change of each costs.
    mutating func fitPlain(_ choices: [NF4Choice], blocks: Int) {
        for block in 0..<blocks {
            weights[block] = choices[block].codeSquared
            absmax[block] = choices[block].absmax
        }
        plain.fit(absmax, weights: weights, count: blocks, offset: offset, tolerance: tolerance)
    }

    /// The rival that the group keeps.
    var kept: NestedFit { keepsPlain ? plain : searched }
}
