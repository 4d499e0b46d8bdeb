import LinearAlgebra
import Tensors

/// A tile of rows with its codes, what they cost, and what is to be measured over tokens.
struct CodedTile: Sendable {
    let firstRow: Int
    let count: Int
    /// One byte a code, [column · blocks + block].
    let codes: [SIMD16<UInt8>]
    let blocks: Int
    /// The grids, some of them changed for those that span the weights.
    let grids: TileGrids
    /// The sums over all weights, against the original ones.
    var errors = QualitySums()
    /// How many errors fell into each bin of `ErrorHistogram`.
    var histogram = [UInt32](repeating: 0, count: ErrorHistogram.bins)
    /// The weights, and what coding changes in them: ours, rounding to nearest, AWQ.
    let variants: [WeightTile]
    /// The squares of their outputs, where second moments give them.
    var squares: [Double] = []
}

extension LayerCoding {
    /// Codes a tile against the grids that stand.
    func code(_ tile: BandTile) -> CodedTile {
        let (coder, weights) = (form.coder, tile.weights)
        var standing = grids.grids(of: weights, firstRow: tile.firstRow, groupSize: form.groupSize)
        guard let gptq else { return finish(tile, coder.nearest(weights, standing), standing) }
        var (units, ours) = gptq.round(weights, standing)
        // A row stays as near as on the grids that span it, where that is better for all that is known. NF4's scales
        // may be quantized together with those of other rows, so that they stand.
        let isNF4 = form.options.code == .nf4
        let spanning = isNF4 ? standing : TileGrids(spanning: weights, groupSize: form.groupSize, coder: coder)
        let reference = coder.nearest(weights, spanning)
        let theirs = gptq.errors(of: weights.changes(reference, spanning, coder))
        for block in 0..<weights.blocks {
            let isWorse = .!(ours[block] .<= theirs[block])
            standing.replace(with: spanning, block: block, where: isWorse)
            for at in stride(from: block, to: units.count, by: weights.blocks) {
                units[at].replace(with: reference[at], where: isWorse)
            }
        }
        return finish(tile, units, standing)
    }

    /// What rounding the weights to nearest changes that no column's scale has touched, scaled as the weights are.
    private func plainChanges(_ tile: BandTile) -> WeightTile {
        let grids = TileGrids(spanning: tile.original, groupSize: form.groupSize, coder: form.coder)
        var changes = tile.original.changes(form.coder.nearest(tile.original, grids), grids, form.coder)
        changes.scale(columns: form.columnScales, rows: form.rowDivisors, firstRow: tile.firstRow)
        return changes
    }

    private func finish(
        _ tile: BandTile, _ units: [Lanes], _ grids: TileGrids
    ) -> CodedTile {
        let (coder, weights) = (form.coder, tile.weights)
        var codes = [SIMD16<UInt8>](repeating: .zero, count: units.count)
        for column in 0..<weights.columns {
            for block in 0..<weights.blocks {
                let at = column * weights.blocks + block
                codes[at] = coder.codes(units[at], zero: grids[column: column, block: block].zero)
            }
        }
        let changes = weights.changes(units, grids, coder)
        var variants: [WeightTile] = []
        if gptq != nil || gram != nil || hasTokens {
            variants = [weights, changes, plainChanges(tile)]
            if let plain { variants.append(plain.changes(of: weights)) }
        }
        var coded = CodedTile(
            firstRow: tile.firstRow, count: weights.count, codes: codes, blocks: weights.blocks, grids: grids,
            variants: gram == nil ? variants : [])
        coded.measure(tile, units, coder, form)
        if let gram {
            let factors = form.squaredDivisors(from: tile.firstRow, count: weights.count)
            coded.squares = variants.map { variant in
                let errors = gram.errors(of: variant, damping: -drawn, blas: blas)
                return (0..<variant.count).reduce(0.0) { sum, row in
                    sum + max(0, Double(errors[row / 16][row % 16])) * factors[row]
                }
            }
        }
        return coded
    }
}

extension LaneCoder {
    /// The units of the nearest codes of a tile.
    func nearest(_ tile: WeightTile, _ grids: TileGrids) -> [Lanes] {
        let inverses = grids.grids.map(\.inverse)
        var units = [Lanes](repeating: .zero, count: tile.lanes.count)
        for column in 0..<tile.columns {
            for block in 0..<tile.blocks {
                let (at, group) = (column * tile.blocks + block, column / grids.groupSize * tile.blocks + block)
                units[at] = self.units(tile.lanes[at] * inverses[group], zero: grids.grids[group].zero)
            }
        }
        return units
    }
}

extension WeightTile {
    /// What a reader misses of the weights.
    func changes(_ units: [Lanes], _ grids: TileGrids, _ coder: LaneCoder) -> WeightTile {
        var changes = self
        for column in 0..<columns {
            for block in 0..<blocks {
                let at = column * blocks + block
                changes.lanes[at] -= coder.restored(units[at], grids[column: column, block: block])
            }
        }
        return changes
    }
}

extension CodedTile {
    /// Columns whose sums stay in Float.
    private static let stretch = 64

    /// Adds up what a reader misses of the original weights.
    fileprivate mutating func measure(
        _ tile: BandTile, _ units: [Lanes], _ coder: LaneCoder, _ form: LayerForm
    ) {
        let original = tile.original
        let divisors = form.rowDivisors.map { original.vectors(of: $0, from: firstRow, padding: 1) }
        for block in 0..<blocks {
            let lanes = min(16, count - block * 16)
            var (largest, loudest) = (Lanes.zero, Lanes.zero)
            for first in stride(from: 0, to: original.columns, by: Self.stretch) {
                var (signal, squared, restoredSquared, absolute) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
                for column in first..<min(original.columns, first + Self.stretch) {
                    let at = column * blocks + block
                    var restored = coder.restored(units[at], grids[column: column, block: block])
                    if let divisors { restored *= divisors[block] }
                    if let scales = form.columnScales { restored /= scales[column] }
                    let error = original.lanes[at] - restored
                    signal += original.lanes[at] * original.lanes[at]
                    squared += error * error
                    restoredSquared += restored * restored
                    absolute += error.magnitude
                    largest = largest.greater(error.magnitude)
                    loudest = loudest.greater(original.lanes[at].magnitude)
                    let bins = error.magnitude.bitPattern &>> 19
                    for lane in 0..<lanes { histogram[Int(bins[lane])] += 1 }
                }
                errors.signal += signal.orderedSum
                errors.squaredError += squared.orderedSum
                errors.restoredSquared += restoredSquared.orderedSum
                errors.absoluteError += absolute.orderedSum
            }
            errors.maximumError = max(errors.maximumError, Double(largest.max()))
            errors.maximumSignal = max(errors.maximumSignal, Double(loudest.max()))
        }
        errors.count = count * original.columns
    }
}
