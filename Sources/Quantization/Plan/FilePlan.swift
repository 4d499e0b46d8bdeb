package import Tensors

/// What one recipe makes of an input whose header is known: exact, before a weight is read.
package struct PlannedArtifact: Sendable, Equatable {
    /// How the weights are made small.
    package let recipe: Recipe
    /// Bytes of the artifact with its header and padding; of all artifacts where the input has several shards.
    package private(set) var bytes: Int
    /// Room on disk that the work needs beside the artifact.
    package private(set) var scratchBytes: Int
    /// Memory that the work counts against `maximumWorkingBytes`: the header's and the widest tensor's.
    package private(set) var workingBytes: Int
    /// Bytes of the codes and scales alone.
    package private(set) var codedBytes = 0
    /// Weights that become codes.
    package private(set) var quantizedWeights = 0
    /// All elements of the input, calibration data excepted.
    package private(set) var totalWeights = 0
    /// What the report would warn of.
    package let warnings: [String]
    /// What it would say of calibration data of few tokens.
    private let coverageWarning: String?

    /// Plans one input; throws what a session would refuse from the header.
    package init(
        input: InputDescription, recipe: Recipe, engine: String, limits: SessionLimits = SessionLimits(),
        isShard: Bool = false
    ) throws(QuantizationError) {
        let layout = try ArtifactLayout(
            input: input, recipe: recipe, engine: engine, limits: limits, isShard: isShard)
        self.recipe = recipe
        bytes = layout.fileBytes
        scratchBytes = layout.scratchBytes
        workingBytes =
            input.dataOffset * MemoryBudget.bytesForHeaderByte
            + layout.workingBytes(of: input, threads: limits.maximumThreads)
        warnings = layout.warnings
        coverageWarning = CalibrationReport.warning(of: layout.calibration.coverage)
        for (entry, tensor) in zip(input.entries, layout.tensors) where tensor != .calibration {
            totalWeights += entry.elementCount
            codedBytes += tensor.codedBytes
            if tensor.codedBytes > 0 { quantizedWeights += entry.elementCount }
        }
    }

    /// Bits of codes and scales for each quantized weight, as in the report.
    package var bitsPerWeight: Double {
        quantizedWeights == 0 ? 0 : Double(codedBytes) * 8 / Double(quantizedWeights)
    }

    /// Share of the elements that become codes.
    package var quantizedFraction: Double { Double(quantizedWeights) / Double(max(1, totalWeights)) }

    /// The warnings, and what is to be said where little is quantized or calibrated on few tokens.
    package var allWarnings: [String] {
        let few = QualityReport.fractionWarning(quantized: quantizedWeights, of: totalWeights)
        return warnings + [few, coverageWarning].compactMap { $0 }
    }

    /// Plans the shards of a model, each an artifact of its own.
    package init(
        shards: [InputDescription], recipe: Recipe, engine: String, limits: SessionLimits = SessionLimits()
    ) throws(QuantizationError) {
        let model = try ArtifactLayout(input: .joined(shards), recipe: recipe, engine: engine, limits: limits)
        self.recipe = recipe
        bytes = 0
        scratchBytes = 0
        workingBytes = 0
        warnings = model.warnings
        coverageWarning = CalibrationReport.warning(of: model.calibration.coverage)
        for shard in shards {
            let plan = try PlannedArtifact(
                input: shard, recipe: recipe, engine: engine, limits: limits, isShard: true)
            bytes += plan.bytes
            scratchBytes = max(scratchBytes, plan.scratchBytes)
            workingBytes = max(workingBytes, plan.workingBytes)
            codedBytes += plan.codedBytes
            quantizedWeights += plan.quantizedWeights
            totalWeights += plan.totalWeights
        }
    }
}

/// The plans of one file, or of the shards of one model, for several recipes.
package struct FilePlan: Sendable {
    /// One recipe and what comes of it, or why it is refused.
    package struct Choice: Sendable {
        /// The recipe.
        package let recipe: Recipe
        /// Its plan or its refusal.
        package let outcome: Result<PlannedArtifact, QuantizationError>

        /// The refusal; nil where there is a plan.
        var refusal: QuantizationError? {
            guard case .failure(let error) = outcome else { return nil }
            return error
        }
    }

    /// What was planned for.
    package let inputs: [InputDescription]
    /// One for each recipe, in their order.
    package let choices: [Choice]

    /// Plans one input with every recipe, or the shards of a model; the work that globs may take is shared among the
    /// recipes.
    ///
    /// AWQ without activations in the input is planned with `calibration=none` alone.
    package init(
        inputs: [InputDescription], isModel: Bool = false, recipes: [Recipe], engine: String, limits: SessionLimits
    ) {
        self.inputs = inputs
        var limits = limits
        limits.maximumGlobSteps /= max(1, recipes.count * inputs.count)
        let all = recipes.map { recipe in
            Choice(
                recipe: recipe,
                outcome: Result { () throws(QuantizationError) in
                    if !isModel, inputs.count == 1 {
                        return try PlannedArtifact(input: inputs[0], recipe: recipe, engine: engine, limits: limits)
                    }
                    return try PlannedArtifact(shards: inputs, recipe: recipe, engine: engine, limits: limits)
                })
        }
        choices = all.filter { choice in
            guard case .failure(.calibration(code: "calibration.missing", _)) = choice.outcome else { return true }
            return !all.contains { other in
                other.recipe.calibration == .none && other.recipe.method == .awq
                    && other.recipe.groupSize == choice.recipe.groupSize
            }
        }
    }

    /// Bytes of all inputs.
    package var inputBytes: Int { inputs.reduce(0) { $0 + $1.totalBytes } }
}
