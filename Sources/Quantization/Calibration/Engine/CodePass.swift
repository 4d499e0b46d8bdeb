import LinearAlgebra
import Tensors

extension LayerCoding {
    /// The second pass: codes, what they cost, and how much of the outputs they change.
    func writeCodes(
        of layer: CalibratedLayer, _ writer: CodeWriter, into result: inout CalibratedResult, _ workplace: Workplace,
        progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        result.rounding = gptq == nil ? .nearest : .gptq
        result.damping = gptq?.factor.damping
        result.tokens = tokens
        var outputs = OutputMeasure(layer, tokensInSample: tokens ?? 0)
        var (errors, histogram) = (QualitySums(), result.histogram)
        let coding = self
        try layer.forEachBand(progress: progress) { tile in
            coding.code(tile)
        } _: { (tiles) throws(QuantizationError) in
            for tile in tiles {
                errors.add(tile.errors)
                for (bin, count) in tile.histogram.enumerated() { histogram[bin] += UInt64(count) }
                try writer.write(tile, workplace)
            }
            try outputs.add(tiles, blas, progress: progress)
        }
        (result.errors, result.histogram) = (errors, histogram)
        result.output = outputs.result
    }
}

/// Adds up how much of a layer's outputs its codes change.
struct OutputMeasure {
    private let layer: CalibratedLayer
    private let isHeldOut: Bool
    private let tokens: Range<Int>
    private let inSample: Int
    private var sums: [Double] = []

    /// Over the held-out tokens of the activations, over all where none are held out; or what second moments say, which
    /// were taken from `tokensInSample`.
    init(_ layer: CalibratedLayer, tokensInSample: Int) {
        self.layer = layer
        inSample = tokensInSample
        let count = layer.calibration?.activations?.shape[0] ?? 0
        let first = InputMoments.calibrationTokens(of: count)
        isHeldOut = first < count
        tokens = isHeldOut ? first..<count : 0..<count
    }

    /// Adds a band of tiles.
    mutating func add(
        _ tiles: [CodedTile], _ blas: OpenBLAS, progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        for tile in tiles { add(tile.squares) }
        guard let activations = layer.calibration?.activations else { return }
        let columns = layer.weight.columns
        let step = AWQTiles.tokens(columns: columns)
        var rows = activations.rows(count: activations.shape[0], columns: columns)
        var x = [Float](repeating: 0, count: min(step, tokens.count) * columns)
        for first in stride(from: tokens.lowerBound, to: tokens.upperBound, by: step) {
            try progress()
            let count = min(step, tokens.upperBound - first)
            try rows.read(first..<first + count, into: &x)
            if let scales = layer.columnScales {
                for token in 0..<count { for column in 0..<columns { x[token * columns + column] /= scales[column] } }
            }
            let (block, form) = (x, layer.form)
            let parts = OrderedWork.map(tiles.count, threads: form.options.threads) { index in
                tiles[index].variants.map { variant in
                    let factors = form.squaredDivisors(from: tiles[index].firstRow, count: variant.count)
                    return zip(variant.outputs(of: block, tokens: count, blas), factors).reduce(0.0) {
                        $0 + $1.0 * $1.1
                    }
                }
            }
            for part in parts { add(part) }
        }
    }

    private mutating func add(_ squares: [Double]) {
        guard !squares.isEmpty else { return }
        if sums.isEmpty { sums = [Double](repeating: 0, count: squares.count) }
        for (index, square) in squares.enumerated() { sums[index] += square }
    }

    /// nil where nothing was measured, or the outputs are zero or no numbers.
    var result: OutputError? {
        guard sums.count >= 3, sums[0] > 0, sums.allSatisfy(\.isFinite) else { return nil }
        return OutputError(
            relative: sums[1] / sums[0], roundToNearest: sums[2] / sums[0],
            plainAWQ: sums.count > 3 ? sums[3] / sums[0] : nil, tokens: tokens.isEmpty ? inSample : tokens.count,
            isHeldOut: isHeldOut)
    }
}
