import Tensors

/// Which weights of an architecture its target library quantizes: the generic rule of the library, then what the
/// architecture makes different.
///
/// Source: `get_keys_to_not_convert`, `replace_with_bnb_linear` and the modules of transformers 5.23 for
/// bitsandbytes; the recipes of llm-compressor for vLLM; `quantize_model` and the `sanitize` functions of mlx-lm 0.32.
struct ArchitectureRule: Sendable {
    private let reader: Target
    private let keepsHead: Bool
    private let exceptions: [ArchitectureTable.Exception]
    private let stacksExperts: Bool
    /// The recipes of llm-compressor leave towers out, and transformers cannot load all of them compressed.
    private var takesTowers: Bool { format == .bitsandbytes }
    private let format: ArtifactFormat

    /// Routers that transformers holds as ordinary Linears.
    private static let smallGates = ["*shared_expert_gate*"].map { Glob($0) }
    /// Nil for a type that is not known.
    init?(_ architecture: Architecture, recipe: Recipe) {
        guard let exceptions = ArchitectureTable.exceptions(of: architecture.modelType, in: recipe.format) else {
            return nil
        }
        self.exceptions = exceptions
        reader = recipe.reader
        let isTied = architecture.isTied ?? ArchitectureTable.isTiedByDefault(architecture.modelType)
        // mlx-lm drops the weight of a tied head, but would trip over its scales.
        keepsHead = reader != .mlx || isTied
        format = recipe.format
        stacksExperts = ArchitectureTable.stacksQuantizedExperts(architecture.modelType)
    }

    /// Whether the weight is quantized, from its name in the checkpoint.
    func quantizes(_ name: String) -> Bool {
        guard name.module(ofLeaf: "weight") != nil else { return false }
        switch exceptions.first(where: { $0.glob.matches(name) })?.meaning {
        case .quantized, .transposed: return true
        case .copied: return false
        case nil: break
        }
        if isRouter(name) { return false }
        if name.isOfSingleExpert { return takesSingleExperts }
        if !takesTowers, name.towerComponent != nil { return false }
        if reader == .mlx { return !keepsHead || !name.isOutputHead }
        return !TensorSelection.leftOut.contains { $0.matches(name) }
    }

    /// Whether the weight is stored as [in, out].
    func isTransposed(_ name: String) -> Bool {
        exceptions.contains { $0.meaning == .transposed && $0.glob.matches(name) }
    }

    /// Whether the library reads experts that are quantized one by one.
    var takesSingleExperts: Bool {
        switch reader {
        // It joins all experts of a layer into one parameter, which is no Linear. Those of compressed-tensors it
        // restores first, and those alone; to bitsandbytes and AWQ the parameter is unknown.
        case .transformers: format == .compressedTensors
        case .vllm: true
        case .mlx: stacksExperts
        }
    }

    var isForTransformers: Bool { reader == .transformers }

    private func isRouter(_ name: String) -> Bool {
        TensorSelection.routers.contains { $0.matches(name) }
            || reader != .transformers && Self.smallGates.contains { $0.matches(name) }
    }
}

extension String {
    /// Whether the name is that of a weight of one expert among numbered ones: `….experts.7.w1.weight`.
    var isOfSingleExpert: Bool {
        let parts = utf8.split(separator: UInt8(ascii: "."))
        return zip(parts, parts.dropFirst()).contains { part, number in
            part.elementsEqual("experts".utf8) && number.allSatisfy { $0 >= 0x30 && $0 <= 0x39 }
        }
    }

    /// The part of the name that says that it belongs to an encoder of images or sound, or to what joins that to the
    /// language model.
    var towerComponent: String? {
        utf8.split(separator: UInt8(ascii: ".")).lazy.map { String(Substring($0)) }.first { component in
            ["multi_modal_projector", "mm_projector", "connector"].contains(component)
                || ["vision", "visual", "audio", "image"].contains { component.contains($0) }
        }
    }

    fileprivate var isOutputHead: Bool { before(suffix: "lm_head.weight") != nil }
}

/// What a person should know about the choice of tensors before using the artifact.
struct ArchitectureFindings {
    private let recipe: Recipe
    private let rule: ArchitectureRule?

    /// Rows and columns from which a 3-D tensor counts as weights: smaller ones are kernels of convolutions.
    private static let smallestSide = 32

    init(_ recipe: Recipe, _ rule: ArchitectureRule?) {
        self.recipe = recipe
        self.rule = rule
    }

    func warnings(_ entries: [TensorEntry], _ treatments: [Treatment]) -> [String] {
        var warnings: [String] = []
        if let architecture = recipe.architecture, rule == nil {
            warnings.append(
                "model_type '\(architecture.modelType)' is not known: the tensors are chosen by their names alone.")
        }
        let copied = zip(entries, treatments).filter { $0.1 == .copy && $0.0.type.isQuantizable }.map(\.0)
        let fused = copied.filter { $0.shape.count == 3 && $0.shape[1...].allSatisfy { $0 >= Self.smallestSide } }
        if let first = fused.first {
            warnings.append(
                Self.told(fused.count, "fused tensor", first) + " copied: weights of several experts in one 3-D tensor "
                    + "have no quantized form in format \(recipe.format.rawValue).")
        }
        if recipe.reader == .vllm, recipe.format == .bitsandbytes {
            warnings.append(
                "vLLM from 0.28 on reads bitsandbytes with its plugin vllm-bnb-plugin only, and without tensor "
                    + "parallelism; compressed-tensors (int4, int8, fp8) it reads by itself.")
        }
        let isW8A8 = recipe.groupedCode == .int8
        if let rule, rule.isForTransformers, isW8A8, entries.contains(where: { $0.name.isOfSingleExpert }) {
            warnings.append(
                "transformers joins the experts of this architecture when it loads them, and cannot join those of "
                    + "scheme W8A8: it will not load the model. It loads W8A16; vLLM reads both.")
        }
        guard let rule, !rule.takesSingleExperts else { return warnings }
        let experts = copied.filter { $0.shape.count == 2 && $0.name.isOfSingleExpert }
        if let first = experts.first {
            let advice = rule.isForTransformers ? "; in format compressed-tensors it can" : ""
            warnings.append(
                Self.told(experts.count, "expert weight", first)
                    + " copied: \(recipe.reader.rawValue) joins the experts of this architecture when it loads "
                    + "them, and cannot join quantized ones\(advice).")
        }
        return warnings
    }

    private static func told(_ count: Int, _ noun: String, _ first: TensorEntry) -> String {
        count == 1 ? "1 \(noun) ('\(first.name)') is" : "\(count) \(noun)s ('\(first.name)' the first) are"
    }
}
