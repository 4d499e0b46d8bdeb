import LinearAlgebra
import Tensors

/// The scales of a group as they wait on scratch: the exponent, NaN where no scales were best, then the scales.
enum FoldedScales {
    /// Bytes of the scales of so many columns.
    static func bytes(columns: Int) -> Int { (columns + 1) * 4 }
}

/// What the scales of its groups do to one tensor.
struct TensorScales {
    /// Each column's factor.
    var columns: [Float]?
    /// Each row's divisor.
    var rows: [Float]?
    /// The exponent that the columns' scales were made with.
    var ratio: Double?
}

// Steps that search scales and fold them in: they read the weights as they came, never what another step made.
extension TensorStage {
    /// The Linear that a search is named after.
    func nameOfFirstReader(of group: Int) -> String {
        guard let reader = layout.calibration.fold?.groups[group].searched.first else { return "" }
        return entry(at: reader).name
    }

    /// Searches the scales of a group and leaves them on scratch.
    func searchScales(
        _ index: Int, _ workplace: Workplace, _ pause: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> EncodedTensor {
        guard let group = layout.calibration.fold?.groups[index], let first = group.searched.first else {
            return EncodedTensor()
        }
        let recipe = layout.recipe(of: first)
        var linears: [any ScaledLinear] = []
        for position in group.searched { linears.append(try linear(position, workplace)) }
        let search = FoldSearch(duo: recipe.coding.duoScaling, allowsNone: recipe.mode == .best)
        let found = try search.best(linears, columns: group.columns, name: entry(at: first).name, pause: pause)
        let scales = try settled(found.scales, group, workplace)
        let record = [found.ratio.map { Float($0) } ?? .nan] + scales
        try workplace.stage(record.span, at: scratch.foldedScales[index])
        return EncodedTensor()
    }

    /// The scales as the norm in front can hold them; a Linear in front holds any.
    private func settled(
        _ scales: [Float], _ group: FoldGroup, _ workplace: Workplace
    ) throws(QuantizationError) -> [Float] {
        guard case .norm(let addsOne) = group.previous else { return scales }
        let (tensor, storage) = try matrix(at: group.before, workplace)
        var rows = StagedRows(tensor, storage: storage, name: entry(at: group.before).name)
        var weight = [Float](repeating: 0, count: tensor.columns)
        try rows.read(rows: 0..<1, into: &weight)
        return FoldedNorm.scales(scales, weight: weight, type: tensor.type, addsOne: addsOne)
    }

    /// A Linear of the model as the search sees it.
    private func linear(_ position: Int, _ workplace: Workplace) throws(QuantizationError) -> any ScaledLinear {
        let (recipe, name) = (layout.recipe(of: position), entry(at: position).name)
        let (weight, storage) = try matrix(at: position, workplace)
        let found = try calibrationIndex?.layer(ofWeight: name, columns: weight.columns)
        guard let calibration = found else {
            throw .calibration(code: "calibration.missing", detail: "There is no data for '\(name)'.")
        }
        let options = CalibratedOptions(recipe, threads: threads)
        guard recipe.mode == .reference else {
            let search = ScaleSearch(
                name: name, weight: weight, storage: storage, code: options.code, groupSize: options.groupSize,
                rowDivisors: nil, threads: threads)
            return CalibratedLinear(
                search: search, calibration: calibration, tokens: Double(max(1, try calibration.tokens() ?? 1)),
                blas: try .forCalibration())
        }
        guard let activations = calibration.activations, let tokens = activations.matrix else {
            throw .calibration(code: "calibration.missing", detail: "There are no activations for '\(name)'.")
        }
        let layer = AWQLayer(
            name: name, weight: weight, activations: tokens, inputStorage: activations.storage,
            options: AWQOptions(recipe), placement: AWQPlacement.none, scratchBase: 0)
        return ReferenceLinear(
            layer: layer, weights: storage,
            inputs: StagedRows(tokens, storage: activations.storage, name: activations.name))
    }

    /// Writes a norm, a bias, a router or a Linear that is not coded, with the scales that are folded into it.
    func writeFolded(_ index: Int, _ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        guard case .folded(let place, let type) = layout.tensors[index], let plan = layout.calibration.fold,
            let tensor = staged(index)
        else { return EncodedTensor() }
        let name = input.entries[index].name
        let scales = try foldedScales(of: index, workplace)
        let group = plan.uses[index]?.before.map { plan.groups[$0] }
        let folded = FoldedTensor(
            name: name, type: type, columnScales: scales.columns, rowDivisors: scales.rows,
            addsOne: group?.previous == .norm(addsOne: true) && group?.before == index)
        var rows = StagedRows(tensor, storage: workplace.scratch, name: name)
        try folded.write(&rows, isVector: input.entries[index].shape.count == 1, at: place.offset, workplace)
        return EncodedTensor()
    }

    /// What the scales that have been searched do to a tensor of the input.
    func foldedScales(of index: Int, _ workplace: Workplace) throws(QuantizationError) -> TensorScales {
        var scales = TensorScales()
        guard let use = layout.calibration.fold?.uses[index] else { return scales }
        if let group = use.reads {
            let record = try record(of: group, workplace)
            scales.columns = Array(record.dropFirst())
            scales.ratio = record[0].isNaN ? nil : (Double(record[0]) * 20).rounded() / 20
        }
        if let group = use.before {
            let divisors = try record(of: group, workplace).dropFirst()
            let rows = input.entries[index].shape.first ?? 0
            scales.rows = [Float](repeating: 1, count: max(0, rows - divisors.count)) + divisors
        }
        return scales
    }

    private func record(of group: Int, _ workplace: Workplace) throws(QuantizationError) -> [Float] {
        let columns = layout.calibration.fold?.groups[group].columns ?? 0
        var record = [Float](repeating: 0, count: columns + 1)
        try workplace.unstage(into: &record, count: columns + 1, at: scratch.foldedScales[group])
        return record
    }

    // MARK: - The model's tensors

    /// A tensor of the input, or behind them, of the model's other files.
    private func entry(at position: Int) -> TensorEntry {
        guard position >= input.entries.count, let neighbours else { return input.entries[position] }
        return neighbours.entries[position - input.entries.count]
    }

    /// Where it lies; a vector is one row.
    private func matrix(
        at position: Int, _ workplace: Workplace
    ) throws(QuantizationError) -> (StagedTensor, any StoredBytes) {
        if position >= input.entries.count, let tensor = neighbours?.tensor(position - input.entries.count) {
            let rows = tensor.shape.count == 2 ? tensor.shape[0] : 1
            let staged = StagedTensor(
                type: tensor.type, rows: rows, columns: tensor.shape.last ?? 0, offset: tensor.offset)
            return (staged, tensor.storage)
        }
        guard let tensor = staged(position) else {
            throw .nothingToQuantize(detail: "\(entry(at: position).name) is not staged.")
        }
        return (tensor, workplace.scratch)
    }
}

/// A Linear whose outputs are judged by what is known of its inputs.
private struct CalibratedLinear: ScaledLinear {
    let search: ScaleSearch
    let calibration: LayerCalibration
    let tokens: Double
    let blas: OpenBLAS

    var rows: Int { search.weight.rows }

    func inputMagnitudes(_ pause: () throws(QuantizationError) -> Void) throws(QuantizationError) -> [Float] {
        try SearchInputs(calibration, blas: blas, progress: pause).magnitudes
    }

    func weightMagnitudes(_ pause: () throws(QuantizationError) -> Void) throws(QuantizationError) -> [Double] {
        try search.magnitudeSums(progress: pause)
    }

    func losses(
        _ candidates: [[Float]], _ pause: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> [Double] {
        let inputs = try SearchInputs(calibration, blas: blas, progress: pause)
        return try search.losses(of: candidates, over: inputs, progress: pause)
    }
}

/// A Linear as AutoAWQ judges it: by all its activations.
private struct ReferenceLinear: ScaledLinear {
    let layer: AWQLayer
    let weights: any StoredBytes
    let inputs: StagedRows

    var rows: Int { layer.weight.rows }
    var tokens: Double { Double(inputs.tensor.rows) }

    func inputMagnitudes(_ pause: () throws(QuantizationError) -> Void) throws(QuantizationError) -> [Float] {
        var rows = inputs
        return try AWQScaleSearch.activationMeans(&rows)
    }

    func weightMagnitudes(_ pause: () throws(QuantizationError) -> Void) throws(QuantizationError) -> [Double] {
        var rows = layer.weightRows(weights)
        return try layer.magnitudeSums(&rows, pause: pause)
    }

    func losses(
        _ candidates: [[Float]], _ pause: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> [Double] {
        var (rows, tokens) = (layer.weightRows(weights), inputs)
        return try layer.scaleLosses(candidates, &rows, &tokens, pause: pause).map { $0 * Double(layer.weight.rows) }
    }
}
