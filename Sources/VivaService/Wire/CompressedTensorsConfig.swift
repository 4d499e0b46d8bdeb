import Quantization

/// The `quantization_config` of compressed-tensors, as vLLM and transformers read it.
///
/// Source: `QuantizationConfig` and `QuantizationArgs` of compressed-tensors 0.20.0; every field is written out.
enum CompressedTensorsConfig {
    /// `ignored` names the modules that stay as they are, `varied` those that overrides code otherwise: they get groups
    /// of their own, for a module's name counts before its class.
    static func json(_ recipe: Recipe, ignored: [String], varied: [VariedModule]) -> JSON {
        let own = JSON.strings(["Linear"])
        var groups: [(String, JSON)] = [("group_0", scheme(recipe, targets: own, names: !varied.isEmpty))]
        var formats: Set<String> = [format(of: recipe)]
        for (variant, modules) in Self.grouped(varied) {
            formats.insert(format(of: variant))
            groups.append(("group_\(groups.count)", scheme(variant, targets: .strings(modules), names: true)))
        }
        return .object([
            ("quant_method", .string("compressed-tensors")),
            ("format", .string(formats.count == 1 ? format(of: recipe) : "mixed-precision")),
            ("quantization_status", .string("compressed")), ("global_compression_ratio", .null),
            ("kv_cache_scheme", .null), ("ignore", .strings(ignored)), ("config_groups", .object(groups)),
        ])
    }

    /// The modules of each recipe, in the order in which the recipes first occur.
    private static func grouped(_ varied: [VariedModule]) -> [(recipe: Recipe, modules: [String])] {
        var places: [Recipe: Int] = [:]
        var groups: [(recipe: Recipe, modules: [String])] = []
        for module in varied {
            if let place = places[module.recipe] {
                groups[place].modules.append(module.name)
            } else {
                places[module.recipe] = groups.count
                groups.append((module.recipe, [module.name]))
            }
        }
        return groups
    }

    private static func isDynamic(_ recipe: Recipe) -> Bool {
        recipe.method == .fp8 || recipe.method.takesScheme(in: recipe.format) && recipe.scheme == .w8a8
    }

    private static func format(of recipe: Recipe) -> String {
        recipe.method == .fp8 ? "float-quantized" : isDynamic(recipe) ? "int-quantized" : "pack-quantized"
    }

    /// One of `config_groups`; `names` says whether the group names its format, as it must where groups differ.
    private static func scheme(_ recipe: Recipe, targets: JSON, names: Bool) -> JSON {
        let type = JSON.string(recipe.method == .fp8 ? "float" : "int")
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
        var members: [(String, JSON)] = [
            ("targets", targets), ("output_activations", .null),
            ("input_activations", isDynamic(recipe) ? activations : .null), ("weights", .object(weights)),
        ]
        if names { members.append(("format", .string(format(of: recipe)))) }
        return .object(members)
    }
}
