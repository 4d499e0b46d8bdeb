import Tensors

/// A pass over one tensor that runs when the last byte of the input has come.
enum FinishStep: Sendable {
    /// Hands a tensor that waited on scratch to its encoder.
    case deferred(Int)
    /// Codes a Linear that is needed whole.
    case layer(Int)

    /// The tensor's index in the input.
    var index: Int {
        switch self {
        case .deferred(let index), .layer(let index): index
        }
    }

    /// All steps of a session in their order, and how many of them are layers, which come last: they read what the
    /// others leave.
    static func all(_ layout: ArtifactLayout, _ scratch: ScratchPlan) -> (steps: [FinishStep], layers: Int) {
        let deferred = layout.tensors.indices.filter { scratch.isDeferred[$0] }.map { FinishStep.deferred($0) }
        let layers = layout.tensors.indices.filter { layout.isLayer($0) }
        return (deferred + layers.map { .layer($0) }, layers.count)
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

    /// How far the layers have come, which are the last steps; nil for a step that is none.
    func progress(at step: FinishStep) -> LayerProgress? {
        guard case .layer(let index) = step else { return nil }
        return LayerProgress(
            weight: input.entries[index].name, finished: max(0, stepsDone - (steps.count - layerCount)),
            total: layerCount)
    }

    /// Does a step; `pause` is called between its blocks and may end it.
    func run(
        _ step: FinishStep, _ workplace: Workplace, pause: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> EncodedTensor {
        switch step {
        case .deferred(let index): return try encodeDeferred(index, workplace)
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
        let layer = AWQLayer(
            name: input.entries[index].name, weight: weight, activations: activations?.matrix,
            inputStorage: activations?.storage, options: AWQOptions(recipe), placement: placement,
            scratchBase: scratch.layerBase)
        let result = try layer.run(scratch: workplace.scratch, output: workplace.output, pause: pause)
        var made = EncodedTensor(result.errors, result.histogram)
        made.scaleRatio = result.chosenRatio
        made.outputError = result.outputError
        if let activations { made.tokens = activations.shape[0] }
        return made
    }

    /// A layer by what is known of its inputs.
    private func code(
        _ index: Int, _ weight: StagedTensor, _ calibration: LayerCalibration?, _ workplace: Workplace,
        _ pause: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> EncodedTensor {
        let layer = CalibratedLayer(
            name: input.entries[index].name, weight: weight, storage: workplace.scratch, calibration: calibration,
            options: CalibratedOptions(layout.recipe(of: index), threads: threads),
            placement: layout.tensors[index], scratchBase: scratch.layerBase)
        let result = try layer.run(
            scratch: workplace.scratch, output: workplace.output, kernels: workplace.kernels, progress: pause)
        var made = EncodedTensor(result.errors, result.histogram)
        made.scaleRatio = result.chosenRatio
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
        return try CalibrationIndex(tensors, limits: limits)
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

    private func staged(_ index: Int) -> StagedTensor? {
        let entry = input.entries[index].widened
        guard let offset = place(of: index), entry.shape.count == 2 else { return nil }
        return StagedTensor(type: entry.type, rows: entry.shape[0], columns: entry.shape[1], offset: offset)
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
