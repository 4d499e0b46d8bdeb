import Quantization
import Tensors

/// The `quantization_config` that transformers and vLLM expect in a model's `config.json`; in the format MLX the object
/// that mlx-lm expects there under the name `quantization`.
///
/// Source: `BitsAndBytesConfig` and `AwqConfig` of transformers 5.23, `load_model` of mlx-lm. Every field is written
/// out, for vLLM's defaults differ from transformers'.
enum QuantizationConfig {
    /// `skipped` names the modules whose weights were left as they are; the output head is always among them, for an
    /// explicit list replaces the library's own default, unless an override quantized it. `varied` names the modules
    /// that overrides coded otherwise. `dtype` is the type of the weights as they came: bitsandbytes computes in it.
    static func json(
        _ recipe: Recipe, skipped: [String], varied: [VariedModule], dtype: ElementType
    ) -> JSON {
        let quantized = Set(varied.map(\.name))
        let heads = recipe.heads.filter { !quantized.contains($0) }
        let names = heads + skipped.filter { !heads.contains($0) }
        switch recipe.format {
        case .bitsandbytes:
            return bitsandbytes(
                is4Bit: recipe.method == .nf4, doubleQuant: recipe.doubleQuant, skipped: names,
                computes: computeType(dtype))
        case .compressedTensors:
            let ignored = recipe.patterns(ofSkipped: names)
            return CompressedTensorsConfig.json(recipe, ignored: ignored, varied: varied)
        case .mlx:
            // mlx-lm quantizes exactly the modules that have scales in the file, so it needs no list.
            return .object(affine(recipe) + varied.map { ($0.name, .object(affine($0.recipe))) })
        case .awq:
            return .object([
                ("quant_method", .string("awq")), ("bits", .integer(4)), ("group_size", .integer(recipe.groupSize)),
                ("zero_point", .bool(true)), ("version", .string("gemm")),
                ("modules_to_not_convert", .strings(names)),
            ])
        }
    }

    private static func affine(_ recipe: Recipe) -> [(String, JSON)] {
        [
            ("group_size", .integer(recipe.groupSize)), ("bits", .integer(recipe.method.codeBits)),
            ("mode", .string("affine")),
        ]
    }

    /// As torch spells it.
    private static func computeType(_ dtype: ElementType) -> String {
        switch dtype {
        case .f32, .f64: "float32"
        case .f16: "float16"
        default: "bfloat16"
        }
    }

    private static func bitsandbytes(
        is4Bit: Bool, doubleQuant: Bool, skipped: [String], computes: String
    ) -> JSON {
        .object([
            ("quant_method", .string("bitsandbytes")), ("load_in_4bit", .bool(is4Bit)),
            ("load_in_8bit", .bool(!is4Bit)), ("_load_in_4bit", .bool(is4Bit)), ("_load_in_8bit", .bool(!is4Bit)),
            ("bnb_4bit_quant_type", .string(is4Bit ? "nf4" : "fp4")),
            ("bnb_4bit_use_double_quant", .bool(doubleQuant)),
            ("bnb_4bit_compute_dtype", .string(is4Bit ? computes : "float32")),
            ("bnb_4bit_quant_storage", .string("uint8")), ("llm_int8_enable_fp32_cpu_offload", .bool(false)),
            ("llm_int8_has_fp16_weight", .bool(false)), ("llm_int8_skip_modules", .strings(skipped)),
            ("llm_int8_threshold", .number(6)),
        ])
    }
}
