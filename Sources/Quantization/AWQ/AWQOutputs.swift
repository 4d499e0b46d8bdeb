/// Squared outputs of eight rows over a block of tokens, for several variants of the rows at once.
enum AWQOutputs {
    /// For each variant the sum over tokens and rows of (x · row)², the variants' columns coming from `fill`.
    ///
    /// `fill(variant, columns, span, at)` writes the columns of one variant from `at`; slices of columns are asked for
    /// in ascending order. Products are summed in Float along the columns, squares in Double.
    static func squares(
        variants: Int, over block: TokenBlock, _ products: RowProducts,
        fill: (Int, Range<Int>, inout MutableSpan<RowOctet>, Int) -> Void
    ) -> [SIMD8<Double>] {
        let slice = AWQTiles.sliceColumns
        let tokens = block.panelCount * 4
        var rows = [RowOctet](repeating: RowOctet(), count: variants * slice)
        var outputs = [RowOctet](repeating: RowOctet(), count: variants * tokens)
        let panels = block.panels.span
        for start in stride(from: 0, to: block.columns, by: slice) {
            let columns = start..<min(block.columns, start + slice)
            for variant in 0..<variants {
                var span = rows.mutableSpan
                fill(variant, columns, &span, variant * slice)
            }
            var span = outputs.mutableSpan
            products.add(
                left: panels, StridedVectors(start: start, count: block.panelCount, stride: block.columns),
                right: rows.span, StridedVectors(start: 0, count: variants, stride: slice), steps: columns.count,
                to: &span, stride: tokens)
        }
        return (0..<variants).map { variant in
            var sum = SIMD8<Double>()
            for at in variant * tokens..<(variant + 1) * tokens {
                let output = SIMD8<Double>(outputs[at])
                sum += output * output
            }
            return sum
        }
    }
}

extension SIMD8<Double> {
    /// The lanes added in ascending order.
    var orderedSum: Double {
        var sum = 0.0
        for lane in 0..<8 { sum += self[lane] }
        return sum
    }
}
