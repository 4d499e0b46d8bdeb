import LinearAlgebra

/// Finds the grid of each row's groups that changes the outputs least, as far as the metric tells.
///
/// Both ends of the range that the codes span are shrunk. For each candidate the nearest codes c have a scale of least
/// error, cᵀHw / cᵀHc, and leave wᵀHw − (cᵀHw)² / cᵀHc of it: what explains most wins. The scale, as the format stores
/// it, is kept with these codes or with the nearest ones on it, where either has less error than the grid that spans the
/// weights.
struct GridSearch {
    private let coder: LaneCoder
    private let metric: GridMetric
    private let groupSize: Int
    private let blas: OpenBLAS
    private let candidates: [(low: Float, high: Float)]
    /// Units of all candidates of a batch, [column][candidate], and their products with the metric.
    private var units: [Lanes] = []
    private var products: [Lanes] = []
    /// The metric times the weights of a group, [column][block].
    private var weighted: [Lanes] = []

    /// Candidates whose units are held at once: 295 KB with a piece of 128 columns, and as much for their products.
    private static let batch = 36
    /// Weights of other magnitudes have no grid: sums of their squares would leave float32.
    private static let magnitudes: ClosedRange<Float> = 0x1p-60...0x1p60

    /// A search for tiles of a layer; `clip` false leaves every grid spanning its weights.
    init(coder: LaneCoder, metric: GridMetric, groupSize: Int, clip: Bool, blas: OpenBLAS) {
        self.coder = coder
        self.metric = metric
        self.groupSize = groupSize
        self.blas = blas
        candidates = clip ? Self.candidates(of: coder.code) : []
    }

    /// The shares of what weights span below and above zero that codes span.
    static func candidates(of code: CalibratedCode) -> [(low: Float, high: Float)] {
        switch code {
        // Nine steps from 1 to 0.6 at both ends, at most five of them apart.
        case .affine:
            let shares = (0..<9).map { 1 - Float($0) * 0.05 }
            return shares.flatMap { low in
                shares.filter { high in abs(high - low) < 0.26 }.map { high in (low: low, high: high) }
            }
        // Sixteen shares of the library's range, the first a step beyond: 7 codes above zero, where it has 7.5.
        case .symmetric(let bits):
            let (first, step): (Float, Float) = bits == 4 ? (7.5 / 7, 0.035) : (127.5 / 127, 0.008)
            return Self.shares(16, from: first, step: step)
        case .nf4: return Self.shares(16, from: 1.05, step: 0.023)
        }
    }

    private static func shares(_ count: Int, from first: Float, step: Float) -> [(low: Float, high: Float)] {
        (0..<count).map { index in
            let share = first - Float(index) * step
            return (low: share, high: share)
        }
    }

    /// The grids of a tile, and what the square of a change of each scale costs: cᵀHc.
    mutating func grids(of tile: WeightTile) -> (grids: TileGrids, costs: [Lanes]) {
        var grids = TileGrids(spanning: tile, groupSize: groupSize, coder: coder)
        var costs = [Lanes](repeating: .zero, count: grids.grids.count)
        guard !candidates.isEmpty else { return (grids, costs) }
        for group in 0..<tile.columns / groupSize {
            let range = group * groupSize..<(group + 1) * groupSize
            weigh(tile, range)
            // Where columns are known each on its own, no codes are better than the nearest.
            let count = metric.diagonal.isEmpty ? 2 : 1
            var proposals = [[LaneGrid]](repeating: [], count: count)
            var isUsable: [SIMDMask<SIMD16<Int32>>] = []
            for block in 0..<tile.blocks {
                let found = propose(tile, range, block)
                let stored = coder.stored(found.grid.scale)
                isUsable.append(stored.isUsable)
                var grid = LaneGrid(scale: stored.value, zero: found.grid.zero)
                proposals[0].append(grid)
                grid.density = found.grid.density
                if count > 1 { proposals[1].append(grid) }
                costs[group * tile.blocks + block] = found.cost
            }
            let first = group * tile.blocks
            var least = errors(tile, range, Array(grids.grids[first..<first + tile.blocks]))
            for proposal in proposals {
                let found = errors(tile, range, proposal)
                for block in 0..<tile.blocks {
                    let isLess = isUsable[block] .& (found[block] .< least[block])
                    grids.grids[first + block].replace(with: proposal[block], where: isLess)
                    least[block].replace(with: found[block], where: isLess)
                }
            }
        }
        return (grids, costs)
    }

    /// H · w for a group.
    private mutating func weigh(_ tile: WeightTile, _ range: Range<Int>) {
        let count = range.count * tile.blocks
        if weighted.count != count { weighted = [Lanes](repeating: .zero, count: count) }
        guard metric.diagonal.isEmpty else {
            for column in range {
                for block in 0..<tile.blocks {
                    weighted[(column - range.lowerBound) * tile.blocks + block] =
                        tile.lanes[column * tile.blocks + block] * metric.diagonal[column]
                }
            }
            return
        }
        let (blas, metric) = (blas, metric)
        var target = weighted.mutableSpan
        for piece in metric.pieces(of: range) {
            blas.multiply(
                rows: piece.count, columns: tile.width, depth: piece.count, metric.products.span, metric.panel(piece),
                tile.lanes.span, Panel(at: piece.lowerBound * tile.width, stride: tile.width), into: &target,
                Panel(at: (piece.lowerBound - range.lowerBound) * tile.width, stride: tile.width))
        }
    }

    /// cᵀHc and cᵀHw of some candidates.
    private struct Sums {
        var square = Lanes.zero
        var product = Lanes.zero
    }

    /// The grid that explains most of sixteen rows' group, its scale not yet as stored; no number where none does.
    private mutating func propose(
        _ tile: WeightTile, _ range: Range<Int>, _ block: Int
    ) -> (grid: LaneGrid, cost: Lanes) {
        let (least, greatest) = tile.bounds(range, block: block)
        let absmax = greatest.greater(-least)
        let isCodable = (absmax .>= Self.magnitudes.lowerBound) .& (absmax .<= Self.magnitudes.upperBound)
        let unit = (1 / absmax).replacing(with: 0, where: .!isCodable)
        var best = LaneGrid(scale: Lanes(repeating: .nan))
        var (most, cost) = (Lanes.zero, Lanes.zero)
        for first in stride(from: 0, to: candidates.count, by: Self.batch) {
            let grids = candidates[first..<min(candidates.count, first + Self.batch)].map {
                grid($0, least: least, greatest: greatest, absmax: absmax, isCodable)
            }
            let sums = sums(tile, range, block, grids)
            for (grid, sum) in zip(grids, sums) {
                let scale = sum.product / sum.square
                let explained = (sum.product * unit) * (scale * unit)
                // Neither is a group without weights or without inputs, where a quotient is no number.
                let isMore = (sum.product .> 0) .& (explained .> most)
                most.replace(with: explained, where: isMore)
                cost.replace(with: sum.square, where: isMore)
                best.replace(
                    with: LaneGrid(scale: scale, zero: grid.zero, density: grid.inverse), where: isMore)
            }
        }
        return (best, cost)
    }

    /// A candidate's grid, its scale as computed; any where a group is not codable.
    @inline(__always)
    private func grid(
        _ shares: (low: Float, high: Float), least: Lanes, greatest: Lanes, absmax: Lanes,
        _ isCodable: SIMDMask<SIMD16<Int32>>
    ) -> LaneGrid {
        var grid = LaneGrid()
        switch coder.code {
        case .affine:
            let low = least.lesser(.zero) * shares.low
            grid.scale = (greatest.greater(.zero) * shares.high - low) / 15
            grid.zero = (-low / grid.scale).lesser(Lanes(repeating: 15)).nearestIntegers
        case .symmetric(let bits): grid.scale = absmax * (shares.high / (bits == 4 ? 7.5 : 127.5))
        case .nf4: grid.scale = absmax * shares.high
        }
        return LaneGrid(
            scale: grid.scale.replacing(with: 1, where: .!isCodable),
            zero: grid.zero.replacing(with: 0, where: .!isCodable))
    }

    private mutating func sums(
        _ tile: WeightTile, _ range: Range<Int>, _ block: Int, _ grids: [LaneGrid]
    ) -> [Sums] {
        var sums = [Sums](repeating: Sums(), count: grids.count)
        let isDiagonal = !metric.diagonal.isEmpty
        for piece in metric.pieces(of: range) {
            for (index, grid) in grids.enumerated() {
                let inverse = grid.inverse
                let start = (piece.lowerBound - range.lowerBound) * tile.blocks + block
                if isDiagonal {
                    addDiagonal(tile, piece, block, grid, inverse, weightedAt: start, to: &sums[index])
                } else {
                    fill(tile, piece, block, grid.zero, inverse, index, of: grids.count)
                }
            }
            guard !isDiagonal else { continue }
            multiply(piece, count: grids.count)
            for index in grids.indices {
                add(
                    piece.count, index, of: grids.count, weightedAt: (piece.lowerBound - range.lowerBound), block,
                    tile.blocks, to: &sums[index])
            }
        }
        return sums
    }

    /// One candidate's part of the sums where the columns are known each on its own.
    private func addDiagonal(
        _ tile: WeightTile, _ piece: Range<Int>, _ block: Int, _ grid: LaneGrid, _ inverse: Lanes,
        weightedAt start: Int,
        to sums: inout Sums
    ) {
        var at = start
        for column in piece {
            let units = coder.units(tile.lanes[column * tile.blocks + block] * inverse, zero: grid.zero)
            sums.square += units * units * metric.diagonal[column]
            sums.product += units * weighted[at]
            at += tile.blocks
        }
    }

    /// The units of one of `count` candidates.
    private mutating func fill(
        _ tile: WeightTile, _ piece: Range<Int>, _ block: Int, _ zero: Lanes, _ inverse: Lanes, _ index: Int,
        of count: Int
    ) {
        let needed = piece.count * count
        if units.count < needed {
            units = [Lanes](repeating: .zero, count: needed)
            products = units
        }
        let coder = coder
        var target = units.mutableSpan
        let weights = tile.lanes.span
        var (from, to) = (piece.lowerBound * tile.blocks + block, index)
        for _ in piece {
            target[to] = coder.units(weights[from] * inverse, zero: zero)
            from += tile.blocks
            to += count
        }
    }

    /// H · c for the units of `count` candidates.
    private mutating func multiply(_ piece: Range<Int>, count: Int) {
        let (blas, metric, units) = (blas, metric, units)
        var target = products.mutableSpan
        let panel = Panel(at: 0, stride: count * 16)
        blas.multiply(
            rows: piece.count, columns: count * 16, depth: piece.count, metric.products.span, metric.panel(piece),
            units.span, panel, into: &target, panel)
    }

    private func add(
        _ columns: Int, _ index: Int, of count: Int, weightedAt first: Int, _ block: Int, _ blocks: Int,
        to sums: inout Sums
    ) {
        let (units, products, weighted) = (units.span, products.span, weighted.span)
        var (from, at) = (index, first * blocks + block)
        var (square, product) = (Lanes.zero, Lanes.zero)
        for _ in 0..<columns {
            square += units[from] * products[from]
            product += units[from] * weighted[at]
            from += count
            at += blocks
        }
        sums.square += square
        sums.product += product
    }

    /// dᵀHd of the nearest codes on a grid for each block of rows of a group, in units of the largest weight.
    private mutating func errors(_ tile: WeightTile, _ range: Range<Int>, _ grids: [LaneGrid]) -> [Lanes] {
        let blocks = tile.blocks
        let inverses = grids.map(\.inverse)
        let norms = (0..<blocks).map { block in
            let (least, greatest) = tile.bounds(range, block: block)
            return 1 / greatest.greater(-least).greater(Lanes(repeating: .leastNormalMagnitude))
        }
        var errors = [Lanes](repeating: .zero, count: blocks)
        for piece in metric.pieces(of: range) {
            if units.count < piece.count * blocks {
                units = [Lanes](repeating: .zero, count: piece.count * blocks)
                products = units
            }
            for (index, column) in piece.enumerated() {
                for block in 0..<blocks {
                    let weight = tile.lanes[column * blocks + block]
                    let nearest = coder.units(weight * inverses[block], zero: grids[block].zero)
                    units[index * blocks + block] = (weight - coder.restored(nearest, grids[block])) * norms[block]
                }
            }
            if metric.diagonal.isEmpty { multiply(piece, count: blocks) }
            for (index, column) in piece.enumerated() {
                for block in 0..<blocks {
                    let d = units[index * blocks + block]
                    let product =
                        metric.diagonal.isEmpty ? products[index * blocks + block] : d * metric.diagonal[column]
                    errors[block] += d * product
                }
            }
        }
        return errors
    }
}
