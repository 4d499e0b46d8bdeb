import HTTPServer
import Quantization

/// The KV cache that a plan counts beside the weights.
struct CacheNeed {
    let cache: KeyValueCache
    let use: KeyValueCache.Use
    let bytes: Int

    /// The names of a query that say it. `kv_latent` is MLA's `kv_lora_rank` + `qk_rope_head_dim`, in place of heads.
    static let names: Set<String> = [
        "context", "batch", "kv_dtype", "layers", "kv_heads", "head_dim", "kv_latent", "window",
    ]

    /// The need of a cache that is used so; nil where it does not fit 63 bits.
    init?(_ cache: KeyValueCache, _ use: KeyValueCache.Use) {
        guard let bytes = cache.bytes(use) else { return nil }
        self.cache = cache
        self.use = use
        self.bytes = bytes
    }

    /// Reads a query; nil where it does not ask for a cache. `known` is the cache of a model that was named.
    init?(_ query: Query, known: KeyValueCache?) throws(Problem) {
        guard let context = try query.integer("context", in: 1...KeyValueCache.Use.maximum) else {
            guard let name = Self.names.sorted().first(where: { query.text($0) != nil }) else { return nil }
            throw Query.invalid("\(name) counts with context=TOKENS.")
        }
        let element = try query.choice("kv_dtype", KeyValueCache.Element.self) ?? .float16
        let use = KeyValueCache.Use(
            context: context, batch: try query.integer("batch", in: 1...KeyValueCache.Use.maximum) ?? 1,
            element: element)
        guard let cache = try Self.cache(query) ?? known else {
            throw Query.invalid(
                "A KV cache needs layers, kv_heads and head_dim, or layers and kv_latent: the figures of config.json.")
        }
        guard cache.bytes(use) != nil else { throw Query.invalid("This KV cache has more bytes than 63 bits count.") }
        self.init(cache, use)
    }

    private static func cache(_ query: Query) throws(Problem) -> KeyValueCache? {
        let range = 1...(1 << 20)
        let layers = try query.integer("layers", in: range)
        let latent = try query.integer("kv_latent", in: range)
        let heads = try query.integer("kv_heads", in: range)
        let dimension = try query.integer("head_dim", in: range)
        let window = try query.integer("window", in: 1...KeyValueCache.Use.maximum)
        switch (layers, latent, heads, dimension) {
        case (let layers?, let latent?, nil, nil):
            return KeyValueCache(layers: layers, valuesPerToken: latent, window: window)
        case (let layers?, nil, let heads?, let dimension?):
            return KeyValueCache(layers: layers, valuesPerToken: 2 * heads * dimension, window: window)
        case (nil, nil, nil, nil) where window == nil: return nil
        default:
            throw Query.invalid("A KV cache is layers, kv_heads and head_dim, or layers and kv_latent; window besides.")
        }
    }

    var json: JSON {
        .object([
            ("context", .integer(use.context)), ("batch", .integer(use.batch)),
            ("dtype", .string(use.element.rawValue)), ("bytes", .integer(bytes)),
            (
                "layers",
                .array(
                    cache.layers.map { group in
                        .object([
                            ("count", .integer(group.count)), ("values_per_token", .integer(group.valuesPerToken)),
                            ("window", group.window.map { .integer($0) } ?? .null),
                        ])
                    })
            ),
        ])
    }
}
