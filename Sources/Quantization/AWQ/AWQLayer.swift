import Tensors

/// Quantizes one Linear as AutoAWQ 0.2.9 does, from scratch storage into its places in the artifact.
///
/// The weight is [rows = output channels, columns = input channels], the activations are [tokens, columns]. Memory is
/// bounded by `AWQTiles` whatever the shape; the same input gives the same bytes at any number of threads.
/// For a layer on its own the module whose output the scale search inspects is the layer itself.
struct AWQLayer {
    /// What errors call the weight.
    let name: String
    let weight: StagedTensor
    let activations: StagedTensor?
    /// Where the activations lie, if it is not the scratch storage of the run.
    var inputStorage: (any StoredBytes)?
    let options: AWQOptions
    let placement: AWQPlacement
    /// The first byte of scratch storage that nobody else uses.
    let scratchBase: Int
    /// What the columns of the weight are multiplied by, where the search is not this layer's; the inputs come divided
    /// by them.
    var columnScales: [Float]?
    /// What the rows of the weight are divided by, the last ones where these are fewer.
    var rowDivisors: [Float]?
    /// The instruction set of the hot loop; every one gives the same bytes.
    var products = RowProducts()

    /// What errors call the activations: `<module>.activations` beside `<module>.weight`.
    private var activationsName: String { (name.before(suffix: "weight") ?? "") + "activations" }

    /// Columns that share a scale.
    var groupSize: Int { options.groupSize == -1 ? weight.columns : options.groupSize }

    /// Why no reader could take a layer of this shape; nil if some can. `groupSize` -1 means the whole row.
    static func shapeProblem(rows: Int, columns: Int, groupSize: Int) -> String? {
        guard rows > 0, columns > 0 else { return "the weight is empty: [\(rows), \(columns)]" }
        guard [32, 64, 128, -1].contains(groupSize) else { return "group size \(groupSize) is none of 32, 64, 128, -1" }
        let group = groupSize == -1 ? columns : groupSize
        if columns % group != 0 { return "\(columns) input channels are no multiple of the group size \(group)" }
        if rows % 8 != 0 { return "\(rows) output channels are no multiple of 8, which one packed word holds" }
        let (count, overflow) = rows.multipliedReportingOverflow(by: columns)
        if overflow || count > Int.max / 512 { return "[\(rows), \(columns)] has too many elements" }
        return nil
    }

    /// Bytes of scratch storage that a run uses from `scratchBase`; the shape must have no `shapeProblem`.
    var scratchByteCount: Int { moments.byteCount + planeBytes }

    /// Bytes of what is written transposed.
    var planeBytes: Int { planes.reduce(0) { $0 + $1.byteCount } }

    /// The `pause` of a run that nothing interrupts.
    static func goOn() throws(QuantizationError) {}

    /// Quantizes the layer and writes all its parts; `pause` is called between tiles and may throw to end the run.
    ///
    /// Throws `recipe` for a shape or choice that the format does not hold, `calibration` for missing, empty or unfit
    /// activations, `nonFinite` and `outOfRange` for values that float16 does not hold, `storage` for a failed read or
    /// write.
    func run(
        scratch: any ScratchStorage, output: any ArtifactOutput,
        pause: () throws(QuantizationError) -> Void = AWQLayer.goOn
    ) throws(QuantizationError) -> AWQResult {
        try checkChoices()
        var result = AWQResult()
        result.inputScales = columnScales
        var rows = weightRows(scratch)
        var inputs = activations.map { StagedRows($0, storage: inputStorage ?? scratch, name: activationsName) }
        if options.scaling == .keep, inputs != nil {
            (result.chosenRatio, result.inputScales) = try searchScales(&rows, &inputs, pause: pause)
        }
        try writeInputScales(result.inputScales, to: output)
        try quantize(&rows, &inputs, scratch: scratch, result: &result, pause: pause)
        for plane in planes { try plane.gather(tileOctets: tileRows / 8, from: scratch, to: output) }
        return result
    }

    private func checkChoices() throws(QuantizationError) {
        guard options.calibration == .data else {
            if options.scaling != .keep { return }
            throw .calibration(code: "calibration.missing", detail: "scaling=keep needs activations")
        }
        guard let activations else {
            throw .calibration(code: "calibration.missing", detail: "no activations for \(name)")
        }
        if activations.columns != weight.columns {
            let detail = "activations have \(activations.columns) columns, \(name) has \(weight.columns) input channels"
            throw .calibration(code: "calibration.width", detail: detail)
        }
        if activations.rows < 1 {
            throw .calibration(code: "calibration.empty", detail: "the activations of \(name) hold no token")
        }
    }
}

// MARK: - Places

extension AWQLayer {
    var tileRows: Int { AWQTiles.rows(columns: weight.columns) }

    /// Where the second moments of the clip search go.
    var moments: AWQMoments {
        let size = AWQClipSearch.usesMoments(groupSize: groupSize) ? groupSize : 0
        return AWQMoments(
            columns: weight.columns, groupSize: size, products: products, offset: scratchBase + planeBytes)
    }

    /// qweight, qzeros and scales.
    var planes: [TransposedPlane] {
        TransposedPlane.parts(
            of: placement, rows: weight.rows, columns: weight.columns, groups: weight.columns / groupSize,
            scratch: scratchBase)
    }

    func weightRows(_ storage: any StoredBytes) -> StagedRows {
        StagedRows(weight, storage: storage, name: name, limit: HalfOctets.limit)
    }

    private func writeInputScales(_ scales: [Float]?, to output: any ArtifactOutput) throws(QuantizationError) {
        guard let offset = placement.inputScales else { return }
        let values = scales ?? [Float](repeating: 1, count: weight.columns)
        let span = values.span
        let bytes = unsafe span.bytes
        do { try output.write(bytes, at: offset) } catch { throw .storage(error) }
    }
}
