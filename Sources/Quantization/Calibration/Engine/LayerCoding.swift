import LinearAlgebra
import Tensors

/// One layer while it is coded: what is known of its inputs, and the grids found so far.
struct LayerCoding: Sendable {
    let form: LayerForm
    let blas: OpenBLAS
    let metric: GridMetric
    /// GPTQ's factor; nil where codes are rounded to nearest.
    let gptq: GPTQRounding?
    /// What AWQ would do, for the report; nil where that says nothing.
    let plain: PlainAWQ?
    /// Second moments for the output error where no tokens are known.
    let gram: OrderedGram?
    /// What `gram` has on its diagonal, mean 1, that was not in the data: squares are drawn together where tokens are
    /// few, and an output error is that of the data.
    let drawn: Double
    /// Tokens that the data was taken from.
    let tokens: Int?
    /// Whether the activations of single tokens are there to measure with.
    let hasTokens: Bool
    var grids: LayerGrids

    /// Reads what is known of the inputs; `plainScales` are AWQ's for this layer alone.
    init(
        _ layer: CalibratedLayer, plainScales: [Float]?, blas: OpenBLAS,
        progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        let form = layer.form
        self.form = form
        self.blas = blas
        let (options, columns) = (form.options, form.columns)
        let knowledge = layer.calibration?.knowledge ?? .none
        let knowsAll = knowledge >= .gram
        guard knowsAll || options.rounding != .gptq else {
            throw .recipe(
                code: "recipe.option_mismatch",
                detail: "rounding=gptq needs activations or the whole Gram matrix of '\(layer.name)'.")
        }
        let rounds = knowsAll && options.rounding != .nearest
        var moments = InputMoments(unknown: columns)
        if let calibration = layer.calibration, knowledge != .none {
            let size = GridMetric.width(groupSize: form.groupSize)
            moments = try InputMoments(
                calibration, isFull: rounds || knowledge == .gram, blockSize: size, dividedBy: form.columnScales,
                blas: blas, threads: options.threads, progress: progress)
        }
        tokens = moments.tokens
        // Where all is drawn together, nothing of the data is left to measure with.
        drawn = moments.squareShare < 1 ? moments.squareShare : 0
        let metric = GridMetric(moments, groupSize: form.groupSize)
        let shrinkage = moments.shrinkage
        let isScaled = form.columnScales != nil
        plain =
            options.code == .affine && knowsAll
            ? PlainAWQ(
                scales: isScaled ? nil : plainScales, metric: isScaled ? metric : metric.divided(by: plainScales),
                groupSize: form.groupSize, blas: blas) : nil
        grids = LayerGrids(
            rows: form.rows, groups: form.groups, hasZeros: options.code == .affine,
            hasDensities: !rounds && metric.diagonal.isEmpty, hasCosts: options.isNested)
        hasTokens = layer.calibration?.activations != nil
        guard case .full(let matrix) = moments.hessian else {
            (gptq, gram) = (nil, nil)
            self.metric = metric.shrunk(by: shrinkage)
            return
        }
        moments.hessian = .diagonal([])  // so that the factor takes the only copy
        guard rounds else {
            (gptq, gram) = (nil, hasTokens ? nil : OrderedGram(matrix: matrix, order: nil))
            self.metric = metric.shrunk(by: shrinkage)
            return
        }
        let damping = options.damping ?? ((moments.tokens ?? .max) < 1024 ? 0.3 : 0.1)
        let factor = try GPTQFactor(
            matrix, shrinkage: shrinkage, damping: damping, blas: blas, threads: options.threads, name: layer.name,
            progress: progress)
        gptq = GPTQRounding(factor: factor, coder: form.coder, blas: blas)
        gram = hasTokens ? nil : factor.gram
        self.metric = GridMetric(factor, groupSize: form.groupSize)
    }

    /// The first pass: the grids of all rows.
    mutating func findGrids(
        of layer: CalibratedLayer, progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        let (form, metric, blas) = (form, metric, blas)
        var found = grids
        try layer.forEachBand(progress: progress) { tile in
            var search = GridSearch(
                coder: form.coder, metric: metric, groupSize: form.groupSize, clip: form.options.clip, blas: blas)
            let (grids, costs) = search.grids(of: tile.weights)
            return (grids, costs, tile.firstRow, tile.weights.count, tile.refusal(form))
        } _: { (tiles) throws(QuantizationError) in
            for (grids, costs, first, count, refusal) in tiles {
                if let refusal { throw refusal }
                found.take(grids, costs: costs, firstRow: first, count: count)
            }
        }
        grids = found
    }
}

/// A tile of rows of a band: as it came, and as it is coded.
struct BandTile: Sendable {
    let firstRow: Int
    let original: WeightTile
    /// Columns multiplied by their scales, rows divided by their divisors.
    let weights: WeightTile

    init(_ band: [Float], rows: Range<Int>, firstRow: Int, _ form: LayerForm) {
        self.firstRow = firstRow
        original = WeightTile(band, rows: rows, columns: form.columns)
        var scaled = original
        scaled.scale(columns: form.columnScales, rows: form.rowDivisors, firstRow: firstRow)
        weights = scaled
    }

    /// The first scaled weight that the format's arithmetic does not hold, or the first range of a group.
    func refusal(_ form: LayerForm) -> QuantizationError? {
        let isAffine = form.options.code == .affine
        for group in 0..<form.groups {
            let range = group * form.groupSize..<(group + 1) * form.groupSize
            for block in 0..<weights.blocks {
                let (least, greatest) = weights.bounds(range, block: block)
                for lane in 0..<16 {
                    let (low, high) = (min(0, least[lane]), max(0, greatest[lane]))
                    let most = max(high, -low)
                    let isWide = isAffine && !(high - low <= AWQGrid.rangeLimit)
                    guard isWide || !(most <= form.limit) else { continue }
                    let row = firstRow + block * 16 + lane
                    let column = range.first { abs(weights.lanes[$0 * weights.blocks + block][lane]) == most }
                    return .outOfRange(
                        tensor: form.name, index: row * weights.columns + (column ?? range.lowerBound),
                        value: isWide ? high - low : most, limit: isWide ? AWQGrid.rangeLimit : form.limit)
                }
            }
        }
        return nil
    }
}

extension GridMetric {
    /// The metric with products of different columns times 1 − `shrinkage`.
    func shrunk(by shrinkage: Double) -> GridMetric {
        var shrunk = self
        for index in products.indices where index % width != index / width % width {
            shrunk.products[index] *= Float(1 - shrinkage)
        }
        return shrunk
    }

    /// The metric of inputs that are divided by `scales`.
    func divided(by scales: [Float]?) -> GridMetric {
        guard let scales else { return self }
        var divided = self
        for column in scales.indices {
            if !diagonal.isEmpty { divided.diagonal[column] /= scales[column] * scales[column] }
            guard !products.isEmpty else { continue }
            let first = column / width * width
            for other in first..<min(scales.count, first + width) {
                divided.products[column * width + other - first] /= scales[column] * scales[other]
            }
        }
        return divided
    }
}
