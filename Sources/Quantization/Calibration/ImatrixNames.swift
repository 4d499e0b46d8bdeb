import Tensors

/// llama.cpp's names for the Linears of a model, from those of its checkpoint.
///
/// Source: gguf-py/gguf/tensor_mapping.py, the families whose scales are folded: Llama, Mistral, Qwen2, Qwen3, Gemma,
/// Phi-3, Mixtral, Qwen3-MoE. Rows may be ordered otherwise in GGUF, columns are not.
enum ImatrixNames {
    /// What a module of a decoder layer is called, from its name within the layer. Experts' names stand for theirs.
    private static let names: [String: [String]] = [
        "self_attn.q_proj": ["attn_q"], "self_attn.k_proj": ["attn_k"], "self_attn.v_proj": ["attn_v"],
        "self_attn.qkv_proj": ["attn_qkv"], "self_attn.o_proj": ["attn_output"],
        "mlp.gate_proj": ["ffn_gate"], "mlp.up_proj": ["ffn_up"], "mlp.gate_up_proj": ["ffn_up"],
        "mlp.down_proj": ["ffn_down"],
        "mlp.shared_expert.gate_proj": ["ffn_gate_shexp"], "mlp.shared_expert.up_proj": ["ffn_up_shexp"],
        "mlp.shared_expert.down_proj": ["ffn_down_shexp"],
        "mlp.experts.gate_proj": ["ffn_gate_exps", "ffn_gate_up_exps"],
        "mlp.experts.up_proj": ["ffn_up_exps", "ffn_gate_up_exps"], "mlp.experts.down_proj": ["ffn_down_exps"],
        "block_sparse_moe.experts.w1": ["ffn_gate_exps", "ffn_gate_up_exps"],
        "block_sparse_moe.experts.w3": ["ffn_up_exps", "ffn_gate_up_exps"],
        "block_sparse_moe.experts.w2": ["ffn_down_exps"],
    ]
    /// What the layers of a checkpoint are called; models of text and images have one more level.
    private static let roots = [
        "model.layers.", "layers.", "language_model.model.layers.", "model.language_model.layers.",
    ]

    /// A module of llama.cpp, or one of its experts, as `CalibrationIndex` names modules.
    static func module(_ name: String, matrix: Int?) -> String {
        matrix.map { "\(name).\($0)." } ?? "\(name)."
    }

    /// The modules of llama.cpp that see the inputs of a checkpoint's module, which ends in a dot; empty for others.
    static func modules(of module: String) -> [String] {
        if module == "lm_head." { return ["output."] }
        guard let root = roots.first(where: { module.utf8.starts(with: $0.utf8) }) else { return [] }
        var parts = module.utf8.dropFirst(root.utf8.count).split(separator: UInt8(ascii: "."))
            .map { String(Substring($0)) }
        guard parts.count > 1, let layer = Int(parts.removeFirst()), layer >= 0 else { return [] }
        var expert: Int?
        if let place = parts.firstIndex(of: "experts"), place + 1 < parts.count, let index = Int(parts[place + 1]) {
            expert = index
            parts.remove(at: place + 1)
        }
        return (names[parts.joined(separator: ".")] ?? []).map { Self.module("blk.\(layer).\($0)", matrix: expert) }
    }
}
