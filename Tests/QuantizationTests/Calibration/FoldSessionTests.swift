import Tensors
import Testing

@testable import Quantization

/// Whole artifacts with folded scales, judged by what the model computes from them.
@Suite struct FoldSessionTests {
    private static func recipe(_ model: FoldModel, _ more: [(String, String)] = []) throws -> Recipe {
        let target = model.modelType == "mixtral" ? [("target", "vllm")] : []
        let options = [("method", "awq"), ("group_size", "32"), ("model_type", model.modelType)] + target + more
        return try Recipe(options: options.map { RecipeOption($0.0, $0.1) })
    }

    /// The tensors of an artifact by name.
    private typealias Artifact = [String: (type: ElementType, bytes: [UInt8])]

    private static func run(
        _ file: [UInt8], data: [UInt8], _ recipe: Recipe, neighbours: Neighbours? = nil, threads: Int = 1
    ) throws -> (artifact: Artifact, result: SessionResult, bytes: [UInt8]) {
        var limits = SessionLimits()
        limits.maximumThreads = threads
        let output = MemoryStorage()
        let calibration = try CalibrationFile(source: MemoryArtifact(data), limits: limits, memory: nil)
        let session = try QuantizingSession(
            recipe: recipe, declaration: .recognise, declaredBytes: file.count, engine: "viva test", limits: limits,
            isShard: neighbours != nil, calibrationFile: calibration, neighbours: neighbours, output: output,
            scratch: MemoryStorage(countsRewrites: false))
        try unsafe session.consume(file.span.bytes)
        let result = try session.finish(inputDigest: SessionRun.digest)
        #expect(output.gaps == 0)
        #expect(output.overwritten == 0)
        let tensors = try SessionRun.tensors(of: output.bytes)
        let types = Dictionary(
            uniqueKeysWithValues: try SessionRun.description(of: output.bytes).entries.map { ($0.name, $0.type) })
        return (tensors.reduce(into: [:]) { $0[$1.key] = (types[$1.key] ?? .u8, $1.value) }, result, output.bytes)
    }

    /// Each output of the folded model is that of the original, as far as four bits go; scaled rows without scaled
    /// columns behind them, or the other way round, would be far off.
    @Test(arguments: ["llama", "qwen2", "gemma", "gemma2", "phi3", "mixtral"], ["best", "reference"])
    func theModelComputesWhatItDid(_ type: String, _ mode: String) throws {
        let model = FoldModel(type).rounded()
        let recipe = try Self.recipe(model, [("mode", mode)])
        #expect(recipe.coding.scaling == .fold)
        let made = try Self.run(model.file(), data: model.data(), recipe)
        let errors = model.errors(try model.restored(made.artifact, recipe))
        for (name, error) in errors { #expect(error < 0.03, "\(name)") }
        #expect(made.artifact.keys.allSatisfy { !$0.contains("input_scales") })
        // The router is not coded: it sees what it saw, but for its rounding to bfloat16.
        if let router = errors["block_sparse_moe.gate"] { #expect(router < 2e-5) }
        let coded = made.result.report.tensors.filter { $0.quality != nil }
        #expect(coded.count == model.linears.count)
        #expect(coded.contains { $0.scaleRatio != nil })
    }

    /// Loud channels keep their precision.
    @Test func scalesLowerTheError() throws {
        let model = FoldModel("llama").rounded()
        let plain: [(String, String)] = [("rounding", "nearest"), ("clip", "false")]
        var sums: [String: Double] = [:]
        for scaling in ["fold", "none"] {
            let recipe = try Self.recipe(model, plain + [("scaling", scaling)])
            let made = try Self.run(model.file(), data: model.data(), recipe)
            sums[scaling] = model.errors(try model.restored(made.artifact, recipe)).values.reduce(0, +)
            let norm = made.artifact["model.layers.0.input_layernorm.weight"]
            let original = try SessionRun.tensors(of: model.file())["model.layers.0.input_layernorm.weight"]
            #expect((norm?.bytes == original) == (scaling == "none"))
            #expect(norm?.type == .bf16)
        }
        let (folded, unscaled) = (try #require(sums["fold"]), try #require(sums["none"]))
        #expect(folded < unscaled)
    }

    /// The layer's tensors lie in two files, cut anywhere: what each file becomes holds the same tensors.
    @Test(arguments: ["llama", "qwen2", "mixtral"])
    func whereTheFilesAreCutDoesNotShow(_ type: String) throws {
        let model = FoldModel(type).rounded()
        let recipe = try Self.recipe(model)
        let whole = try Self.run(model.file(), data: model.data(), recipe)
        let names = model.tensors.keys.sorted()
        for cut in stride(from: 1, to: names.count, by: 5) {
            let halves = [Set(names[..<cut]), Set(names[cut...])].map { half in model.file { half.contains($0) } }
            var artifact: Artifact = [:]
            for (index, half) in halves.enumerated() {
                let other = halves[1 - index]
                let neighbours = Neighbours([
                    Neighbours.File(
                        name: "model-\(2 - index).safetensors", input: try SessionRun.description(of: other),
                        bytes: MemoryArtifact(other))
                ])
                let made = try Self.run(half, data: model.data(), recipe, neighbours: neighbours, threads: 2)
                artifact.merge(made.artifact, uniquingKeysWith: { left, _ in left })
            }
            #expect(artifact.keys == whole.artifact.keys)
            for (name, tensor) in whole.artifact {
                // A bias that lies apart from its weight keeps its type.
                if name.hasSuffix(".bias"), artifact[name]?.type == .bf16 { continue }
                let isSame = artifact[name]?.bytes == tensor.bytes
                #expect(isSame, "\(name), \(cut)")
            }
        }
    }

    @Test(arguments: DataForm.allCases)
    func threadsDoNotShow(_ form: DataForm) throws {
        let model = FoldModel("llama").rounded()
        let recipe = try Self.recipe(model)
        let data = model.data(form)
        let runs = try [1, 2, 3].map { try Self.run(model.file(), data: data, recipe, threads: $0).bytes }
        let isSame = runs[0] == runs[1] && runs[0] == runs[2]
        #expect(isSame)
    }

    /// Keys and values take the data of the queries, which see the same tokens; without any data nothing is scaled.
    @Test func dataIsLentAndMissingDataIsListed() throws {
        let model = FoldModel("llama").rounded()
        let recipe = try Self.recipe(model)
        let all = try Self.run(model.file(), data: model.data(), recipe)
        let lent = try Self.run(
            model.file(), data: model.data { !$0.contains("k_proj") && !$0.contains("v_proj") }, recipe)
        #expect(lent.bytes == all.bytes)
        let some = try Self.run(model.file(), data: model.data { $0.contains("self_attn") }, recipe)
        let norm = "model.layers.0.post_attention_layernorm.weight"
        let original = try SessionRun.tensors(of: model.file())[norm]
        #expect(some.artifact[norm]?.bytes == original)
        #expect(some.result.report.warnings.contains { $0.contains("mlp.down_proj") })
        for (name, error) in model.errors(try model.restored(some.artifact, recipe)) {
            #expect(error < 0.1, "\(name)")
        }
    }

    /// What is known from headers is refused before a weight is read.
    @Test func whatCannotBeFoldedIsRefusedAtOnce() throws {
        let model = FoldModel("llama")
        let data = model.data()
        let lone = model.file { !$0.contains("norm") }
        let refusals: [(file: [UInt8], options: [(String, String)], code: String)] = [
            (lone, [], "calibration.fold_incomplete"),
            (
                model.file(), [("overrides", #"[{"match": "*q_proj*", "scaling": "keep"}]"#)],
                "calibration.fold_incomplete"
            ),
        ]
        for refusal in refusals {
            let recipe = try Self.recipe(model, refusal.options)
            let calibration = try CalibrationFile(source: MemoryArtifact(data), limits: SessionLimits(), memory: nil)
            let session = try QuantizingSession(
                recipe: recipe, declaration: .recognise, declaredBytes: refusal.file.count, engine: "viva test",
                calibrationFile: calibration, output: MemoryStorage(), scratch: MemoryStorage())
            let head = Array(refusal.file[..<(try SessionRun.description(of: refusal.file).dataOffset)])
            let error = #expect(throws: QuantizationError.self) { try unsafe session.consume(head.span.bytes) }
            guard case .calibration(let code, let detail)? = error else {
                Issue.record("\(String(describing: error))")
                continue
            }
            #expect(code == refusal.code)
            #expect(detail.contains("scaling=none"))
        }
        let unknown = try Recipe(
            options: [RecipeOption("method", "awq"), RecipeOption("scaling", "fold"), RecipeOption("group_size", "32")])
        #expect(throws: QuantizationError.self) { try Self.run(model.file(), data: data, unknown) }
    }

    /// Linears that an override codes another way, or leaves as they are, take the scales all the same.
    @Test func overridesTakeTheScales() throws {
        let model = FoldModel("llama").rounded()
        for item in [
            #"{"match": "*q_proj*", "group_size": 64}"#, #"{"match": "*up_proj*", "method": "none"}"#,
            #"{"match": "*v_proj*", "calibration": "none"}"#, #"{"match": "*o_proj*", "method": "none"}"#,
        ] {
            let recipe = try Self.recipe(model, [("overrides", "[\(item)]")])
            let made = try Self.run(model.file(), data: model.data(), recipe)
            var artifact = made.artifact
            if item.contains("group_size") {
                for part in ["qweight", "qzeros", "scales"] {
                    artifact["model.layers.0.self_attn.q_proj." + part] = nil
                }
                let name = "model.layers.0.self_attn.q_proj.weight"
                artifact[name] = (.f32, try #require(SessionRun.tensors(of: model.file())[name]))
            }
            for (name, error) in model.errors(try model.restored(artifact, recipe)) where !name.contains("q_proj") {
                #expect(error < 0.03, "\(name), \(item)")
            }
        }
    }
}
