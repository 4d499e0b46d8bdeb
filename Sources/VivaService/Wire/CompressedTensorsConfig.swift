import Quantization

/// The `quantization_config` of compressed-tensors, as vLLM and transformers read it.
///
/// Source: `QuantizationConfig` and `QuantizationArgs` of compressed-tensors 0.20.0; every field is written out.
enum CompressedTensorsConfig {
    /// `ignored` names the modules that stay as they are.
    static func json(_ recipe: Recipe, ignored: [String]) -> JSON {
        let isFloat = recipe.method == .fp8
        let isDynamic = isFloat || recipe.method.takesScheme(in: recipe.format) && recipe.scheme == .w8a8
        let type = JSON.string(isFloat ? "float" : "int")
        let hasGroups = recipe.groupSize != -1
        let weights: [(String, JSON)] = [
            ("num_bits", .integer(recipe.method.codeBits)), ("type", type), ("symmetric", .bool(true)),
            ("strategy", .string(hasGroups ? "group" : "channel")),
            ("group_size", hasGroups ? .integer(recipe.groupSize) : .null), ("dynamic", .bool(false)),
            ("actorder", .null), ("block_structure", .null), ("observer", .string("minmax")),
            ("observer_kwargs", .object([])),
        ]
        let activations = JSON.object([
            ("num_bits", .integer(8)), ("type", type), ("symmetric", .bool(true)), ("strategy", .string("token")),
            ("dynamic", .bool(true)), ("group_size", .null), ("observer", .null),
        ])
        let group = JSON.object([
            ("targets", .strings(["Linear"])), ("output_activations", .null),
            ("input_activations", isDynamic ? activations : .null), ("weights", .object(weights)),
        ])
        let format = isFloat ? "float-quantized" : isDynamic ? "int-quantized" : "pack-quantized"
        return .object([
            ("quant_method", .string("compressed-tensors")), ("format", .string(format)),
            ("quantization_status", .string("compressed")), ("global_compression_ratio", .null),
            ("kv_cache_scheme", .null), ("ignore", .strings(ignored)),
            ("config_groups", .object([("group_0", group)])),
        ])
    }
}
