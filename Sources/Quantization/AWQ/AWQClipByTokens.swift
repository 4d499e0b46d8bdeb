/// The clip search for groups too wide for second moments: a whole row is one group, and the tokens are visited.
struct AWQClipByTokens {
    let columns: Int
    let threads: Int?
    let tokens: [Int]
    let scales: [Float]?
    let products: RowProducts

    /// The tokens, if one block holds all of them.
    private var resident: TokenBlock?

    /// Uses the given tokens of the activations, each divided by its column's scale.
    init(columns: Int, tokens: [Int], dividedBy scales: [Float]?, threads: Int?, products: RowProducts) {
        self.products = products
        self.columns = columns
        self.threads = threads
        self.tokens = tokens
        self.scales = scales
    }

    /// The best threshold of each of eight rows.
    mutating func threshold(_ weights: [RowOctet], _ rows: inout StagedRows) throws(QuantizationError) -> RowOctet {
        let size = columns
        let magnitude = AWQClipSearch.greatestMagnitude(weights.span, from: 0, count: size)
        let changes = OrderedWork.map(AWQClipSearch.candidateCount, threads: threads) { candidate in
            var changes = [RowOctet](repeating: RowOctet(), count: size)
            var span = changes.mutableSpan
            let threshold = AWQClipSearch.threshold(candidate, of: magnitude)
            AWQClipSearch.writeChanges(of: weights.span, from: 0, count: size, clippedTo: threshold, to: &span, at: 0)
            return changes
        }
        var sums = [SIMD8<Double>](repeating: SIMD8(), count: changes.count)
        let step = AWQTiles.tokens(columns: columns)
        for first in stride(from: 0, to: tokens.count, by: step) {
            let block = try block(first..<min(tokens.count, first + step), &rows)
            let parts = OrderedWork.map(block.panelCount, threads: threads) { [products] panel in
                Self.squares(changes, panel: panel, of: block, products)
            }
            for part in parts { for candidate in sums.indices { sums[candidate] += part[candidate] } }
        }
        var choice = ClipChoice(magnitude: magnitude)
        for candidate in sums.indices {
            let threshold = AWQClipSearch.threshold(candidate, of: magnitude)
            choice.offer(threshold, error: sums[candidate] / Double(tokens.count))
        }
        return choice.threshold
    }

    private mutating func block(_ range: Range<Int>, _ rows: inout StagedRows) throws(QuantizationError) -> TokenBlock {
        if let resident { return resident }
        let block = try TokenBlock(&rows, tokens: Array(tokens[range]), dividedBy: scales)
        if range.count == tokens.count { resident = block }
        return block
    }

    /// For each candidate the sum over four tokens of the squared changes of the outputs of eight rows.
    private static func squares(
        _ changes: [[RowOctet]], panel: Int, of block: TokenBlock, _ products: RowProducts
    ) -> [SIMD8<Double>] {
        changes.map { change in
            var sums = [RowOctet](repeating: RowOctet(), count: 4)
            var span = sums.mutableSpan
            products.add(
                left: block.panels.span, StridedVectors(start: panel * block.columns, count: 1, stride: 0),
                right: change.span, StridedVectors(start: 0, count: 1, stride: 0), steps: block.columns, to: &span,
                stride: 4)
            var total = SIMD8<Double>()
            for output in sums {
                let wide = SIMD8<Double>(output)
                total += wide * wide
            }
            return total
        }
    }
}
