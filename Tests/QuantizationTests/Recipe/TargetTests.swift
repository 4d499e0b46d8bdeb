import Tensors
import Testing

@testable import Quantization

/// `target` picks the format; what it cannot read is refused with what it can.
@Suite struct TargetTests {
    @Test(arguments: [
        ("nf4", "transformers", ArtifactFormat.bitsandbytes), ("nf4", "vllm", .bitsandbytes),
        ("int8", "transformers", .bitsandbytes), ("int8", "vllm", .compressedTensors), ("int8", "mlx", .mlx),
        ("int4", "transformers", .compressedTensors), ("int4", "vllm", .compressedTensors), ("int4", "mlx", .mlx),
        ("fp8", "transformers", .compressedTensors), ("fp8", "vllm", .compressedTensors),
        ("awq", "transformers", .awq), ("awq", "vllm", .awq),
    ])
    func theTargetPicksTheFormat(_ method: String, _ target: String, _ format: ArtifactFormat) throws {
        let recipe = try Recipe(options: [RecipeOption("method", method), RecipeOption("target", target)])
        #expect(recipe.format == format)
        #expect(recipe.scheme == (method == "int8" && target == "vllm" ? .w8a8 : .w8a16))
    }

    /// vLLM's bitsandbytes left its core with 0.28 (vllm-project/vllm#43529).
    @Test func whatVLLMNeedsForBitsandbytesIsSaid() throws {
        let description = try unsafe parseFile(
            safetensors([("l.weight", .f32, [64, 64], bytes(of: gaussian(4096, seed: 1)))]).span.bytes)
        for (target, isWarned) in [("vllm", true), ("transformers", false)] {
            let recipe = try Recipe(options: [RecipeOption("method", "nf4"), RecipeOption("target", target)])
            let layout = try ArtifactLayout(input: description, recipe: recipe, engine: "test")
            #expect(layout.warnings.contains { $0.contains("vllm-bnb-plugin") } == isWarned)
        }
    }

    /// Without an architecture the target is only another way to say the format.
    @Test func theFormatItPicksGivesTheSameArtifact() throws {
        let named = try Recipe(options: [RecipeOption("method", "int4"), RecipeOption("format", "mlx")])
        let meant = try Recipe(options: [RecipeOption("method", "int4"), RecipeOption("target", "mlx")])
        #expect(named.canonical == meant.canonical)
    }

    @Test func theArchitectureJoinsTheCanonicalForm() throws {
        let options = [("method", "int4"), ("model_type", "llama"), ("tied", "true")]
        let recipe = try Recipe(options: options.map { RecipeOption($0.0, $0.1) })
        let canonical = recipe.canonical
        #expect(canonical.contains(#""model_type":"llama""#))
        #expect(canonical.contains(#""target":"vllm","tied":true"#))
    }

    @Test(arguments: [
        ([("method", "nf4"), ("target", "mlx")], "recipe.target_mismatch", "method=int8 or method=int4"),
        (
            [("method", "int4"), ("target", "transformers"), ("format", "mlx")], "recipe.target_mismatch",
            "compressed-tensors or awq"
        ),
        ([("method", "nf4"), ("target", "ollama")], "recipe.invalid_option", "transformers, vllm, mlx"),
        ([("method", "nf4"), ("tied", "true")], "recipe.invalid_option", "model_type"),
        ([("method", "nf4"), ("model_type", "a b")], "recipe.invalid_option", "64 letters"),
    ])
    func whatDoesNotFitIsRefused(_ options: [(String, String)], _ code: String, _ words: String) {
        do {
            _ = try Recipe(options: options.map { RecipeOption($0.0, $0.1) })
            Issue.record("accepted")
        } catch QuantizationError.recipe(let found, let detail) {
            #expect(found == code)
            #expect(detail.contains(words), "\(detail)")
        } catch {
            Issue.record("\(error)")
        }
    }
}
