import Foundation
import HTTPServer
import Quantization
import Tensors
import Testing

@testable import VivaService

/// KV caches against published figures.
@Suite struct CacheTests {
    private func cache(_ json: String) throws -> KeyValueCache {
        try CacheConfiguration(JSONValue.parse(text: json)).cache()
    }

    /// Bytes of one token as BF16 by table 1 of "Insights into DeepSeek-V3" (Zhao et al. 2025), and of Llama 2 by
    /// its shapes (32 layers of 4096 keys and values, 2 bytes each).
    @Test(
        arguments: [
            (
                #"{"num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "#
                    + #""hidden_size": 7168, "kv_lora_rank": 512, "qk_rope_head_dim": 64}"#, 70_272
            ),
            (
                #"{"num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "#
                    + #""hidden_size": 8192, "sliding_window": 131072, "use_sliding_window": false}"#, 327_680
            ),
            (
                #"{"num_hidden_layers": 126, "num_attention_heads": 128, "num_key_value_heads": 8, "#
                    + #""hidden_size": 16384, "head_dim": 128}"#, 516_096
            ),
            (#"{"num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 4096}"#, 524_288),
            // The same by older names, and inside a multimodal model.
            (#"{"n_layer": 32, "n_head": 32, "n_embd": 4096}"#, 524_288),
            (
                #"{"vision_config": {}, "text_config": "#
                    + #"{"num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 4096}}"#, 524_288
            ),
            // Falcon 7B: one head of 64 for all (32 layers, 71 query heads).
            (#"{"num_hidden_layers": 32, "num_attention_heads": 71, "hidden_size": 4544, "multi_query": true}"#, 8192),
        ])
    func bytesOfATokenAreThePublishedOnes(_ json: String, _ bytes: Int) throws {
        let cache = try cache(json)
        #expect(cache.bytes(.init(context: 1, element: .bfloat16)) == bytes)
        #expect(cache.bytes(.init(context: 4096, batch: 3, element: .float32)) == bytes * 4096 * 3 * 2)
    }

    /// Mistral 7B v0.1 sees 4096 tokens back: more context takes no more (Jiang et al. 2023, section 2).
    @Test func aWindowBoundsTheTokens() throws {
        let json =
            #"{"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096, "#
            + #""sliding_window": 4096}"#
        let cache = try cache(json)
        #expect(cache.bytes(.init(context: 4096)) == 536_870_912)
        #expect(cache.bytes(.init(context: 32_768)) == 536_870_912)
    }

    /// Which layers of a model look at everything, as transformers 5.23 fills in `layer_types`.
    @Test(
        arguments: [
            // Gemma 3 4B: every sixth of 34. Gemma 2 2B: every second of 26. gpt-oss 20B names its layers.
            (
                #"{"model_type": "gemma3_text", "num_hidden_layers": 34, "num_attention_heads": 8, "head_dim": 256, "#
                    + #""num_key_value_heads": 4, "sliding_window": 1024, "sliding_window_pattern": 6}"#, 5, 29
            ),
            (
                #"{"model_type": "gemma2", "num_hidden_layers": 26, "num_attention_heads": 8, "head_dim": 256, "#
                    + #""num_key_value_heads": 4, "sliding_window": 4096}"#, 13, 13
            ),
            (
                #"{"num_hidden_layers": 4, "num_attention_heads": 64, "head_dim": 64, "num_key_value_heads": 8, "#
                    + #""sliding_window": 128, "layer_types": ["sliding_attention", "full_attention", "#
                    + #""sliding_attention", "full_attention"]}"#, 2, 2
            ),
            // Qwen 2 with its window on: the first layers see everything.
            (
                #"{"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584, "#
                    + #""sliding_window": 4096, "use_sliding_window": true, "max_window_layers": 21}"#, 21, 7
            ),
            // Qwen3-Next keeps tokens in every fourth layer only.
            (
                #"{"num_hidden_layers": 4, "num_attention_heads": 16, "head_dim": 256, "num_key_value_heads": 2, "#
                    + #""layer_types": ["linear_attention", "linear_attention", "linear_attention", "#
                    + #""full_attention"]}"#, 1, 0
            ),
        ])
    func layersWithAWindowAreCountedApart(_ json: String, _ full: Int, _ windowed: Int) throws {
        let layers = try cache(json).layers
        #expect(layers.filter { $0.window == nil }.map(\.count).reduce(0, +) == full)
        #expect(layers.filter { $0.window != nil }.map(\.count).reduce(0, +) == windowed)
    }

    @Test(arguments: [
        "[]", "{}", #"{"num_hidden_layers": 4}"#, #"{"num_hidden_layers": 4, "num_attention_heads": 0}"#,
        #"{"num_hidden_layers": -1, "num_attention_heads": 4, "hidden_size": 64}"#,
        #"{"num_hidden_layers": 9223372036854775807, "num_attention_heads": 4, "hidden_size": 64}"#,
        #"{"num_hidden_layers": 4, "num_attention_heads": 4, "head_dim": 9223372036854775807}"#,
        #"{"num_hidden_layers": 4, "kv_lora_rank": 9223372036854775807, "qk_rope_head_dim": 1}"#,
        #"{"num_hidden_layers": 4, "num_attention_heads": 4, "hidden_size": -64}"#,
    ])
    func nonsenseIsNoConfiguration(_ json: String) {
        #expect(throws: ServiceError.self) { try cache(json) }
    }

    private func need(_ items: [(String, String)], known: KeyValueCache? = nil) throws -> CacheNeed? {
        try CacheNeed(try Query(items.map { ($0.0, $0.1) }, known: CacheNeed.names), known: known)
    }

    @Test func aFewNumbersAreEnough() throws {
        let heads = [("context", "8192"), ("layers", "32"), ("kv_heads", "8"), ("head_dim", "128")]
        #expect(try need(heads)?.bytes == 1 << 30)
        #expect(try need(heads + [("batch", "4"), ("kv_dtype", "fp8")])?.bytes == 2 << 30)
        #expect(try need(heads + [("window", "1024")])?.bytes == 128 << 20)
        #expect(try need([("context", "1"), ("layers", "61"), ("kv_latent", "576")])?.bytes == 70_272)
        #expect(try need([]) == nil)
        #expect(try need([("context", "4096")], known: ModelShape.parse("7B")?.cache)?.bytes == 2 << 30)
    }

    @Test(arguments: [
        [("batch", "2")], [("context", "4096")], [("context", "0")], [("context", "4096"), ("layers", "32")],
        [("context", "4096"), ("layers", "32"), ("kv_heads", "8"), ("head_dim", "128"), ("kv_latent", "576")],
        [("context", "4096"), ("layers", "0"), ("kv_latent", "576")],
        [("context", "4096"), ("layers", "2"), ("kv_latent", "576"), ("kv_dtype", "int3")],
        [
            ("context", "1073741824"), ("layers", "1048576"), ("kv_heads", "1048576"), ("head_dim", "1048576"),
            ("batch", "1073741824"),
        ],
    ])
    func halfOfTheNumbersIsRefused(_ items: [(String, String)]) {
        #expect(throws: Problem.self) { try need(items) }
    }
}
