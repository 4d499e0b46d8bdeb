import Tensors

/// The architectures whose choice of tensors is known; what sets them apart stands in `ArchitectureData`.
enum ArchitectureTable {
    /// What becomes of weights that the generic rule would get wrong.
    enum Meaning: Sendable, Equatable {
        case quantized
        case copied
        /// A Conv1D keeps its weight as [in, out]: bitsandbytes quantizes it transposed, the other libraries do not.
        case transposed
    }

    /// Weights with a meaning of their own.
    struct Exception: Sendable {
        let glob: Glob
        let meaning: Meaning
    }

    /// The exceptions of a type in a format; nil for a type that is not known.
    static func exceptions(of modelType: String, in format: ArtifactFormat) -> [Exception]? {
        guard known.contains(modelType) else { return nil }
        return (exceptions[modelType] ?? []).compactMap { word in
            let meaning: Meaning
            switch word.first {
            case "+": meaning = .quantized
            case "-": meaning = .copied
            case "~": meaning = .transposed
            default:
                // A class of its own beside Linear, which only bitsandbytes does not know.
                guard format == .bitsandbytes else { return nil }
                meaning = .copied
            }
            return Exception(glob: Glob(String(word.dropFirst())), meaning: meaning)
        }
    }

    /// Whether the output head is the embedding where `config.json` does not say.
    static func isTiedByDefault(_ modelType: String) -> Bool { tied.contains(modelType) }

    /// Whether mlx-lm joins experts that are quantized one by one: its `sanitize` stacks scales as well as weights.
    static func stacksQuantizedExperts(_ modelType: String) -> Bool { stacking.contains(modelType) }

    /// Output heads and modules without weights of their own, which a loader must be told to leave as they are.
    static func heads(of modelType: String?) -> [String] {
        guard let modelType, known.contains(modelType) else { return ["lm_head"] }
        let own = heads[modelType] ?? []
        // A list that said `lm_head` would mean the Linears inside of it too.
        let isBlock = exceptions[modelType]?.contains { $0.hasPrefix("+lm_head.") } ?? false
        return (isBlock ? [] : ["lm_head"]) + own
    }

    private static let known = Set(words(ArchitectureData.known))
    private static let exceptions = table(ArchitectureData.exceptions)
    private static let heads = table(ArchitectureData.heads)
    private static let tied = Set(words(ArchitectureData.tied))
    private static let stacking = Set(
        words(
            """
            afmoe deepseek_v2 deepseek_v3 deepseek_v32 dots1 exaone_moe glm4_moe glm4_moe_lite jamba longcat_flash
            mimo_v2_flash mistral4 mixtral olmoe phimoe qwen2_moe
            """))

    private static func words(_ text: String) -> [String] {
        text.split { $0 == " " || $0 == "\n" }.map(String.init)
    }

    /// The words behind each word that ends in a colon.
    private static func table(_ text: String) -> [String: [String]] {
        var table: [String: [String]] = [:]
        var key = ""
        for word in words(text) {
            if word.hasSuffix(":") {
                key = String(word.dropLast())
            } else {
                table[key, default: []].append(word)
            }
        }
        return table
    }
}

extension Recipe {
    /// The modules of the architecture that hold no weight to quantize, or are its output head.
    package var heads: [String] { ArchitectureTable.heads(of: architecture?.modelType) }

    /// The names of modules that were left as they are, those of a tower as one pattern: it is a regular expression,
    /// for the library's module has other names in front than the tensor.
    package func patterns(ofSkipped modules: [String]) -> [String] {
        guard architecture != nil, include.isEmpty, overrides.isEmpty else { return modules }
        var known: Set<String> = []
        // transformers 5 renames Phi-3.5-MoE's routers when it loads them, and looks the new name up.
        let renamed =
            modules.contains { $0.before(suffix: ".block_sparse_moe.gate") != nil } ? ["re:.*mlp[.]router$"] : []
        return renamed
            + modules.compactMap { module in
                guard let tower = module.towerComponent else { return module }
                return known.insert(tower).inserted ? "re:(.*[.])?\(tower)[.].*" : nil
            }
    }
}
