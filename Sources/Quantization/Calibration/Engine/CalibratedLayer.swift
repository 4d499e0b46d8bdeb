import LinearAlgebra
import Tensors

/// Codes one Linear by what is known of its inputs, from staged storage into its places in the artifact.
///
/// Two passes over the weight, a band of rows at a time: the first finds the grids, the second the codes against the
/// scales that a reader will see. Beside a band the memory holds the second moments of the columns, one matrix
/// [columns, columns] of float32 where all their products are known. The same input gives the same bytes at any number
/// of threads: tiles of 128 rows are each one thread's, and what they add up to is added in order.
struct CalibratedLayer {
    /// What errors call the weight.
    let name: String
    /// [rows = outputs, columns = inputs].
    let weight: StagedTensor
    /// Where the weight lies.
    let storage: any StoredBytes
    /// nil: every column counts the same.
    let calibration: LayerCalibration?
    let options: CalibratedOptions
    /// `.awq`, `.grouped` (packed) or `.nf4`.
    let placement: PlannedTensor
    /// The first byte of scratch storage that nobody else uses.
    let scratchBase: Int
    /// What the columns of the weight are multiplied by; its inputs come divided by them.
    var columnScales: [Float]?
    /// What the rows of the weight are divided by.
    var rowDivisors: [Float]?

    /// What tiles must know of the layer.
    var form: LayerForm {
        LayerForm(
            name: name, rows: weight.rows, columns: weight.columns, options: options,
            coder: LaneCoder(options.code, weight: weight.type), columnScales: columnScales, rowDivisors: rowDivisors)
    }

    /// Why the codes cannot hold a weight of this shape; nil if they can.
    static func shapeProblem(rows: Int, columns: Int, options: CalibratedOptions) -> String? {
        if options.code == .affine {
            return AWQLayer.shapeProblem(rows: rows, columns: columns, groupSize: options.groupSize)
        }
        guard rows > 0, columns > 0 else { return "the weight is empty: [\(rows), \(columns)]" }
        guard options.groupSize == -1 || options.groupSize > 0 && columns % options.groupSize == 0 else {
            return "\(columns) input channels are no multiple of \(options.groupSize), so that groups go over row ends"
        }
        return nil
    }

    /// Codes the layer and writes all its parts; `progress` is called now and then and may throw to end the work.
    ///
    /// Throws `recipe` for a shape that the codes cannot hold, and for GPTQ without products of all columns;
    /// `calibration` for data that is none; `outOfRange` for weights that the format's arithmetic does not hold.
    func run(
        scratch: any ScratchStorage, output: any ArtifactOutput, kernels: Kernels,
        progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> CalibratedResult {
        if let problem = Self.shapeProblem(rows: weight.rows, columns: weight.columns, options: options) {
            throw .recipe(code: "calibration.shape", detail: "\(name): \(problem).")
        }
        let workplace = Workplace(output: output, scratch: scratch, kernels: kernels)
        let blas = try OpenBLAS.forCalibration(threads: options.threads)
        var layer = self
        var result = CalibratedResult()
        let search = try layer.searchScales(blas, progress: progress)
        if options.searchesScales, let search {
            layer.columnScales = search.scales
            (result.columnScales, result.chosenRatio) = (search.scales, search.ratio)
        }
        var coding = try LayerCoding(layer, plainScales: search?.scales, blas: blas, progress: progress)
        try coding.findGrids(of: layer, progress: progress)
        let writer = CodeWriter(form: layer.form, placement: placement, scratch: scratchBase)
        result.nestedOffset = try writer.writeScales(&coding.grids, workplace)
        try coding.writeCodes(of: layer, writer, into: &result, workplace, progress: progress)
        try writer.finish(workplace)
        try workplace.flush()
        return result
    }

    /// The scales that AWQ finds for this layer alone: to be kept, or for the report to compare with.
    private func searchScales(
        _ blas: OpenBLAS, progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> (ratio: Double, scales: [Float])? {
        guard let calibration, columnScales == nil, calibration.knowledge != .none else { return nil }
        let isCompared = options.code == .affine && calibration.knowledge >= .gram
        guard options.searchesScales || isCompared else { return nil }
        let inputs = try SearchInputs(calibration, blas: blas, progress: progress)
        let search = ScaleSearch(
            name: name, weight: weight, storage: storage, code: options.code, groupSize: options.groupSize,
            rowDivisors: rowDivisors, threads: options.threads)
        return try search.run(over: inputs, duoScaling: options.duoScaling, progress: progress)
    }
}

/// What the tiles of a layer have in common.
struct LayerForm: Sendable {
    /// What errors call the weight.
    let name: String
    let rows: Int
    let columns: Int
    let options: CalibratedOptions
    let coder: LaneCoder
    let columnScales: [Float]?
    let rowDivisors: [Float]?

    /// Columns that share a scale.
    var groupSize: Int { options.groupSize == -1 ? columns : options.groupSize }
    /// Scales of a row.
    var groups: Int { columns / groupSize }

    /// The largest magnitude of a weight that the format's arithmetic holds.
    var limit: Float {
        switch options.code {
        case .affine: HalfOctets.limit
        case .symmetric(let bits): GroupedCode.packed(bits: bits).largest(of: coder.type)
        case .nf4: .greatestFiniteMagnitude
        }
    }

    /// What the square of each row's outputs is multiplied by to be that of the original weight's.
    func squaredDivisors(from firstRow: Int, count: Int) -> [Double] {
        (0..<count).map { row in
            let divisor = Double(rowDivisors?[firstRow + row] ?? 1)
            return divisor * divisor
        }
    }
}

extension CalibratedLayer {
    /// Reads band after band of rows, as many tiles as there are threads, and gives `body` what `make` makes of them.
    func forEachBand<Result: Sendable>(
        progress: () throws(QuantizationError) -> Void, make: @Sendable (BandTile) -> Result,
        _ body: ([Result]) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        let form = form
        let height = WeightTile.rows * min(max(1, options.threads), OpenBLAS.maximumThreads)
        var rows = StagedRows(weight, storage: storage, name: name, limit: form.limit)
        var values = [Float](repeating: 0, count: min(form.rows, height) * form.columns)
        for first in stride(from: 0, to: form.rows, by: height) {
            try progress()
            let count = min(form.rows - first, height)
            try rows.read(rows: first..<first + count, into: &values)
            let band = values
            let tiles = (count + WeightTile.rows - 1) / WeightTile.rows
            let made = OrderedWork.map(tiles, threads: options.threads) { index in
                let start = index * WeightTile.rows
                let range = start..<min(count, start + WeightTile.rows)
                return make(BandTile(band, rows: range, firstRow: first + start, form))
            }
            try body(made)
        }
    }
}

extension OpenBLAS {
    /// The library, or the error that says why nothing can be calibrated.
    static func forCalibration(threads: Int = 1) throws(QuantizationError) -> OpenBLAS {
        do {
            return try OpenBLAS(threads: threads)
        } catch .noRoom(let bytes) {
            throw .busy(wantedBytes: bytes)
        } catch {
            throw .calibration(
                code: "calibration.unavailable",
                detail: "The service has no OpenBLAS (libopenblas.so.0), which calibrated coding computes with.")
        }
    }
}

// MARK: - Room

extension CalibratedLayer {
    /// Bytes of memory that a run holds; address space that is never touched is not counted.
    static func workingBytes(
        rows: Int, columns: Int, knowledge: Knowledge, options: CalibratedOptions, threads: Int
    ) -> Int {
        let groups = options.groupSize == -1 ? 1 : max(1, columns / max(1, options.groupSize))
        let isFull = knowledge >= .gram
        let gram = isFull ? columns * columns * 4 : 0
        let pieces = 2 * columns * GridMetric.widest * 4
        let tokens = (SearchInputs.maximumTokens + AWQTiles.tokens(columns: columns)) * columns * 4
        // The band's rows as read, and for each tile: weights, what is left of them, codes, and four kinds of changes.
        // The row of tiles that inverting a factor holds is gone before the first band comes, and smaller.
        let tile = WeightTile.rows * columns * 4
        let bands = threads * (9 * tile + 4 << 20)
        return gram + pieces + tokens + bands + rows * groups * 9 + threads * OpenBLAS.residentBytesPerThread
    }

    /// Bytes of scratch storage that a run uses from `scratchBase` on.
    static func scratchBytes(
        rows: Int, columns: Int, knowledge: Knowledge, options: CalibratedOptions
    ) -> Int {
        guard options.code == .affine else { return 0 }
        let groups = options.groupSize == -1 ? 1 : columns / options.groupSize
        return rows / 8 * (columns * 4 + groups * 20)
    }
}
