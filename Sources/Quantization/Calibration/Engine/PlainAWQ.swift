import LinearAlgebra

/// AWQ as AutoAWQ 0.2.9 codes a layer, scales and clipping searched: what the report compares with.
///
/// The thresholds' errors come from the second moments of all calibration tokens, where the reference samples 512.
struct PlainAWQ: Sendable {
    /// The scales of the columns beyond those that tiles come with; nil where they have all.
    let scales: [Float]?
    /// Second moments of the inputs divided by all scales.
    let metric: GridMetric
    let groupSize: Int
    let blas: OpenBLAS

    /// What it changes in a tile of weights.
    func changes(of tile: WeightTile) -> WeightTile {
        var scaled = tile
        scaled.scale(columns: scales, rows: nil, firstRow: 0)
        var changes = WeightTile(columns: tile.columns, count: tile.count)
        for group in 0..<tile.columns / groupSize {
            let range = group * groupSize..<(group + 1) * groupSize
            for block in 0..<tile.blocks {
                let threshold = threshold(scaled, range, block)
                write(scaled, range, block, clippedTo: threshold, into: &changes)
            }
        }
        guard let scales else { return changes }
        for column in 0..<tile.columns {
            for block in 0..<tile.blocks { changes.lanes[column * tile.blocks + block] /= scales[column] }
        }
        return changes
    }

    /// The grid in the arithmetic of AutoAWQ's searches, float32; zero need not be on it.
    private static func grid(least: Lanes, greatest: Lanes, halves: Bool) -> LaneGrid {
        let range = (greatest - least).greater(Lanes(repeating: 1e-5)) / 15
        let scale = halves ? HalfPrecision.roundedToFloat16(range) : range
        let zero = (-(least / scale).nearestIntegers).greater(.zero).lesser(Lanes(repeating: 15))
        return LaneGrid(scale: scale, zero: zero)
    }

    private static func restored(_ weight: Lanes, _ grid: LaneGrid) -> Lanes {
        ((weight / grid.scale).nearestIntegers.greater(-grid.zero).lesser(15 - grid.zero)) * grid.scale
    }

    /// The threshold of least error among m, 0.95 m … 0.55 m; the first of equals.
    private func threshold(_ tile: WeightTile, _ range: Range<Int>, _ block: Int) -> Lanes {
        let (least, greatest) = tile.bounds(range, block: block)
        let magnitude = greatest.greater(-least)
        let count = AWQClipSearch.candidateCount
        let thresholds = (0..<count).map { magnitude * Float(1 - Double($0) / 20) }
        let grids = thresholds.map { threshold in
            Self.grid(
                least: least.greater(-threshold), greatest: greatest.lesser(threshold), halves: false)
        }
        var errors = [Lanes](repeating: .zero, count: count)
        for piece in metric.pieces(of: range) {
            var changes = [Lanes](repeating: .zero, count: piece.count * count)
            for (index, column) in piece.enumerated() {
                let weight = tile.lanes[column * tile.blocks + block]
                for candidate in 0..<count {
                    let threshold = thresholds[candidate]
                    let clipped = weight.greater(-threshold).lesser(threshold)
                    changes[index * count + candidate] = Self.restored(clipped, grids[candidate]) - weight
                }
            }
            let products = products(of: changes, piece, count: count)
            for index in changes.indices { errors[index % count] += changes[index] * products[index] }
        }
        var (best, chosen) = (errors[0], thresholds[0])
        for candidate in 1..<count {
            let isLess = errors[candidate] .< best
            best.replace(with: errors[candidate], where: isLess)
            chosen.replace(with: thresholds[candidate], where: isLess)
        }
        return chosen
    }

    /// The metric times `count` columns of changes.
    private func products(of changes: [Lanes], _ piece: Range<Int>, count: Int) -> [Lanes] {
        var products = changes
        guard metric.diagonal.isEmpty else {
            for index in products.indices { products[index] *= metric.diagonal[piece.lowerBound + index / count] }
            return products
        }
        var target = products.mutableSpan
        let panel = Panel(at: 0, stride: count * 16)
        blas.multiply(
            rows: piece.count, columns: count * 16, depth: piece.count, metric.products.span, metric.panel(piece),
            changes.span, panel, into: &target, panel)
        return products
    }

    /// What clipping and coding in float16 change.
    private func write(
        _ tile: WeightTile, _ range: Range<Int>, _ block: Int, clippedTo threshold: Lanes,
        into changes: inout WeightTile
    ) {
        let (least, greatest) = tile.bounds(range, block: block)
        let grid = Self.grid(
            least: HalfPrecision.roundedToFloat16(least.greater(-threshold)),
            greatest: HalfPrecision.roundedToFloat16(greatest.lesser(threshold)), halves: true)
        for column in range {
            let at = column * tile.blocks + block
            let clipped = HalfPrecision.roundedToFloat16(tile.lanes[at].greater(-threshold).lesser(threshold))
            changes.lanes[at] = tile.lanes[at] - HalfPrecision.roundedToFloat16(Self.restored(clipped, grid))
        }
    }
}
