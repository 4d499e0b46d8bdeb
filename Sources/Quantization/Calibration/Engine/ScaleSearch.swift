import LinearAlgebra
import Tensors

/// One Linear's part in the search for the scales of its input columns: AWQ's statistics and losses.
///
/// Several Linears that share their input add up their sums and losses.
struct ScaleSearch {
    /// What errors call the weight.
    let name: String
    let weight: StagedTensor
    let storage: any StoredBytes
    /// What would be written.
    let code: CalibratedCode
    /// Columns that share a scale; -1 is the whole row.
    let groupSize: Int
    /// What the rows of the weight are divided by.
    var rowDivisors: [Float]?
    var threads = 1

    /// Rows that tell enough where each needs the product with all second moments.
    private static let sampledTiles = 4

    private var size: Int { groupSize == -1 ? weight.columns : groupSize }

    /// Calls `body` with every `step`-th tile of rows.
    private func forEachTile(
        step: Int = 1, progress: () throws(QuantizationError) -> Void,
        _ body: (WeightTile) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        var rows = StagedRows(weight, storage: storage, name: name)
        var values = [Float](repeating: 0, count: min(weight.rows, WeightTile.rows) * weight.columns)
        for first in stride(from: 0, to: weight.rows, by: WeightTile.rows * step) {
            try progress()
            let range = first..<min(weight.rows, first + WeightTile.rows)
            try rows.read(rows: range, into: &values)
            var tile = WeightTile(values, rows: 0..<range.count, columns: weight.columns)
            tile.scale(columns: nil, rows: rowDivisors, firstRow: first)
            try body(tile)
        }
    }

    /// Sums over all rows of |weight| / (largest magnitude of its group + 1e-6), for each column.
    func magnitudeSums(
        progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> [Double] {
        var sums = [Double](repeating: 0, count: weight.columns)
        try forEachTile(progress: progress) { tile in
            for group in stride(from: 0, to: weight.columns, by: size) {
                for block in 0..<tile.blocks {
                    let (least, greatest) = tile.bounds(group..<group + size, block: block)
                    let most = greatest.greater(-least) + 1e-6
                    for column in group..<group + size {
                        sums[column] += (tile.lanes[column * tile.blocks + block].magnitude / most).orderedSum
                    }
                }
            }
        }
        return sums
    }

    /// For each of `candidates`, scales of the columns, the mean over tokens of the squared change of the outputs,
    /// summed over all rows; of more than 512 rows a sample speaks for all where no tokens are known.
    ///
    /// Throws `calibration.range` where the outputs overflow.
    func losses(
        of candidates: [[Float]], over inputs: SearchInputs, progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> [Double] {
        var losses = [Double](repeating: 0, count: candidates.count)
        let tiles = (weight.rows + WeightTile.rows - 1) / WeightTile.rows
        let step = inputs.isSampled ? 1 : max(1, tiles / Self.sampledTiles)
        let (coder, size, threads) = (LaneCoder(code, weight: weight.type), size, threads)
        var taken = 0
        try forEachTile(step: step, progress: progress) { tile in
            taken += tile.count
            let parts = OrderedWork.map(candidates.count, threads: threads) { candidate in
                inputs.loss(of: Self.changes(of: tile, candidates[candidate], coder, groupSize: size))
            }
            for (candidate, part) in parts.enumerated() { losses[candidate] += part }
        }
        guard losses.contains(where: \.isFinite) else {
            throw .calibration(code: "calibration.range", detail: "The outputs of '\(name)' overflow float32.")
        }
        let share = Double(weight.rows) / Double(max(1, taken))
        return losses.map { $0.isFinite ? $0 * share : .infinity }
    }

    /// What scaling the columns, rounding to nearest and scaling back changes.
    private static func changes(
        of tile: WeightTile, _ scales: [Float], _ coder: LaneCoder, groupSize: Int
    ) -> WeightTile {
        var changed = tile
        changed.scale(columns: scales, rows: nil, firstRow: 0)
        let grids = TileGrids(spanning: changed, groupSize: groupSize, coder: coder)
        let inverses = grids.grids.map(\.inverse)
        for column in 0..<tile.columns {
            let back = 1 / scales[column]
            for block in 0..<tile.blocks {
                let (at, group) = (column * tile.blocks + block, column / groupSize * tile.blocks + block)
                let units = coder.units(changed.lanes[at] * inverses[group], zero: grids.grids[group].zero)
                changed.lanes[at] = units * grids.grids[group].scale * back - tile.lanes[at]
            }
        }
        return changed
    }

    /// The exponent and the scales with the least loss for this layer alone; nil where nothing tells the columns apart.
    func run(
        over inputs: SearchInputs, duoScaling: Bool, progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> (ratio: Double, scales: [Float])? {
        let sums = try magnitudeSums(progress: progress)
        let means = sums.map { $0 / Double(max(1, weight.rows)) }
        let candidates = (0..<AWQScaleSearch.gridCount).map {
            AWQScaleSearch.scales(
                candidate: $0, activationMeans: inputs.magnitudes, weightMeans: means, duo: duoScaling)
        }
        let losses = try losses(of: candidates, over: inputs, progress: progress)
        guard let least = losses.min(), let best = losses.firstIndex(of: least) else { return nil }
        return (AWQScaleSearch.ratio(best), candidates[best])
    }
}

/// What a search for scales knows of the inputs: some tokens, or their second moments.
struct SearchInputs: Sendable {
    private enum Form {
        /// [tokens, columns]; what share of their outputs counts, and what changes of each column cost beside them.
        case tokens(Matrix, share: Double, own: [Float])
        /// Products of different columns count times 1 − `shrinkage`.
        case moments(Hessian, shrinkage: Double)
    }
    /// The mean magnitude of each column, its root mean square where nothing else is known: drawn together as far as
    /// chance tells them apart, and never so small that a column's weights would vanish in their group.
    let magnitudes: [Float]
    private let form: Form
    private let blas: OpenBLAS

    /// Tokens that the losses are taken over, evenly spaced among those calibrated on.
    static let maximumTokens = 512

    /// Reads the calibration data; at most 512 tokens are kept of activations.
    ///
    /// Throws what `InputMoments` does.
    init(
        _ calibration: LayerCalibration, blas: OpenBLAS, progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        self.blas = blas
        guard let activations = calibration.activations else {
            let moments = try InputMoments(
                calibration, isFull: true, blockSize: GridMetric.widest, dividedBy: nil, blas: blas, threads: 1,
                isNormalized: false, progress: progress)
            form = .moments(moments.hessian, shrinkage: moments.shrinkage)
            magnitudes = Self.usable(
                try calibration.magnitudes() ?? moments.diagonal.map { $0.squareRoot() }, share: moments.squareShare)
            return
        }
        let columns = calibration.columns
        let count = InputMoments.calibrationTokens(of: activations.shape[0])
        let kept = min(count, Self.maximumTokens)
        var tokens = Matrix(rows: kept, columns: columns)
        var rows = activations.rows(count: activations.shape[0], columns: columns)
        var sums = [Double](repeating: 0, count: columns)
        var line = [Float](repeating: 0, count: columns)
        var next = 0
        for token in 0..<count {
            if token % 1024 == 0 { try progress() }
            try rows.read(token..<token + 1, into: &line)
            for column in 0..<columns { sums[column] += Double(line[column].magnitude) }
            guard next < kept, token == next * count / kept else { continue }
            for column in 0..<columns { tokens.elements[next * columns + column] = line[column] }
            next += 1
        }
        let (share, shrinkage, squares) = Self.chance(in: tokens, blas)
        magnitudes = Self.usable(sums.map { Float($0 / Double(count)) }, share: share)
        let mean = squares.reduce(0.0) { $0 + Double($1) } / Double(max(1, columns))
        let (given, least) = (share * mean, Double(InputMoments.share) * mean)
        let own = squares.map { Float(max((1 - share) * shrinkage * Double($0) + given, $0 == 0 ? least : 0)) }
        form = .tokens(tokens, share: (1 - share) * (1 - shrinkage), own: own)
    }

    /// The shares of these tokens' mean squares, and of their correlations, that are chance; and the squares.
    private static func chance(
        in tokens: Matrix, _ blas: OpenBLAS
    ) -> (share: Double, shrinkage: Double, squares: [Float]) {
        let (count, columns) = (tokens.rows, tokens.columns)
        var sums = [Double](repeating: 0, count: columns)
        for token in 0..<count {
            for column in 0..<columns {
                let input = Double(tokens[token, column])
                sums[column] += input * input
            }
        }
        let squares = sums.map { Float($0 / Double(count)) }
        var scatter = TokenScatter(squares: squares)
        scatter.add(tokens.elements, tokens: count)
        // The products of all tokens with each other add up to the squares of the correlations.
        let units = squares.map { $0 > 0 ? 1 / $0 : 0 }
        let live = units.count { $0 > 0 }
        var (scaled, products) = (Matrix(rows: 1, columns: columns), [Float](repeating: 0, count: count))
        var sum = 0.0
        for token in 0..<count {
            for column in 0..<columns { scaled.elements[column] = tokens[token, column] * units[column] }
            var target = products.mutableSpan
            blas.multiply(
                rows: 1, columns: count, depth: columns, scaled.elements.span, scaled.panel, tokens.elements.span,
                Panel(at: 0, stride: columns, isTransposed: true), into: &target, Panel(at: 0, stride: count))
            for product in products { sum += Double(product) * Double(product) }
        }
        let correlations = sum / (Double(count) * Double(count)) - Double(live)
        let shrinkage = scatter.share(ofCorrelations: correlations, count: live * (live - 1))
        return (scatter.share(ofSquares: squares), shrinkage, squares)
    }

    private static func usable(_ magnitudes: [Float], share: Double) -> [Float] {
        let mean = magnitudes.reduce(0.0) { $0 + Double($1) } / Double(max(1, magnitudes.count))
        let least = Double(InputMoments.share).squareRoot() * mean
        return magnitudes.map { Float(max(Double($0) * (1 - share) + mean * share, least)) }
    }

    /// Whether tokens are known: then every row counts.
    fileprivate var isSampled: Bool {
        if case .tokens = form { return true }
        return false
    }

    /// The mean over tokens of the squared change of the outputs, summed over the rows of a tile.
    fileprivate func loss(of changes: WeightTile) -> Double {
        switch form {
        case .tokens(let tokens, let share, let own):
            let outputs = changes.outputs(of: tokens.elements, tokens: tokens.rows, blas).reduce(0, +)
            let alone = Hessian.diagonal(own).errors(of: changes, shrinkage: 0, blas)
            return outputs / Double(tokens.rows) * share + alone.reduce(0) { $0 + $1.orderedSum }
        case .moments(let hessian, let shrinkage):
            return hessian.errors(of: changes, shrinkage: shrinkage, blas).reduce(0) { $0 + $1.orderedSum }
        }
    }
}

extension WeightTile {
    /// The sum over tokens of (x · row)² for each row; `x` is [tokens, columns].
    func outputs(of x: [Float], tokens: Int, _ blas: OpenBLAS) -> [Double] {
        var outputs = [Lanes](repeating: .zero, count: tokens * blocks)
        var target = outputs.mutableSpan
        blas.multiply(
            rows: tokens, columns: width, depth: columns, x.span, Panel(at: 0, stride: columns), lanes.span, panel,
            into: &target, panel)
        var sums = [Double](repeating: 0, count: count)
        for block in 0..<blocks {
            var sum = SIMD16<Double>()
            for token in 0..<tokens {
                let output = SIMD16<Double>(outputs[token * blocks + block])
                sum += output * output
            }
            for lane in 0..<min(16, count - block * 16) { sums[block * 16 + lane] = sum[lane] }
        }
        return sums
    }
}

extension Hessian {
    /// dᵀHd of each row for the changes of a tile; products of different columns times 1 − `shrinkage`.
    func errors(of changes: WeightTile, shrinkage: Double, _ blas: OpenBLAS) -> [Lanes] {
        if case .full(let matrix) = self {
            return OrderedGram(matrix: matrix, order: nil).errors(of: changes, shrinkage: shrinkage, blas: blas)
        }
        let kept = Float(1 - shrinkage)
        var errors = [Lanes](repeating: .zero, count: changes.blocks)
        for column in 0..<changes.columns {
            for block in 0..<changes.blocks {
                let change = changes.lanes[column * changes.blocks + block]
                switch self {
                case .diagonal(let values): errors[block] += change * change * values[column]
                case .blocks(let size, let values):
                    let first = column / size * size
                    var product = Lanes.zero
                    for other in first..<min(changes.columns, first + size) {
                        let value = values[column * size + other - first] * (other == column ? 1 : kept)
                        product += changes.lanes[other * changes.blocks + block] * value
                    }
                    errors[block] += change * product
                case .full: break
                }
            }
        }
        return errors
    }
}
