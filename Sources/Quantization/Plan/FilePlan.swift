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
    package private(set) var warnings: [String]

    /// Plans one input; throws what a session would refuse from the header.
    package init(
        input: InputDescription, recipe: Recipe, engine: String, limits: SessionLimits = SessionLimits()
    ) throws(QuantizationError) {
        let layout = try ArtifactLayout(input: input, recipe: recipe, engine: engine, limits: limits)
        self.recipe = recipe
        bytes = layout.fileBytes
        scratchBytes = layout.scratchBytes
        workingBytes = input.dataOffset * MemoryBudget.bytesForHeaderByte + layout.workingBytes(of: input)
        warnings = layout.warnings
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

    /// The warnings, and one more where little is quantized.
    package var allWarnings: [String] {
        warnings + (ReportBuilder.fractionWarning(quantized: quantizedWeights, of: totalWeights).map { [$0] } ?? [])
    }

    /// The plan of a further shard, worked on after this one.
    fileprivate mutating func add(_ other: PlannedArtifact, limits: SessionLimits) {
        bytes += other.bytes
        scratchBytes = max(scratchBytes, other.scratchBytes)
        workingBytes = max(workingBytes, other.workingBytes)
        codedBytes += other.codedBytes
        quantizedWeights += other.quantizedWeights
        totalWeights += other.totalWeights
        warnings = Array((warnings + other.warnings).prefix(limits.maximumWarnings + 1))
    }

    /// A shard that holds nothing to quantize stays as it is.
    fileprivate mutating func add(copied input: InputDescription) {
        bytes += input.totalBytes
        totalWeights += input.entries.reduce(0) { $0 + $1.elementCount }
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
    }

    /// What was planned for.
    package let inputs: [InputDescription]
    /// One for each recipe, in their order.
    package let choices: [Choice]

    /// Plans `inputs`, at least one, with every recipe; the work that globs may take is shared among the recipes.
    ///
    /// AWQ without activations in the input is planned with `calibration=none` alone.
    package init(inputs: [InputDescription], recipes: [Recipe], engine: String, limits: SessionLimits) {
        self.inputs = inputs
        var limits = limits
        limits.maximumGlobSteps /= max(1, recipes.count * inputs.count)
        let all = recipes.map { recipe in
            Choice(recipe: recipe, outcome: Self.outcome(inputs, recipe, engine, limits))
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

    private static func outcome(
        _ inputs: [InputDescription], _ recipe: Recipe, _ engine: String, _ limits: SessionLimits
    ) -> Result<PlannedArtifact, QuantizationError> {
        var sum: PlannedArtifact?
        var copied: [InputDescription] = []
        var refusal = QuantizationError.nothingToQuantize(detail: "There is no input.")
        for input in inputs {
            do throws(QuantizationError) {
                let plan = try PlannedArtifact(input: input, recipe: recipe, engine: engine, limits: limits)
                if sum == nil { sum = plan } else { sum?.add(plan, limits: limits) }
            } catch {
                refusal = error
                guard case .nothingToQuantize = error else { return .failure(error) }
                copied.append(input)
            }
        }
        guard var sum else { return .failure(refusal) }
        for input in copied { sum.add(copied: input) }
        return .success(sum)
    }
}
