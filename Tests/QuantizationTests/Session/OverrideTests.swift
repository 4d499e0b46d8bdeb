import Foundation
import Tensors
import Testing

@testable import Quantization

/// Tensors with options of their own, several formats in one pass, gates.
@Suite struct OverrideTests {
    private let names = ["l.0.down_proj.weight", "l.0.up_proj.weight", "lm_head.weight", "l.1.down_proj.weight"]
    private var input: [UInt8] {
        safetensors(
            names.enumerated().map { number, name in
                (name, ElementType.f32, [32, 256], bytes(of: gaussian(32 * 256, seed: UInt64(number))))
            })
    }

    private func run(_ overrides: String, _ options: [(String, String)]) throws -> SessionRun {
        try SessionRun(input, options + [("overrides", overrides)])
    }

    private func code(_ options: [(String, String)]) -> String? {
        do {
            _ = try Recipe(options: options.map { RecipeOption($0.0, $0.1) })
            return nil
        } catch {
            switch error {
            case .recipe(let code, _): return code
            case .limit(let name, _, _, _): return name
            default: return "\(error)"
            }
        }
    }

    /// The oracle is the recipe of each tensor, run alone.
    @Test func eachTensorIsCodedAsItsOwnRecipeWould() throws {
        let base = [("method", "int4"), ("group_size", "128")]
        let mixed = try run(
            #"[{"match": "*.0.down*", "method": "int8", "group_size": 32}, {"match": "lm_head.*", "group_size": 64},"#
                + #"{"match": "l.1.*", "method": "none"}]"#, base)
        let tensors = try mixed.tensors()
        let plain = try SessionRun(input, base).tensors()
        let eight = try SessionRun(input, [("method", "int8"), ("format", "compressed-tensors"), ("group_size", "32")])
        let head = try SessionRun(input, [("method", "int4"), ("group_size", "64"), ("include", "*")])
        for part in ["weight_packed", "weight_scale", "weight_shape"] {
            #expect(tensors["l.0.up_proj.\(part)"] == plain["l.0.up_proj.\(part)"])
            #expect(tensors["l.0.down_proj.\(part)"] == (try eight.tensors())["l.0.down_proj.\(part)"])
            #expect(tensors["lm_head.\(part)"] == (try head.tensors())["lm_head.\(part)"])
        }
        #expect(tensors["l.1.down_proj.weight"] == bytes(of: gaussian(32 * 256, seed: 3)))
        #expect(mixed.result.skippedModules == ["l.1.down_proj"])
        #expect(mixed.result.variedModules.map(\.name) == ["l.0.down_proj", "lm_head"])
        #expect(mixed.result.report.codeBits > 5.3 && mixed.result.report.codeBits < 5.4)
    }

    @Test func theFirstOverrideThatMatchesCountsAndExcludeWins() throws {
        let overrides = """
            [{"match": "l.0.up_proj.weight", "method": "none"}, {"match": "l.0.*", "block_size": 32},
             {"match": "l.0.down_proj.weight", "block_size": 4096}, {"match": "l.1.*", "block_size": 128}]
            """
        let options = [("method", "nf4"), ("double_quant", "false"), ("exclude", "l.1.*")]
        let tensors = try run(overrides, options).tensors()
        #expect(tensors["l.0.down_proj.weight.absmax"]?.count == 32 * 256 / 32 * 4)
        #expect(tensors["l.0.up_proj.weight"]?.count == 32 * 256 * 4)
        #expect(tensors["l.1.down_proj.weight"]?.count == 32 * 256 * 4)
    }

    /// A glob that names nothing is a slip; of a shard it may be meant for another one.
    @Test func globsThatMatchNothingAreWarnedOf() throws {
        let options = [("method", "int4"), ("exclude", "l.2.*"), ("exclude", "lm_head.*")]
        let slip = #"[{"match": "l.0.dwn*", "method": "int8"}, {"match": "l.1.*", "group_size": 64}]"#
        let warnings = try run(slip, options).result.report.warnings
        #expect(warnings.filter { $0.contains("matches no tensor") }.count == 2)
        #expect(warnings.contains("'l.2.*' matches no tensor.") && warnings.contains("'l.0.dwn*' matches no tensor."))
        let recipe = try Recipe(options: options.map { RecipeOption($0.0, $0.1) })
        let description = try unsafe parseFile(input.span.bytes)
        let shard = try ArtifactLayout(input: description, recipe: recipe, engine: "test", isShard: true)
        #expect(shard.warnings.isEmpty)
    }

    @Test func theSamePiecesHoweverTheInputIsCut() throws {
        let overrides = #"[{"match": "*down*", "mode": "reference"}, {"match": "*", "block_size": 128}]"#
        let whole = try run(overrides, [("method", "nf4")])
        let cut = try SessionRun(input, [("method", "nf4"), ("overrides", overrides)], pieceBytes: 997)
        #expect(whole.output.bytes == cut.output.bytes)
    }

    @Test func whatNoConfigDescribesIsWarnedOf() throws {
        let mixed = try run(#"[{"match": "*down*", "method": "int8"}]"#, [("method", "nf4")])
        #expect(mixed.result.report.warnings.contains { $0.contains("4-bit and 8-bit") })
        let sizes = try run(#"[{"match": "*down*", "block_size": 128}]"#, [("method", "nf4")])
        #expect(!sizes.result.report.warnings.contains { $0.contains("mixes") })
        let groups = try run(
            #"[{"match": "*down*", "group_size": 32}]"#, [("method", "awq"), ("calibration", "none")])
        #expect(groups.result.report.warnings.contains { $0.contains("group sizes") })
    }

    @Test(arguments: [
        "", "{}", "[1]", "[{}]", #"[{"match": ""}]"#, #"[{"match": "a"}]"#, #"[{"method": "int8"}]"#,
        #"[{"match": "a", "include": "b"}]"#, #"[{"match": "a", "format": "mlx"}]"#,
        #"[{"match": "a", "method": "none", "block_size": 32}]"#, #"[{"match": "a", "block_size": [32]}]"#,
        #"[{"match": "a", "min_sqnr_db": 3}]"#, #"[{"match": "a", "overrides": "[]"}]"#,
    ])
    func refusesWhatIsNoOverride(_ text: String) {
        #expect(code([("method", "nf4"), ("overrides", text)]) == "recipe.invalid_override")
    }

    @Test func refusesWhatTheFormatDoesNotHold() {
        let nf4 = ("method", "nf4")
        #expect(code([nf4, ("overrides", #"[{"match": "a", "method": "fp8"}]"#)]) == "recipe.format_mismatch")
        #expect(code([nf4, ("overrides", #"[{"match": "a", "group_size": 32}]"#)]) == "recipe.unknown_option")
        #expect(code([nf4, ("overrides", #"[{"match": "a", "block_size": 33}]"#)]) == "recipe.invalid_option")
        let many = #"{"match": "a", "block_size": 32},"#
        let text = "[" + String(repeating: many, count: Override.maximumCount) + many.dropLast() + "]"
        #expect(code([nf4, ("overrides", text)]) == "overrides")
    }

    @Test func overridesAreInTheCanonicalTextAndGatesAreNot() throws {
        func canonical(_ options: [(String, String)]) throws -> String {
            try Recipe(options: [RecipeOption("method", "nf4")] + options.map { RecipeOption($0.0, $0.1) }).canonical
        }
        let plain = try canonical([])
        #expect(try canonical([("min_sqnr_db", "12"), ("max_rel_error", "0.3")]) == plain)
        let first = try canonical([("overrides", #"[{"match": "a", "block_size": 32}]"#)])
        #expect(first != plain)
        #expect(try canonical([("overrides", #" [ {"block_size": "32", "match": "a"} ] "#)]) == first)
    }

    @Test func aGateNamesTheTensorAndTheFigure() throws {
        func failure(_ options: [(String, String)]) throws -> QuantizationError? {
            do {
                _ = try SessionRun(input, options)
                return nil
            } catch let error as QuantizationError {
                return error
            }
        }
        let run = try SessionRun(input, [("method", "nf4")])
        let quality = try #require(run.result.report.tensors[0].quality)
        let sqnr = try #require(QualityFigures(quality.sums).sqnr)
        #expect(
            try failure([("method", "nf4"), ("min_sqnr_db", "30")])
                == .gate(name: "min_sqnr_db", value: sqnr, bound: 30, tensor: names[0]))
        #expect(try failure([("method", "nf4"), ("min_sqnr_db", "15")]) == nil)
        let error = quality.sums.maximumError / quality.sums.maximumSignal
        #expect(
            try failure([("method", "nf4"), ("max_rel_error", "0.01")])
                == .gate(name: "max_rel_error", value: error, bound: 0.01, tensor: names[0]))
        #expect(try failure([("method", "nf4"), ("max_rel_error", "\(error.nextUp + 0.1)")]) == nil)
        #expect(
            try failure([("method", "awq"), ("calibration", "none"), ("min_sqnr_db", "60")]) != nil,
            "also where the tensor is worked on at the end")
        for text in ["nan", "inf", "-101", "ten", "0x10", " 1", ""] {
            #expect(code([("method", "nf4"), ("min_sqnr_db", text)]) != nil)
        }
    }

    @Test(arguments: [1e-35, 1e30])
    func figuresBeyondFloat32AreWarnedOf(_ scale: Double) throws {
        let input = safetensors([("far.weight", .f32, [8, 64], bytes(of: gaussian(512, seed: 5, scale: scale)))])
        let warnings = try SessionRun(input, [("method", "nf4")]).result.report.warnings
        #expect(warnings.contains { $0.hasPrefix("far.weight: the weights are so") })
    }

    @Test func routersAreCopiedUnlessTheyAreAskedFor() throws {
        let routers = ["l.0.mlp.gate.weight", "l.0.block_sparse_moe.gate.weight", "l.0.router.weight"]
        let input = safetensors(
            (routers + ["l.0.mlp.gate_proj.weight"]).map { ($0, .f32, [8, 64], bytes(of: gaussian(512, seed: 6))) })
        func quantized(_ options: [(String, String)]) throws -> [String] {
            let run = try SessionRun(input, [("method", "nf4")] + options)
            return run.result.report.tensors.filter { $0.quality != nil }.map(\.entry.name)
        }
        #expect(try quantized([]) == ["l.0.mlp.gate_proj.weight"])
        #expect(try quantized([("include", "*router*")]) == ["l.0.router.weight"])
    }

    @Test func formatsOfOneRequest() throws {
        func list(_ options: [(String, String)]) throws -> [Recipe] {
            try Recipe.list(options: options.map { RecipeOption($0.0, $0.1) })
        }
        let both = try list([
            ("method", "int8"), ("format", "bitsandbytes,compressed-tensors"), ("scheme", "W8A8"), ("exclude", "a"),
        ])
        #expect(both.map(\.format) == [.bitsandbytes, .compressedTensors])
        #expect(both[1].scheme == .w8a8 && both.allSatisfy { $0.exclude == ["a"] })
        #expect(try list([("method", "int8")]).count == 1)
        for format in ["mlx,mlx", "mlx,", ",", "bitsandbytes,awq"] {
            #expect(throws: QuantizationError.self) { try list([("method", "int8"), ("format", format)]) }
        }
        #expect(throws: QuantizationError.self, "an option that neither has") {
            try list([("method", "int8"), ("format", "bitsandbytes,mlx"), ("block_size", "64")])
        }
    }
}
