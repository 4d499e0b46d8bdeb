import HTTPServer
import HTTPTypes
import Quantization
import Tensors

/// Plans as the contract describes them.
enum PlanJSON {
    /// The plan of a model of which only the size is known.
    static func model(_ model: ModelShape, gpus: [GPU], cache: CacheNeed?) -> JSON {
        let full = Double(model.parameters) * 4
        let basis =
            model.name == nil
            ? "every parameter counted as a Linear weight" : "published shapes; embeddings, head and norms stay in F16"
        let methods = model.sizes.map { size in
            JSON.object([
                ("method", .string(size.label)), ("bytes", .integer(size.bytes)),
                ("bits_per_weight", .number(size.bitsPerWeight)),
                ("compression_ratio_fp32", .number(full / Double(size.bytes))),
                ("fits", fits(size.bytes, gpus, cache)),
            ])
        }
        return .object(
            [
                ("model", .optional(model.name)), ("parameters", .integer(model.parameters)),
                ("quantized_parameters", .integer(model.linearParameters)), ("basis", .string(basis)),
            ] + shared(gpus, cache) + [("methods", .array(methods)), cards(gpus)])
    }

    /// The plan of a file, or of the shards of a model.
    static func file(_ plan: FilePlan, gpus: [GPU], cache: CacheNeed?) -> JSON {
        let methods = plan.choices.map { choice in
            JSON.object(members(of: choice.recipe) + outcome(choice.outcome, plan, gpus, cache))
        }
        let input: [(String, JSON)] = [
            ("files", .integer(plan.inputs.count)), ("bytes", .integer(plan.inputBytes)),
            ("header_bytes", .integer(plan.inputs.reduce(0) { $0 + $1.dataOffset })),
            ("tensors", .integer(plan.inputs.reduce(0) { $0 + $1.entries.count })),
            ("fits", fits(plan.inputBytes, gpus, cache)),
        ]
        return .object(
            [("input", .object(input))] + shared(gpus, cache) + [("methods", .array(methods)), cards(gpus)])
    }

    /// What a recipe is, and the query that makes it.
    static func members(of recipe: Recipe) -> [(String, JSON)] {
        [
            ("method", .string(recipe.method.rawValue)), ("format", .string(recipe.format.rawValue)),
            ("mode", .string(recipe.mode.rawValue)),
            ("options", .object(recipe.optionMembers.map { ($0.0, .raw($0.1)) })), ("query", .string(recipe.query)),
        ]
    }

    /// The size of an artifact, and what it is against the input and against FP32.
    static func sizes(of artifact: PlannedArtifact, inputBytes: Int) -> [(String, JSON)] {
        [
            ("bytes", .integer(artifact.bytes)), ("bits_per_weight", .number(artifact.bitsPerWeight)),
            ("quantized_fraction", .number(artifact.quantizedFraction)),
            ("compression_ratio", .number(Double(inputBytes) / Double(max(1, artifact.bytes)))),
            ("compression_ratio_fp32", .number(32 / artifact.bitsPerWeight)),
        ]
    }

    private static func outcome(
        _ outcome: Result<PlannedArtifact, QuantizationError>, _ plan: FilePlan, _ gpus: [GPU], _ cache: CacheNeed?
    ) -> [(String, JSON)] {
        switch outcome {
        case .success(let artifact):
            sizes(of: artifact, inputBytes: plan.inputBytes) + [
                ("scratch_bytes", .integer(artifact.scratchBytes)),
                ("working_bytes", .integer(artifact.workingBytes)), ("fits", fits(artifact.bytes, gpus, cache)),
                ("warnings", .strings(artifact.allWarnings)),
            ]
        case .failure(let error): [("problem", refusal(error))]
        }
    }

    /// Why a recipe cannot take an input, in short.
    static func refusal(_ error: QuantizationError) -> JSON {
        let problem = Problem(error)
        return .object([
            ("code", .string(problem.code)), ("status", .integer(problem.status.code)),
            ("detail", .string(problem.detail)),
        ])
    }

    private static func fits(_ bytes: Int, _ gpus: [GPU], _ cache: CacheNeed?) -> JSON {
        .strings(gpus.filter { $0.fits(bytes, cache) }.map(\.name))
    }

    private static func shared(_ gpus: [GPU], _ cache: CacheNeed?) -> [(String, JSON)] {
        [("usable_fraction", .number(GPU.usableFraction)), ("kv_cache", cache?.json ?? .null)]
    }

    private static func cards(_ gpus: [GPU]) -> (String, JSON) {
        let cards = gpus.map { gpu in
            JSON.object([("name", .string(gpu.name)), ("memory_bytes", .integer(gpu.memory))])
        }
        return ("gpus", .array(cards))
    }
}

extension GPU {
    /// Whether weights of `bytes` and the cache, if there is one, leave enough room.
    func fits(_ bytes: Int, _ cache: CacheNeed?) -> Bool {
        let (sum, overflow) = bytes.addingReportingOverflow(cache?.bytes ?? 0)
        return !overflow && fits(sum)
    }
}
