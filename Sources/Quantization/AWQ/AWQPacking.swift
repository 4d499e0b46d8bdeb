import Tensors

/// Eight rows as they go into the artifact, and what was lost.
struct PackedOctet: Sendable {
    /// One word for each column.
    var words: [UInt32]
    /// One word for each group.
    var zeros: [UInt32]
    /// Eight float16 scales for each group.
    var scales: [UInt16]
    var errors = QualitySums()
    /// How many errors fell into each bin of `ErrorHistogram`.
    var histogram: [UInt64] = []
    /// ‖x(w − ŵ)ᵀ‖² and ‖xwᵀ‖² over the output tokens; zero without them.
    var outputError = 0.0
    var outputSignal = 0.0
    /// What float16 arithmetic cannot hold, if anything; the rest is then unfinished.
    var refusal: PackingRefusal?
}

/// A weight, or the range of a group, beyond what float16 holds.
struct PackingRefusal: Sendable, Equatable {
    /// 0...7 within the octet.
    let row: Int
    let column: Int
    let value: Float
    let limit: Float
}

/// Quantizes eight rows in float16 and packs them into the words of AutoAWQ's GEMM layout.
///
/// Source: `AwqQuantizer._apply_quant` and `WQLinear_GEMM.from_linear` of AutoAWQ 0.2.9.
struct AWQPacker: Sendable {
    let groupSize: Int
    /// The scales that the weights were multiplied by, one for each column.
    let inputScales: [Float]?
    /// Tokens over which the output error is measured.
    let outputTokens: TokenBlock?
    let products: RowProducts

    /// Packs `original` · input scales, clipped to the thresholds of its groups.
    func pack(_ original: [RowOctet], thresholds: [RowOctet]?) -> PackedOctet {
        let columns = original.count
        let groups = columns / groupSize
        var packed = PackedOctet(
            words: Array(repeating: 0, count: columns), zeros: Array(repeating: 0, count: groups),
            scales: Array(repeating: 0, count: groups * 8))
        var tally = ErrorTally()
        var restored = [RowOctet](repeating: RowOctet(), count: outputTokens == nil ? 0 : columns)
        var group = [RowOctet](repeating: RowOctet(), count: groupSize)
        for index in 0..<groups {
            let start = index * groupSize
            let bounds = halve(original, from: start, threshold: thresholds.map { $0[index] }, into: &group)
            if let refusal = refusal(bounds, group: group, original: original, firstColumn: start) {
                packed.refusal = refusal
                return packed
            }
            let grid = AWQGrid(halfMinimum: bounds.minimum, maximum: bounds.maximum)
            packed.zeros[index] = AWQWord.pack(grid.zero)
            for lane in 0..<8 { packed.scales[index * 8 + lane] = HalfOctets.bits(grid.scale[lane]) }
            for k in 0..<groupSize {
                let codes = grid.halfCodes(group[k])
                packed.words[start + k] = AWQWord.pack(codes)
                var value = grid.halfRestored(codes)
                if let inputScales { value /= inputScales[start + k] }
                tally.add(original[start + k], value)
                if outputTokens != nil { restored[start + k] = value }
            }
        }
        packed.errors = tally.sums
        packed.histogram = tally.histogram
        measureOutputs(original, restored, into: &packed)
        return packed
    }

    /// The scaled and clipped weights of a group in float16, and their bounds.
    private func halve(
        _ original: [RowOctet], from start: Int, threshold: RowOctet?, into group: inout [RowOctet]
    ) -> (minimum: RowOctet, maximum: RowOctet) {
        var minimum = RowOctet(repeating: .infinity)
        var maximum = RowOctet(repeating: -.infinity)
        for k in 0..<groupSize {
            var weight = original[start + k]
            if let inputScales { weight *= inputScales[start + k] }
            if let threshold { weight = weight.greater(-threshold).lesser(threshold) }
            let half = HalfOctets.rounded(weight)
            minimum = minimum.lesser(half)
            maximum = maximum.greater(half)
            group[k] = half
        }
        return (minimum, maximum)
    }

    /// The first row of a group that float16 arithmetic cannot hold: a weight that overflows, or a range that does.
    private func refusal(
        _ bounds: (minimum: RowOctet, maximum: RowOctet), group: [RowOctet], original: [RowOctet], firstColumn: Int
    ) -> PackingRefusal? {
        let range = bounds.maximum - bounds.minimum
        let rounded = HalfOctets.rounded(range)
        for lane in 0..<8 where !(rounded[lane] <= AWQGrid.rangeLimit) {
            let extreme = max(bounds.maximum[lane], -bounds.minimum[lane])
            let column = firstColumn + (group.firstIndex { abs($0[lane]) == extreme } ?? 0)
            if extreme.isFinite {
                return PackingRefusal(row: lane, column: column, value: range[lane], limit: AWQGrid.rangeLimit)
            }
            let value = original[column][lane] * (inputScales?[column] ?? 1)
            return PackingRefusal(row: lane, column: column, value: value, limit: HalfOctets.limit)
        }
        return nil
    }

    private func measureOutputs(_ original: [RowOctet], _ restored: [RowOctet], into packed: inout PackedOctet) {
        guard let outputTokens else { return }
        let squares = AWQOutputs.squares(variants: 2, over: outputTokens, products) { variant, columns, rows, at in
            for column in columns {
                let weight = original[column]
                rows[at + column - columns.lowerBound] = variant == 0 ? weight - restored[column] : weight
            }
        }
        packed.outputError = squares[0].orderedSum
        packed.outputSignal = squares[1].orderedSum
    }
}

/// The running sums of eight rows, one for each lane.
private struct ErrorTally {
    private var signal = SIMD8<Double>()
    private var squaredError = SIMD8<Double>()
    private var restoredSquared = SIMD8<Double>()
    private var absoluteError = SIMD8<Double>()
    private var maximumError = RowOctet()
    private var maximumSignal = RowOctet()
    private var count = 0
    private(set) var histogram = [UInt64](repeating: 0, count: ErrorHistogram.bins)

    /// Counts eight weights and their restored values.
    @inline(__always)
    mutating func add(_ original: RowOctet, _ restored: RowOctet) {
        let x = SIMD8<Double>(original)
        let y = SIMD8<Double>(restored)
        let error = x - y
        let magnitude = (original - restored).magnitudes
        signal += x * x
        squaredError += error * error
        restoredSquared += y * y
        absoluteError += error.replacing(with: -error, where: error .< 0)
        maximumError = maximumError.greater(magnitude)
        maximumSignal = maximumSignal.greater(original.magnitudes)
        let bins = (original - restored).magnitudeBits &>> 19
        for lane in 0..<8 { histogram[Int(bins[lane])] += 1 }
        count += 8
    }

    /// The lanes added in order.
    var sums: QualitySums {
        var sums = QualitySums()
        sums.signal = signal.orderedSum
        sums.squaredError = squaredError.orderedSum
        sums.restoredSquared = restoredSquared.orderedSum
        sums.absoluteError = absoluteError.orderedSum
        sums.maximumError = Double(maximumError.max())
        sums.maximumSignal = Double(maximumSignal.max())
        sums.count = count
        return sums
    }
}
