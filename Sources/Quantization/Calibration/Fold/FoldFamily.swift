/// One place in a decoder layer where scales can go from the inputs of Linears into the operation before them: the
/// modules by their names inside the layer, `*` for the number of an expert.
struct FoldRule: Sendable {
    /// The operation whose output the readers share.
    enum Previous: Sendable, Equatable {
        /// A norm: weight and bias are divided.
        case norm
        /// A norm that multiplies by 1 + weight.
        case normPlusOne
        /// A Linear, all of whose outputs are inputs of the readers.
        case linear
        /// The values of attention: outputs of the Linear, unless several heads of queries share them.
        case values
        /// The values among the outputs of a Linear that makes queries, keys and values, in that order.
        case lastOfQueriesKeysValues
        /// The second half of the outputs of a Linear that makes gate and up, in that order.
        case lastHalf
        /// An operation that no scales go into: the readers only share their input.
        case unfolded
    }

    let previous: Previous
    /// The module before; empty for `unfolded`.
    let before: String
    /// The Linears that read its output, all of them.
    let readers: [String]
    /// A parameter of several experts at once that would read the output too, and cannot be scaled.
    var stacked: String?

    /// Whether the module before is one of each expert.
    var isOfEachExpert: Bool { before.contains("*") }
}

/// Architectures whose decoder layers are alike in what reads what.
///
/// Source: `get_layers_for_scaling` of AutoAWQ 0.2.9 and the mappings of llm-compressor 0.14; the routers of experts and
/// what `FoldTests` finds by tracing the models of transformers 5.23.
struct FoldFamily: Sendable {
    /// The values of `model_type`.
    let types: [String]
    let rules: [FoldRule]
    /// Other modules of a layer, none of which reads an output that the rules scale.
    let others: [String]

    /// The family of a `model_type`; nil for one whose layers are not known.
    static func of(_ modelType: String) -> FoldFamily? { all.first { $0.types.contains(modelType) } }

    /// Whether the layers of an architecture are known.
    static func knows(_ architecture: Architecture?) -> Bool {
        architecture.map { of($0.modelType) != nil } ?? false
    }

    /// Whether the rules or `others` name the module.
    func knows(_ module: String) -> Bool {
        others.contains(module)
            || rules.contains { $0.before == module || $0.readers.contains(module) || $0.stacked == module }
    }

    /// Every known `model_type`.
    static var knownTypes: [String] { all.flatMap(\.types).sorted() }
}

extension FoldFamily {
    private static let queriesKeysValues = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]
    private static let headNorms = ["self_attn.q_norm", "self_attn.k_norm"]
    private static let values = FoldRule(previous: .values, before: "self_attn.v_proj", readers: ["self_attn.o_proj"])
    private static let up = FoldRule(previous: .linear, before: "mlp.up_proj", readers: ["mlp.down_proj"])

    private static func attention(_ norm: FoldRule.Previous = .norm) -> [FoldRule] {
        [FoldRule(previous: norm, before: "input_layernorm", readers: queriesKeysValues), values]
    }

    private static func perceptron(_ norm: FoldRule.Previous = .norm, after: String) -> [FoldRule] {
        [FoldRule(previous: norm, before: after, readers: ["mlp.gate_proj", "mlp.up_proj"]), up]
    }

    /// `gate` and `up` read what the router and whatever else stands beside them read.
    private static func experts(
        _ block: String, gate: String, up: String, down: String, beside: [String], shared: String? = nil
    ) -> [FoldRule] {
        var readers = beside + ["\(block).experts.*.\(gate)", "\(block).experts.*.\(up)"]
        var rules = [
            FoldRule(
                previous: .linear, before: "\(block).experts.*.\(up)", readers: ["\(block).experts.*.\(down)"])
        ]
        if let shared {
            readers += ["\(block).\(shared).\(gate)", "\(block).\(shared).\(up)"]
            rules.append(
                FoldRule(
                    previous: .linear, before: "\(block).\(shared).\(up)", readers: ["\(block).\(shared).\(down)"]))
        }
        let norm = FoldRule(
            previous: .norm, before: "post_attention_layernorm", readers: readers,
            stacked: "\(block).experts.gate_up_proj")
        return [norm] + rules
    }

    private static let dense = perceptron(after: "post_attention_layernorm")

    private static let all = [
        FoldFamily(
            types: ["llama", "mistral", "qwen2", "qwen3", "granite", "seed_oss", "smollm3", "stablelm"],
            rules: attention() + dense, others: headNorms),
        FoldFamily(
            types: ["gemma"],
            rules: attention(.normPlusOne) + perceptron(.normPlusOne, after: "post_attention_layernorm"),
            others: []),
        FoldFamily(
            types: ["gemma2"],
            rules: attention(.normPlusOne) + perceptron(.normPlusOne, after: "pre_feedforward_layernorm"),
            others: ["post_attention_layernorm", "post_feedforward_layernorm"]),
        FoldFamily(
            // Scaled inputs of queries and keys that are normalized afterwards do more harm than good.
            types: ["gemma3", "gemma3_text"],
            rules: [FoldRule(previous: .unfolded, before: "", readers: queriesKeysValues), values]
                + perceptron(.normPlusOne, after: "pre_feedforward_layernorm"),
            others: ["input_layernorm", "post_attention_layernorm", "post_feedforward_layernorm"] + headNorms),
        FoldFamily(
            types: ["phi3"],
            rules: [
                FoldRule(previous: .norm, before: "input_layernorm", readers: ["self_attn.qkv_proj"]),
                FoldRule(
                    previous: .lastOfQueriesKeysValues, before: "self_attn.qkv_proj", readers: ["self_attn.o_proj"]),
                FoldRule(previous: .norm, before: "post_attention_layernorm", readers: ["mlp.gate_up_proj"]),
                FoldRule(previous: .lastHalf, before: "mlp.gate_up_proj", readers: ["mlp.down_proj"]),
            ], others: []),
        FoldFamily(
            types: ["cohere", "cohere2"],
            rules: [
                FoldRule(
                    previous: .norm, before: "input_layernorm",
                    readers: queriesKeysValues + ["mlp.gate_proj", "mlp.up_proj"]), values, up,
            ], others: headNorms),
        FoldFamily(
            types: ["mixtral", "phimoe"],
            rules: attention()
                + experts(
                    "block_sparse_moe", gate: "w1", up: "w3", down: "w2", beside: ["block_sparse_moe.gate"]),
            others: ["block_sparse_moe.experts.down_proj"]),
        FoldFamily(
            types: ["qwen3_moe", "olmoe"],
            rules: attention() + dense
                + experts("mlp", gate: "gate_proj", up: "up_proj", down: "down_proj", beside: ["mlp.gate"]),
            others: headNorms + ["mlp.experts.down_proj"]),
        FoldFamily(
            types: ["qwen2_moe"],
            rules: attention() + dense
                + experts(
                    "mlp", gate: "gate_proj", up: "up_proj", down: "down_proj",
                    beside: ["mlp.gate", "mlp.shared_expert_gate"], shared: "shared_expert"),
            others: ["mlp.experts.down_proj"]),
    ]
}
