import Quantization
import Tensors

/// What a model's `config.json` says about its KV cache.
///
/// Source: the configuration classes of transformers 5.23. Names differ by family: the older ones have a spelling of
/// their own, a multimodal model keeps its language model's figures in `text_config`.
struct CacheConfiguration {
    private let root: JSONValue

    /// The most layers, and values of one token in one layer, that a plan believes.
    private static let maximum = 1 << 20

    /// Reads a configuration that is parsed already.
    init(_ root: JSONValue) {
        let inner = root["text_config"]
        self.root = Self.layerNames.contains { root[$0] != nil } ? root : inner ?? root
    }

    /// The cache of the model; throws what is missing.
    func cache() throws(ServiceError) -> KeyValueCache {
        guard let layers = first(Self.layerNames) else { throw .failed("config.json does not say num_hidden_layers") }
        guard (1...Self.maximum).contains(layers) else { throw .failed("config.json says \(layers) layers") }
        let values = try valuesPerToken()
        guard (1...Self.maximum).contains(values) else {
            throw .failed("config.json says \(values) cached values of a token in each layer")
        }
        var groups: [(window: Int?, count: Int)] = []
        // Layers that share the cache of an earlier one keep nothing (Gemma 3n).
        for layer in 0..<(layers - min(layers, max(0, first(["num_kv_shared_layers"]) ?? 0))) where keepsTokens(layer) {
            let window = window(of: layer)
            if let index = groups.firstIndex(where: { $0.window == window }) {
                groups[index].count += 1
            } else {
                groups.append((window, 1))
            }
        }
        return KeyValueCache(
            layers: groups.map { .init(count: $0.count, valuesPerToken: values, window: $0.window) })
    }

    private static let layerNames = ["num_hidden_layers", "n_layer", "num_layers", "n_layers"]

    /// The first of these keys that holds a whole number.
    private func first(_ names: [String]) -> Int? { names.lazy.compactMap { root[$0]?.integer }.first }

    private func valuesPerToken() throws(ServiceError) -> Int {
        // MLA keeps one latent vector and one rotated key for all heads (DeepSeek-V2, section 2.1).
        if let rank = first(["kv_lora_rank"]), let rope = first(["qk_rope_head_dim"]) {
            let (sum, overflow) = rank.addingReportingOverflow(rope)
            return overflow ? .max : sum
        }
        guard let heads = first(["num_attention_heads", "n_head", "n_heads"]), heads > 0 else {
            throw .failed("config.json does not say num_attention_heads")
        }
        let few = first(["num_key_value_heads", "num_kv_heads", "multi_query_group_num"])
        let shared = few ?? (root["multi_query"]?.flag == true ? 1 : heads)
        let hidden = first(["hidden_size", "n_embd", "d_model"])
        guard let dimension = first(["head_dim", "kv_channels"]) ?? hidden.map({ $0 / heads }) else {
            throw .failed("config.json says neither head_dim nor hidden_size")
        }
        let (product, overflow) = shared.multipliedReportingOverflow(by: dimension)
        return overflow || product > Self.maximum ? .max : product * 2
    }

    /// The kinds of layers that keep a state of fixed size in place of tokens.
    private static let recurrent: Set<String> = ["linear_attention", "mamba", "mamba2", "recurrent", "conv"]

    private func keepsTokens(_ layer: Int) -> Bool { kind(of: layer).map { !Self.recurrent.contains($0) } ?? true }

    /// The layer's entry in `layer_types`.
    private func kind(of layer: Int) -> String? {
        guard case .array(let kinds)? = root["layer_types"], layer < kinds.count else { return nil }
        return kinds[layer].string
    }

    private func positive(_ name: String) -> Int? { root[name]?.integer.flatMap { $0 > 0 ? $0 : nil } }

    private func window(of layer: Int) -> Int? {
        if let kind = kind(of: layer) {
            switch kind {
            case "sliding_attention": return positive("sliding_window")
            case "chunked_attention": return positive("attention_chunk_size")
            default: return nil
            }
        }
        let isUsed = root["use_sliding_window"]?.flag
        guard let window = positive("sliding_window"), isUsed != false else { return nil }
        // Gemma 2 and 3 and Cohere 2: the last layer of every pattern sees everything.
        let usual = root["model_type"]?.string == "gemma2" ? 2 : nil
        if let pattern = positive("sliding_window_pattern") ?? usual {
            return (layer + 1) % pattern == 0 ? nil : window
        }
        // Qwen 2: the first layers see everything.
        if isUsed == true, let first = root["max_window_layers"]?.integer { return layer < first ? nil : window }
        return window
    }
}
