import Tensors
import Testing

@testable import Quantization

/// A plan is what is then made, to the byte.
@Suite struct FilePlanTests {
    private static let names = [
        "weight", "a.weight", "b.c.weight", "norm.weight", "model.embed_tokens.weight", "lm_head.weight", "a.bias",
        "x", "\u{1F600}\"\\.weight", "h.0.mlp.down_proj.weight",
    ]
    private static let rows = [1, 2, 7, 8, 16, 24, 32, 40]
    private static let columns = [1, 3, 31, 32, 48, 64, 96, 128, 130, 256]

    /// Tensors of random names, shapes and types, some with activations beside them.
    private static func input(_ seed: UInt64) -> [UInt8] {
        var generator = FuzzGenerator(state: seed)
        var tensors: [(name: String, type: ElementType, shape: [Int], bytes: [UInt8])] = []
        for name in names.shuffled(using: &generator).prefix(1 + generator.below(6)) {
            let type = generator.pick([ElementType.f32, .f16, .bf16, .f64, .i64])
            let shape =
                generator.chance(85)
                ? [generator.pick(rows), generator.pick(columns)]
                : generator.pick([[], [5], [0, 32], [32, 0], [2, 8, 32]])
            let count = shape.reduce(1, *)
            tensors.append((name, type, shape, elements(type, count, seed: seed &+ UInt64(tensors.count))))
            guard shape.count == 2, let module = name.module(ofLeaf: "weight"), generator.chance(40) else { continue }
            let values = gaussian(3 * shape[1], seed: seed &+ 99)
            tensors.append((module + "activations", .f32, [3, shape[1]], QuantizationTests.bytes(of: values)))
        }
        return safetensors(tensors)
    }

    private static func elements(_ type: ElementType, _ count: Int, seed: UInt64) -> [UInt8] {
        gaussian(count, seed: seed, scale: 0.1).flatMap { value in
            let bits: UInt64 =
                switch type {
                case .f64: Double(value).bitPattern
                case .f32: UInt64(value.bitPattern)
                case .bf16: UInt64(value.bitPattern >> 16)
                case .f16: UInt64(Float16(value).bitPattern)
                default: UInt64(bitPattern: Int64(value * 1000))
                }
            return (0..<type.bitWidth / 8).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) }
        }
    }

    @Test func everyRecipeMakesWhatWasPlanned() throws {
        let recipes = try Recipe.variants([], varied: Recipe.sizeOptions + ["mode"])
        #expect(Set(recipes.map(\.method)) == Set(Method.allCases))
        var planned = 0
        for seed in 0..<10 {
            let bytes = Self.input(UInt64(seed) &* 0x9E37_79B9)
            let input = try SessionRun.description(of: bytes)
            for recipe in recipes {
                let plan = Result { () throws in
                    try PlannedArtifact(input: input, recipe: recipe, engine: "viva test")
                }
                let made = Result { () throws in try SessionRun(bytes, recipe.optionPairs, pieceBytes: 4099) }
                let what = Comment("seed \(seed), \(recipe.label)")
                switch (plan, made) {
                case (.success(let plan), .success(let made)):
                    planned += 1
                    let report = made.result.report
                    #expect(plan.bytes == made.output.bytes.count, what)
                    #expect(plan.bitsPerWeight == report.bitsPerWeight, what)
                    #expect(plan.quantizedWeights == report.quantizedWeights, what)
                    #expect(plan.totalWeights == report.totalWeights, what)
                    #expect(plan.allWarnings == report.warnings, what)
                case (.failure(let refusal), .failure(let error)):
                    #expect(refusal as? QuantizationError == error as? QuantizationError, what)
                default: Issue.record("\(what): planned \(plan), made \(made)")
                }
            }
        }
        #expect(planned > 100)
    }

    @Test func shardsAddUpAndThoseWithoutWeightsStay() throws {
        func layer(_ name: String) -> [UInt8] {
            safetensors([("\(name).weight", .f32, [32, 64], bytes(of: gaussian(2048, seed: 1)))])
        }
        let norms = safetensors([("a.norm", .f32, [64], bytes(of: gaussian(64, seed: 2)))])
        let shards = [layer("a"), norms, layer("b")]
        let inputs = try shards.map { try SessionRun.description(of: $0) }
        let recipes = try Recipe.variants([], methods: [.int8], varied: [])
        let plan = FilePlan(
            inputs: inputs, isModel: true, recipes: recipes, engine: "viva test", limits: SessionLimits())
        for (recipe, choice) in zip(recipes, plan.choices) {
            let alone = try [0, 2].map { try SessionRun(shards[$0], recipe.optionPairs).output.bytes.count }
            let sum = try choice.outcome.get()
            let rest = try PlannedArtifact(
                input: inputs[1], recipe: recipe, engine: "viva test", isShard: true)
            #expect(sum.bytes == alone[0] + alone[1] + rest.bytes)
            #expect(rest.quantizedWeights == 0)
            #expect(sum.quantizedWeights == 4096)
            #expect(sum.totalWeights == 4096 + 64)
        }
    }

    @Test func awqIsPlannedWithoutActivationsWhereThereAreNone() throws {
        let weight: [(name: String, type: ElementType, shape: [Int], bytes: [UInt8])] = [
            ("weight", .f32, [32, 128], bytes(of: gaussian(4096, seed: 1)))
        ]
        let activations: [(name: String, type: ElementType, shape: [Int], bytes: [UInt8])] = [
            ("activations", .f32, [4, 128], bytes(of: gaussian(512, seed: 2)))
        ]
        let recipes = try Recipe.variants([], methods: [.awq], varied: Recipe.sizeOptions)
        func calibrations(_ tensors: [(name: String, type: ElementType, shape: [Int], bytes: [UInt8])]) throws
            -> Set<Calibration>
        {
            let input = try SessionRun.description(of: safetensors(tensors))
            let plan = FilePlan(inputs: [input], recipes: recipes, engine: "viva test", limits: SessionLimits())
            return Set(plan.choices.map(\.recipe.calibration))
        }
        #expect(try calibrations(weight) == [.none])
        #expect(try calibrations(weight + activations) == [.none, .data])
    }

    /// Only the header is needed, in pieces of any size; one byte less is told.
    @Test func theHeaderAloneIsEnough() throws {
        let bytes = Self.input(7)
        let whole = try SessionRun.description(of: bytes)
        for pieceBytes in [1, 7, 64 << 10] {
            let head = Array(bytes.prefix(whole.dataOffset))
            #expect(try Self.read(head, pieceBytes) == whole)
            #expect { try Self.read(head.dropLast(), pieceBytes) } throws: { error in
                guard case .session(.truncated(let expected, let received)) = error as? TransferError<Never> else {
                    return false
                }
                return expected == whole.dataOffset && received == whole.dataOffset - 1
            }
        }
    }

    /// Each of the headers is fine, and so are fifteen of them together: 16 times 2^59 bytes are more than are counted.
    @Test func shardsOfMoreBytesThanAreCountedAreRefused() throws {
        let heads = (0..<16).map { number in
            let entry = TensorEntry(
                name: "a\(number)", type: .u8, shape: [1 << 59], elementCount: 1 << 59, bytes: 0..<1 << 59)
            let json = SafetensorsHeader.serialize(entries: [entry], metadata: [])
            return SafetensorsHeader.file(prefixing: json, paddedTo: json.count)
        }
        let inputs = try Self.read(Array(heads[..<15].joined()), 50, headers: 15)
        let plan = FilePlan(
            inputs: inputs, isModel: true, recipes: try Recipe.variants([], varied: []), engine: "viva test",
            limits: SessionLimits())
        #expect(plan.inputBytes > 15 << 59 && plan.choices.allSatisfy { $0.refusal != nil })
        #expect {
            try Self.read(Array(heads.joined()), 50, headers: 16)
        } throws: { error in
            guard case TransferError<Never>.session(.container(let error)) = error else { return false }
            return error.code == "safetensors.data_too_large"
        }
    }

    private static func read(_ bytes: [UInt8], _ pieceBytes: Int) throws -> InputDescription {
        try read(bytes, pieceBytes, headers: 1)[0]
    }

    private static func read(_ bytes: [UInt8], _ pieceBytes: Int, headers: Int) throws -> [InputDescription] {
        var position = 0
        return try InputDescription.reading(headers: headers, limits: ContainerLimits(), memory: nil) {
            (span: inout MutableRawSpan) -> Int in
            let count = min(span.byteCount, bytes.count - position, pieceBytes)
            for index in 0..<count {
                span.storeBytes(of: bytes[position + index], toByteOffset: index, as: UInt8.self)
            }
            position += count
            return count
        }
    }
}

/// Which recipes a set of options leaves open.
@Suite struct RecipeVariantTests {
    private func labels(_ options: [(String, String)], _ methods: [Method] = Method.allCases) throws -> [String] {
        try Recipe.variants(
            options.map { RecipeOption($0.0, $0.1) }, methods: methods, varied: Recipe.sizeOptions
        ).map(\.label)
    }

    @Test func defaultsComeFirstAndEveryOptionIsTried() throws {
        #expect(try labels([], [.nf4]) == ["nf4", "nf4 double_quant=false"])
        #expect(
            try labels([("format", "compressed-tensors")], [.int8]) == [
                "int8 format=compressed-tensors", "int8 format=compressed-tensors group_size=32",
                "int8 format=compressed-tensors group_size=64", "int8 format=compressed-tensors group_size=128",
                "int8 format=compressed-tensors scheme=W8A8",
            ])
    }

    @Test func anOptionNarrowsToThoseThatKnowIt() throws {
        #expect(try labels([("double_quant", "false")]).allSatisfy { $0.contains("double_quant=false") })
        #expect(try labels([("group_size", "-1")]).allSatisfy { !$0.contains("mlx") && !$0.contains("nf4") })
        #expect(try labels([("format", "mlx")]).allSatisfy { $0.contains("format=mlx") })
        #expect(try labels([("include", "*")]).count == labels([]).count)
    }

    @Test(arguments: [
        ([("group_size", "63")], "recipe.invalid_option"), ([("blocksize", "64")], "recipe.unknown_option"),
        ([("format", "gguf")], "recipe.invalid_option"), ([("double_quant", "maybe")], "recipe.invalid_option"),
    ])
    func whatNoMethodTakesIsRefused(_ options: [(String, String)], _ code: String) {
        #expect {
            try labels(options)
        } throws: { error in
            guard case .recipe(code, _) = error as? QuantizationError else { return false }
            return true
        }
    }

    @Test func aSlipIsAnsweredWithWhatThereIs() {
        #expect {
            try labels([("group_size", "64"), ("blocksize", "64")])
        } throws: { error in
            guard case .recipe(_, let detail) = error as? QuantizationError else { return false }
            return detail.hasPrefix("No method has the option 'blocksize'; known: bits, block_size, calibration,")
        }
    }

    /// What the query says is the recipe.
    @Test func theQueryMakesTheRecipeAgain() throws {
        for recipe in try Recipe.variants([], varied: Recipe.sizeOptions + ["mode"]) {
            let options = recipe.query.split(separator: "&").map { item in
                let parts = item.split(separator: "=", maxSplits: 1)
                return RecipeOption(String(parts[0]), String(parts[1]))
            }
            #expect(try Recipe(options: options) == recipe)
        }
    }

    @Test func methodListsKeepTheirOrder() throws {
        #expect(try Method.list("nf4,int8,nf4") == [.nf4, .int8])
        for text in ["", "nf4,", "int3"] {
            #expect(throws: QuantizationError.self) { try Method.list(text) }
        }
    }
}

extension Recipe {
    /// The options that make this recipe, include and exclude aside.
    var optionPairs: [(String, String)] {
        [("method", method.rawValue), ("format", format.rawValue), ("mode", mode.rawValue)]
            + optionMembers.map { ($0.0, $0.1.filter { $0 != "\"" }) }
    }
}
