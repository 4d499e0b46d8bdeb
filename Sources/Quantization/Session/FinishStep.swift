import Tensors

/// A pass over one tensor that runs when the last byte of the input has come.
enum FinishStep: Sendable {
    /// Hands a tensor that waited on scratch to its encoder.
    case deferred(Int)
    /// Searches the scales of a group of Linears, by its index in the plan, and leaves them on scratch.
    case scales(Int)
    /// Writes a tensor with the scales that are folded into it.
    case folded(Int)
    /// Codes a Linear that is needed whole.
    case layer(Int)

    /// The tensor's index in the input; nil for a step that is about several.
    var index: Int? {
        switch self {
        case .deferred(let index), .folded(let index), .layer(let index): index
        case .scales: nil
        }
    }

    var isLayer: Bool {
        if case .layer = self { return true }
        return false
    }

    /// All steps of a session in their order: each comes behind those whose work it reads, scales are searched when
    /// the first tensor needs them.
    static func all(_ layout: ArtifactLayout, _ scratch: ScratchPlan) -> [FinishStep] {
        var steps = layout.tensors.indices.filter { scratch.isDeferred[$0] }.map { FinishStep.deferred($0) }
        var searched: Set<Int> = []
        for (index, tensor) in layout.tensors.enumerated() {
            let use = layout.calibration.fold?.uses[index]
            for group in [use?.reads, use?.before] {
                if let group, searched.insert(group).inserted { steps.append(.scales(group)) }
            }
            if case .folded = tensor { steps.append(.folded(index)) }
            if layout.isLayer(index) { steps.append(.layer(index)) }
        }
        return steps
    }
}

/// How far the passes behind the last byte have come.
package struct LayerProgress: Sendable, Equatable {
    /// The weight that is being coded, or has just been.
    package let weight: String
    /// Weights that are finished.
    package let finished: Int
    /// All weights that are coded behind the last byte.
    package let total: Int
}

// Each step reads what the input left on scratch and writes to the artifact; what it makes is kept by the caller.
extension TensorStage {
    /// The next step; nil when all are done.
    var nextStep: FinishStep? { stepsDone < steps.count ? steps[stepsDone] : nil }

    /// How far the layers have come; nil for a step that is about none.
    func progress(at step: FinishStep) -> LayerProgress? {
        let weight: String
        switch step {
        case .layer(let index): weight = input.entries[index].name
        case .scales(let group): weight = nameOfFirstReader(of: group)
        case .deferred, .folded: return nil
        }
        return LayerProgress(weight: weight, finished: layersBefore[stepsDone], total: layersBefore.last ?? 0)
    }

    /// Does a step; `pause` is called between its blocks and may end it.
    func run(
        _ step: FinishStep, _ workplace: Workplace, pause: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> EncodedTensor {
        switch step {
        case .deferred(let index): return try encodeDeferred(index, workplace)
        case .scales(let group): return try searchScales(group, workplace, pause)
        case .folded(let index): return try writeFolded(index, workplace)
        case .layer(let index):
            let layer = try calibration(of: index)
            guard let weight = staged(index) else {
                throw .nothingToQuantize(detail: "\(input.entries[index].name) is not staged.")
            }
            guard layout.calibrated(index) != nil else {
                guard case .awq(let placement, _) = layout.tensors[index] else { return EncodedTensor() }
                return try search(index, weight, layer, placement, workplace, pause)
            }
            return try code(index, weight, layer, workplace, pause)
        }
    }

    private func encodeDeferred(_ index: Int, _ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        guard let offset = scratch.staged[index] else { return EncodedTensor() }
        var encoder = makeEncoder(index, stagedAt: scratch.restaged[index])
        try DeferredPass(entry: input.entries[index], offset: offset).run(&encoder, workplace)
        return try encoder.finish(workplace)
    }

    /// AWQ as its library makes it, or without data.
    private func search(
        _ index: Int, _ weight: StagedTensor, _ calibration: LayerCalibration?, _ placement: AWQPlacement,
        _ workplace: Workplace, _ pause: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> EncodedTensor {
        let recipe = layout.recipe(of: index)
        let activations = recipe.needsActivations ? calibration?.activations : nil
        let folded = try foldedScales(of: index, workplace)
        let layer = AWQLayer(
            name: input.entries[index].name, weight: weight, activations: activations?.matrix,
            inputStorage: activations?.storage, options: AWQOptions(recipe), placement: placement,
            scratchBase: scratch.layerBase, columnScales: folded.columns, rowDivisors: folded.rows)
        let result = try layer.run(scratch: workplace.scratch, output: workplace.output, pause: pause)
        var made = EncodedTensor(result.errors, result.histogram)
        made.scaleRatio = result.chosenRatio ?? folded.ratio
        made.outputError = result.outputError
        if let activations { made.tokens = activations.shape[0] }
        return made
    }

    /// A layer by what is known of its inputs.
    private func code(
        _ index: Int, _ weight: StagedTensor, _ calibration: LayerCalibration?, _ workplace: Workplace,
        _ pause: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> EncodedTensor {
        let folded = try foldedScales(of: index, workplace)
        let layer = CalibratedLayer(
            name: input.entries[index].name, weight: weight, storage: workplace.scratch, calibration: calibration,
            options: CalibratedOptions(layout.recipe(of: index), threads: threads),
            placement: layout.tensors[index], scratchBase: scratch.layerBase, columnScales: folded.columns,
            rowDivisors: folded.rows)
        let result = try layer.run(
            scratch: workplace.scratch, output: workplace.output, kernels: workplace.kernels, progress: pause)
        var made = EncodedTensor(result.errors, result.histogram)
        made.scaleRatio = result.chosenRatio ?? folded.ratio
        made.nestedOffset = result.nestedOffset
        made.outputError = result.output
        made.tokens = result.tokens
        return made
    }

    /// The input's own calibration data, which lies on scratch now, and what came beside it.
    func makeIndex(_ workplace: Workplace) throws(QuantizationError) -> CalibrationIndex? {
        guard layout.calibration.isUsed else { return nil }
        var tensors = calibrationFile?.entries ?? []
        for (index, entry) in input.entries.enumerated() where layout.tensors[index] == .calibration {
            guard CalibrationLeaf.isNamed(by: entry.name), let offset = place(of: index) else { continue }
            tensors.append(
                CalibrationTensor(
                    name: entry.name, type: entry.widened.type, shape: entry.shape, offset: offset,
                    storage: workplace.scratch))
        }
        for (index, entry) in (neighbours?.entries ?? []).enumerated() where CalibrationLeaf.isNamed(by: entry.name) {
            if let tensor = neighbours?.tensor(index) { tensors.append(tensor) }
        }
        return try CalibrationIndex(tensors, sharing: layout.calibration.sharing, limits: limits)
    }

    /// What is known of the inputs of the layer at `index`, where its codes are chosen by it.
    private func calibration(of index: Int) throws(QuantizationError) -> LayerCalibration? {
        guard layout.calibration.knowledge[index] != .none else { return nil }
        let entry = input.entries[index]
        return try calibrationIndex?.layer(
            ofWeight: entry.name, columns: entry.shape[1], isLone: layout.calibration.isLone)
    }

    /// Where a tensor lies on scratch for the layers.
    private func place(of index: Int) -> Int? { scratch.restaged[index] ?? scratch.staged[index] }

    /// A tensor on scratch; a vector is one row.
    func staged(_ index: Int) -> StagedTensor? {
        let entry = input.entries[index].widened
        guard let offset = place(of: index), let columns = entry.shape.last, entry.shape.count <= 2 else { return nil }
        let rows = entry.shape.count == 2 ? entry.shape[0] : 1
        return StagedTensor(type: entry.type, rows: rows, columns: columns, offset: offset)
    }

    /// Writes the header, when all steps are done, and reports.
    func result(digest: String, memory: MemoryShare?, _ workplace: Workplace) throws(QuantizationError) -> SessionResult
    {
        try writePrefix(digest, workplace)
        var builder = ReportBuilder(warnings: layout.warnings, errors: errors)
        for (index, entry) in input.entries.enumerated() {
            builder.add(
                entry, layout.tensors[index], encoded[index], layout.recipe(of: index),
                isVaried: layout.isVaried(index), knowledge: layout.calibration.knowledge[index])
        }
        return SessionResult(
            input: input, artifactBytes: layout.fileBytes, report: builder.report(),
            skippedModules: builder.skippedModules, variedModules: builder.variedModules, memory: memory)
    }

    private func writePrefix(_ digest: String, _ workplace: Workplace) throws(QuantizationError) {
        var texts: [[UInt8]] = []
        for (tensor, encoded) in zip(layout.tensors, encoded) {
            guard case .nf4(let placement) = tensor else { continue }
            texts.append(layout.states[placement.state].contents.json(offset: encoded.nestedOffset))
        }
        try workplace.write(layout.prefix(stateTexts: texts, digest: digest).span, at: 0)
    }
}
