import FoundationEssentials
import Quantization

/// What a model's `config.json` says about its KV cache.
///
/// Source: the configuration classes of transformers 5.23. Names differ by family: the older ones have a spelling of
/// their own, a multimodal model keeps its language model's figures in `text_config`.
struct CacheConfiguration: Decodable {
    var modelType: String?
    var textConfig: Boxed?
    var numHiddenLayers, numLayers, nLayer, nLayers: Int?
    var numAttentionHeads, nHead, nHeads: Int?
    var numKeyValueHeads, numKvHeads, multiQueryGroupNum: Int?
    var multiQuery: Bool?
    var hiddenSize, nEmbd, dModel: Int?
    var headDim, kvChannels: Int?
    var kvLoraRank, qkRopeHeadDim: Int?
    var slidingWindow, maxWindowLayers, slidingWindowPattern, attentionChunkSize: Int?
    var useSlidingWindow: Bool?
    var layerTypes: [String]?
    var numKvSharedLayers: Int?

    /// A configuration inside a configuration.
    final class Boxed: Decodable {
        let inner: CacheConfiguration
        required init(from decoder: any Decoder) throws { inner = try CacheConfiguration(from: decoder) }
    }

    /// The most layers, and values of one token in one layer, that a plan believes.
    private static let maximum = 1 << 20

    /// Reads the text of a `config.json`.
    init(json: [UInt8]) throws(ServiceError) {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        do {
            self = try decoder.decode(CacheConfiguration.self, from: Data(json))
        } catch {
            throw .failed("config.json is not what a model has: \(error)")
        }
    }

    /// The cache of the model; throws what is missing.
    func cache() throws(ServiceError) -> KeyValueCache {
        if let inner = textConfig?.inner, layerCount == nil { return try inner.cache() }
        guard let layers = layerCount else { throw .failed("config.json does not say num_hidden_layers") }
        guard (1...Self.maximum).contains(layers) else { throw .failed("config.json says \(layers) layers") }
        let values = try valuesPerToken()
        guard (1...Self.maximum).contains(values) else {
            throw .failed("config.json says \(values) cached values of a token in each layer")
        }
        var groups: [(window: Int?, count: Int)] = []
        // Layers that share the cache of an earlier one keep nothing (Gemma 3n).
        for layer in 0..<max(1, layers - max(0, numKvSharedLayers ?? 0)) where keepsTokens(layer) {
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

    private var layerCount: Int? { numHiddenLayers ?? nLayer ?? numLayers ?? nLayers }

    private func valuesPerToken() throws(ServiceError) -> Int {
        // MLA keeps one latent vector and one rotated key for all heads (DeepSeek-V2, section 2.1).
        if let rank = kvLoraRank, let rope = qkRopeHeadDim {
            let (sum, overflow) = rank.addingReportingOverflow(rope)
            return overflow ? .max : sum
        }
        guard let heads = numAttentionHeads ?? nHead ?? nHeads, heads > 0 else {
            throw .failed("config.json does not say num_attention_heads")
        }
        let shared = numKeyValueHeads ?? numKvHeads ?? multiQueryGroupNum ?? (multiQuery == true ? 1 : heads)
        let hidden = hiddenSize ?? nEmbd ?? dModel
        guard let dimension = headDim ?? kvChannels ?? hidden.map({ $0 / heads }) else {
            throw .failed("config.json says neither head_dim nor hidden_size")
        }
        let (product, overflow) = shared.multipliedReportingOverflow(by: dimension)
        return overflow || product > Self.maximum ? .max : product * 2
    }

    /// The kinds of layers that keep a state of fixed size in place of tokens.
    private static let recurrent: Set<String> = ["linear_attention", "mamba", "mamba2", "recurrent", "conv"]

    private func keepsTokens(_ layer: Int) -> Bool {
        guard let types = layerTypes, layer < types.count else { return true }
        return !Self.recurrent.contains(types[layer])
    }

    private func window(of layer: Int) -> Int? {
        if let types = layerTypes, layer < types.count {
            switch types[layer] {
            case "sliding_attention": return slidingWindow.flatMap { $0 > 0 ? $0 : nil }
            case "chunked_attention": return attentionChunkSize.flatMap { $0 > 0 ? $0 : nil }
            default: return nil
            }
        }
        guard let window = slidingWindow, window > 0, useSlidingWindow != false else { return nil }
        // Gemma 2 and 3 and Cohere 2: the last layer of every pattern sees everything.
        if let pattern = slidingWindowPattern ?? (modelType == "gemma2" ? 2 : nil), pattern > 0 {
            return (layer + 1) % pattern == 0 ? nil : window
        }
        // Qwen 2: the first layers see everything.
        if useSlidingWindow == true, let first = maxWindowLayers { return layer < first ? nil : window }
        return window
    }
}
