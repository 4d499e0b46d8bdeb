import Quantization
import Tensors

/// A model's `config.json`: the keys that decide about quantization, and the text with a `quantization_config` put in.
struct ModelConfig {
    static let name = "config.json"
    /// Bytes of the longest file that is read; published ones have some 10 KiB.
    static let maximumBytes = 4 << 20

    private let text: JSONObjectText
    /// The key `model_type`; `unknown` where it is missing or no name.
    let modelType: String
    /// The key `tie_word_embeddings`, of the whole model or of its language model.
    let isTied: Bool?

    init(_ bytes: [UInt8]) throws(CheckpointError) {
        do throws(TensorFormatError) {
            text = try Self.parse(bytes)
        } catch {
            throw .malformed(file: Self.name, error)
        }
        for key in ["quantization_config", "quantization"] {
            guard let made = text.root[key], made != .null else { continue }
            // FP8 as DeepSeek ships it is what a model comes in, and is widened on the way.
            guard made["quant_method"]?.string == "fp8" else { throw .alreadyQuantized(key: key) }
        }
        modelType = text.root["model_type"]?.string ?? "unknown"
        let tied = "tie_word_embeddings"
        isTied = text.root[tied]?.flag ?? text.root["text_config"]?[tied]?.flag
    }

    /// What the model keeps of each token while it generates; throws what the configuration does not say.
    func cache() throws(ServiceError) -> KeyValueCache { try CacheConfiguration(text.root).cache() }

    /// The text as JSON, whatever it says.
    static func parse(_ bytes: [UInt8]) throws(TensorFormatError) -> JSONObjectText {
        var limits = JSONValue.Limits()
        // The limits of state space models' time steps, for instance.
        limits.readsPythonNumbers = true
        return try JSONObjectText(bytes, limits: limits)
    }

    /// The options of a recipe that this configuration answers, by their names in the contract.
    var options: [RecipeOption] {
        var options = [RecipeOption("model_type", modelType)]
        if let isTied { options.append(RecipeOption("tied", "\(isTied)")) }
        return options
    }

    /// A query with the options that this configuration answers and `items` do not.
    func completing(_ items: [Query.Item]) -> [Query.Item] {
        items + options.filter { option in !items.contains { $0.name == option.name } }.map { ($0.name, $0.text) }
    }

    /// The configuration of the quantized model: everything else letter for letter.
    func quantized(_ recipe: Recipe, _ result: SessionResult) throws(CheckpointError) -> [UInt8] {
        let made = QuantizationConfig.json(
            recipe, skipped: result.skippedModules, varied: result.variedModules, dtype: result.report.weightType
        )
        .text(indentedBy: 2)
        var changes = [("quantization_config", made)]
        // mlx-lm reads the first of these two, the Hub shows the second.
        if recipe.format == .mlx { changes.insert(("quantization", made), at: 0) }
        if recipe.format == .awq {
            // AWQ's scales are F16, and its kernels compute in it.
            let key = text.root["dtype"] == nil ? "torch_dtype" : "dtype"
            changes.append((key, "\"float16\""))
        }
        var changed = text
        do throws(TensorFormatError) {
            for (key, value) in changes { changed = try Self.parse(changed.setting(key, to: Array(value.utf8))) }
        } catch {
            throw .malformed(file: Self.name, error)
        }
        return changed.bytes
    }
}
