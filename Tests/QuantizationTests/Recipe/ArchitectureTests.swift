import Tensors
import Testing

@testable import Quantization

/// Our choice of tensors against that of the libraries, each run on the same architectures.
@Suite struct ArchitectureTests {
    /// Weights that we quantize and a library does not, or the other way round, with `N` for numbers; and why.
    private struct Difference {
        var more: Set<String> = []
        var less: Set<String> = []
        let reason: String
    }

    private static let forTransformers = [
        "jamba": Difference(
            less: ["model.layers.N.mamba.dt_proj.weight"], reason: "rows of 8 weights are no multiple of the group"),
        "llama4_text": Difference(less: ["model.layers.N.feed_forward.router.weight"], reason: "a router"),
        "phimoe": Difference(less: ["model.layers.N.block_sparse_moe.gate.weight"], reason: "a router"),
        "t5": Difference(
            less: [
                "encoder.block.N.layer.N.DenseReluDense.wo.weight", "decoder.block.N.layer.N.DenseReluDense.wo.weight",
            ],
            reason: "the architecture keeps it in float32"),
    ]

    private static let forMLX = [
        "granitemoe": Difference(
            less: [
                "model.layers.N.block_sparse_moe.router.layer.weight",
                "model.layers.N.block_sparse_moe.output_linear.weight",
                "model.layers.N.block_sparse_moe.input_linear.weight",
            ],
            reason: "a router, and experts fused into 3-D tensors"),
        "jamba": Difference(less: ["model.layers.N.feed_forward.router.weight"], reason: "a router"),
        "mixtral": Difference(less: ["model.layers.N.block_sparse_moe.gate.weight"], reason: "a router"),
        "olmoe": Difference(less: ["model.layers.N.mlp.gate.weight"], reason: "a router"),
        "qwen2_moe": Difference(
            less: ["model.layers.N.mlp.gate.weight", "model.layers.N.mlp.shared_expert_gate.weight"],
            reason: "routers"),
        "qwen3_moe": Difference(
            less: [
                "model.layers.N.mlp.gate.weight", "model.layers.N.mlp.experts.N.up_proj.weight",
                "model.layers.N.mlp.experts.N.down_proj.weight", "model.layers.N.mlp.experts.N.gate_proj.weight",
            ],
            reason: "a router, and experts that mlx-lm joins before it quantizes them, but not after"),
    ]

    @Test func thereAreFixtures() { #expect(ArchitectureFixture.all.count >= 40) }

    @Test(arguments: ArchitectureFixture.all)
    func bitsandbytesChoosesTheSame(_ fixture: ArchitectureFixture) throws {
        try compare(fixture, "bitsandbytes_nf4", [("method", "nf4")], [:])
        try compare(fixture, "bitsandbytes_nf4", [("method", "int8")], [:])
    }

    @Test(arguments: ArchitectureFixture.all)
    func compressedTensorsChoosesTheSameForTransformers(_ fixture: ArchitectureFixture) throws {
        let options = [("method", "int4"), ("target", "transformers"), ("group_size", "64")]
        // The recipes of llm-compressor leave encoders of images and sound out, though their Linears are as good as
        // others to the library itself.
        try compare(
            fixture, "compressed-tensors", options, Self.forTransformers, ignoring: { $0.towerComponent != nil })
    }

    @Test(arguments: ArchitectureFixture.all)
    func mlxChoosesTheSame(_ fixture: ArchitectureFixture) throws {
        try compare(fixture, "mlx", [("method", "int4"), ("target", "mlx")], Self.forMLX)
    }

    /// vLLM has no quantized gates of shared experts; for the rest it reads what transformers reads.
    @Test(arguments: ArchitectureFixture.all)
    func vllmGetsWhatTransformersGetsButGates(_ fixture: ArchitectureFixture) throws {
        let forTransformers = try fixture.chosen(
            [("method", "int4"), ("target", "transformers"), ("group_size", "64")])
        let forVLLM = try fixture.chosen([("method", "int4"), ("group_size", "64")])
        #expect(forVLLM.names.isSubset(of: forTransformers.names))
        for name in forTransformers.names.subtracting(forVLLM.names) { #expect(name.contains("shared_expert_gate")) }
    }

    /// In format bitsandbytes transformers joins experts, and cannot join quantized ones: said with the way out.
    @Test(arguments: ArchitectureFixture.all)
    func expertsThatStayAreNamed(_ fixture: ArchitectureFixture) throws {
        let experts = fixture.entries.filter { $0.name.contains(".experts.") && $0.name.hasSuffix(".weight") }
        let chosen = try fixture.chosen([("method", "nf4")])
        #expect(chosen.names.isDisjoint(with: experts.map(\.name)))
        #expect(chosen.warnings.contains { $0.contains("in format compressed-tensors it can") } == !experts.isEmpty)
    }

    @Test func whatTransformersWillNotLoadIsSaid() throws {
        let options = [("method", "int8"), ("scheme", "W8A8"), ("target", "transformers")]
        func isSaid(_ file: String) throws -> Bool {
            let chosen = try ArchitectureFixture(file).chosen(options + [("format", "compressed-tensors")])
            return chosen.warnings.contains { $0.contains("it will not load the model") }
        }
        #expect(try isSaid("mixtral.json"))
        #expect(try !isSaid("llama.json"))
    }

    @Test func fusedExpertsAreNamed() throws {
        let fixture = try ArchitectureFixture("gpt_oss.json")
        let warnings = try fixture.chosen([("method", "nf4")]).warnings
        #expect(
            warnings.contains { $0.hasPrefix("4 fused tensors ('model.layers.0.mlp.experts.down_proj' the first)") })
    }

    @Test func anUnknownTypeIsSortedByNamesAndSaysSo() throws {
        let fixture = try ArchitectureFixture("llama.json")
        func run(_ options: [(String, String)]) throws -> (chosen: [Treatment], warnings: [String]) {
            let recipe = try Recipe(options: options.map { RecipeOption($0.0, $0.1) })
            let selection = try TensorSelection(recipe).treatments(of: fixture.entries, limits: SessionLimits())
            return (selection.treatments, selection.warnings)
        }
        let plain = try run([("method", "nf4")])
        let unknown = try run([("method", "nf4"), ("model_type", "no_such_model")])
        #expect(unknown.chosen == plain.chosen)
        #expect(plain.warnings.isEmpty)
        #expect(unknown.warnings.contains { $0.contains("'no_such_model' is not known") })
    }

    @Test func aTiedHeadStaysWhereOnlyItsWeightIsDropped() throws {
        let fixture = try ArchitectureFixture("llama.json")
        func chosen(_ tied: String) throws -> Bool {
            let options = ["method": "int4", "target": "mlx", "model_type": "llama", "tied": tied]
            let recipe = try Recipe(options: options.map { RecipeOption($0.key, $0.value) })
            let selection = try TensorSelection(recipe).treatments(of: fixture.entries, limits: SessionLimits())
            return zip(fixture.entries, selection.treatments).contains {
                $0.0.name == "lm_head.weight" && $0.1.variant != nil
            }
        }
        #expect(try chosen("false"))
        #expect(try !chosen("true"))
    }

    private func compare(
        _ fixture: ArchitectureFixture, _ library: String, _ options: [(String, String)],
        _ differences: [String: Difference], ignoring isIgnored: (String) -> Bool = { _ in false }
    ) throws {
        guard let theirs = fixture.quantized(by: library)?.filter({ !isIgnored($0) }) else { return }
        let ours = try fixture.chosen(options).names
        let expected = differences[fixture.name]
        #expect(ArchitectureFixture.layerless(ours.subtracting(theirs)) == expected?.more ?? [])
        #expect(ArchitectureFixture.layerless(theirs.subtracting(ours)) == expected?.less ?? [])
    }
}
