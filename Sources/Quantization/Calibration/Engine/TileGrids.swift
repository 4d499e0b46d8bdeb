/// The grids of a tile of rows: element [group · blocks + block].
struct TileGrids: Sendable {
    let groupSize: Int
    let blocks: Int
    var grids: [LaneGrid]

    /// Grids that nothing is known of.
    init(groups: Int, groupSize: Int, blocks: Int) {
        self.groupSize = groupSize
        self.blocks = blocks
        grids = [LaneGrid](repeating: LaneGrid(), count: groups * blocks)
    }

    /// The grid of a column's group.
    @inline(__always)
    subscript(column column: Int, block block: Int) -> LaneGrid { grids[column / groupSize * blocks + block] }

    /// The grids that span the rows of a tile.
    init(spanning tile: WeightTile, groupSize: Int, coder: LaneCoder) {
        self.init(groups: tile.columns / groupSize, groupSize: groupSize, blocks: tile.blocks)
        for group in 0..<tile.columns / groupSize {
            for block in 0..<blocks {
                let (least, greatest) = tile.bounds(group * groupSize..<(group + 1) * groupSize, block: block)
                grids[group * blocks + block] = coder.spanning(minimum: least, maximum: greatest)
            }
        }
    }

    /// Takes the grids of `other` in the rows that `mask` says.
    mutating func replace(with other: TileGrids, block: Int, where mask: SIMDMask<SIMD16<Int32>>) {
        for index in stride(from: block, to: grids.count, by: blocks) {
            grids[index].replace(with: other.grids[index], where: mask)
        }
    }
}

extension WeightTile {
    /// The least and the greatest weight of each row in a range of columns.
    func bounds(_ range: Range<Int>, block: Int) -> (least: Lanes, greatest: Lanes) {
        var least = lanes[range.lowerBound * blocks + block]
        var greatest = least
        for column in range.dropFirst() {
            let weight = lanes[column * blocks + block]
            least = least.lesser(weight)
            greatest = greatest.greater(weight)
        }
        return (least, greatest)
    }
}

/// The grids of all rows of a layer, row after row as the formats store them.
struct LayerGrids: Sendable {
    let groups: Int
    /// The scale of each group.
    var scales: [Float]
    /// The code of zero of each group; of affine codes alone.
    var zeros: [UInt8]
    /// What weights of each group are multiplied by to become codes, where that is not the reciprocal of its scale.
    var densities: [Float]
    /// What the square of a change of each scale costs; of scales alone that are quantized themselves.
    var costs: [Float]

    init(rows: Int, groups: Int, hasZeros: Bool, hasDensities: Bool, hasCosts: Bool) {
        self.groups = groups
        scales = [Float](repeating: 0, count: rows * groups)
        zeros = [UInt8](repeating: 0, count: hasZeros ? rows * groups : 0)
        densities = [Float](repeating: 0, count: hasDensities ? rows * groups : 0)
        costs = [Float](repeating: 0, count: hasCosts ? rows * groups : 0)
    }

    /// Takes the grids of a tile of `count` rows from `firstRow` on, and their costs.
    mutating func take(_ tile: TileGrids, costs tileCosts: [Lanes] = [], firstRow: Int, count: Int) {
        for row in 0..<count {
            for group in 0..<groups {
                let (at, from) = ((firstRow + row) * groups + group, group * tile.blocks + row / 16)
                scales[at] = tile.grids[from].scale[row % 16]
                if !zeros.isEmpty { zeros[at] = UInt8(tile.grids[from].zero[row % 16]) }
                if !densities.isEmpty { densities[at] = tile.grids[from].density[row % 16] }
                if !costs.isEmpty, !tileCosts.isEmpty { costs[at] = tileCosts[from][row % 16] }
            }
        }
    }

    /// The grids of `tile`, whose first row is `firstRow`.
    func grids(of tile: WeightTile, firstRow: Int, groupSize: Int) -> TileGrids {
        var result = TileGrids(groups: groups, groupSize: groupSize, blocks: tile.blocks)
        for row in 0..<tile.count {
            for group in 0..<groups {
                let (at, to) = ((firstRow + row) * groups + group, group * tile.blocks + row / 16)
                result.grids[to].scale[row % 16] = scales[at]
                if !zeros.isEmpty { result.grids[to].zero[row % 16] = Float(zeros[at]) }
                if !densities.isEmpty { result.grids[to].density[row % 16] = densities[at] }
            }
        }
        return result
    }
}
