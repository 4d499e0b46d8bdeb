import Tensors
import Testing

@testable import Quantization

/// The knapsack against every choice there is.
@Suite struct AllocationTests {
    private static func groups(_ generator: inout FuzzGenerator, count: Int, options: Int) -> [[Allocation.Option]] {
        (0..<count).map { _ in
            (0..<1 + generator.below(options)).map { _ in
                Allocation.Option(bytes: generator.below(40), error: Double(generator.below(1000)) / 8)
            }
        }
    }

    private static func everyChoice(_ groups: [[Allocation.Option]], _ budget: Int) -> Double? {
        var sums: [(bytes: Int, error: Double)] = [(0, 0)]
        for options in groups {
            sums = sums.flatMap { sum in options.map { (sum.bytes + $0.bytes, sum.error + $0.error) } }
        }
        return sums.filter { $0.bytes <= budget }.map(\.error).min()
    }

    @Test func theBestChoiceIsFound() throws {
        var generator = FuzzGenerator(state: 11)
        for _ in 0..<400 {
            let groups = Self.groups(&generator, count: 1 + generator.below(6), options: 5)
            let budget = generator.below(40 * groups.count)
            let found = Allocation.best(of: groups, budget: budget)
            let expected = Self.everyChoice(groups, budget)
            #expect(found?.error == expected)
            guard let found else { continue }
            #expect(found.isOptimal && found.bytes <= budget)
            #expect(found.bytes == zip(found.choices, groups).reduce(0) { $0 + $1.1[$1.0].bytes })
        }
    }

    /// Where there are too many sums the greedy choice stands: within the budget, and no worse than a uniform one.
    @Test func tooManySumsAreLeft() throws {
        var generator = FuzzGenerator(state: 12)
        for _ in 0..<50 {
            let groups = (0..<60).map { _ in
                (0..<4).map { number in
                    Allocation.Option(
                        bytes: 100 * number + generator.below(90),
                        error: Double(4 - number) * Double(generator.below(50)))
                }
            }
            let budget = 60 * 150
            let rough = try #require(Allocation.best(of: groups, budget: budget, maximumStates: 2))
            let exact = try #require(Allocation.best(of: groups, budget: budget))
            #expect(rough.bytes <= budget && exact.bytes <= budget)
            #expect(exact.error <= rough.error)
            for option in 0..<4 where groups.reduce(0, { $0 + $1[option].bytes }) <= budget {
                #expect(rough.error <= groups.reduce(0) { $0 + $1[option].error })
            }
        }
    }
}

/// A budget from the request to the artifact.
@Suite struct BudgetTests {
    private struct Run {
        let recipe: Recipe
        let result: SessionResult
        let outcome: BudgetOutcome
        let output: MemoryStorage

        init(_ input: [UInt8], _ budget: Budget, _ options: [(String, String)] = []) throws {
            let output = MemoryStorage()
            self.output = output
            let session = try BudgetSession(
                budget: budget,
                candidates: try BudgetCandidate.list(options: options.map { RecipeOption($0.0, $0.1) }),
                declaration: .recognise, declaredBytes: input.count, engine: "viva test", output: output,
                staged: MemoryStorage(countsRewrites: false),
                openScratch: { MemoryStorage(countsRewrites: false) })
            for start in stride(from: 0, to: input.count, by: 4099) {
                let piece = Array(input[start..<min(start + 4099, input.count)])
                try unsafe session.consume(piece.span.bytes)
            }
            (recipe, result, outcome) = try session.finish(inputDigest: SessionRun.digest)
        }
    }

    /// Layers of very different scale, one of them with outliers: some need more bits than others.
    private static let input: [UInt8] = {
        var spiky = gaussian(64 * 256, seed: 5, scale: 0.02)
        for index in stride(from: 0, to: spiky.count, by: 61) { spiky[index] *= 40 }
        return safetensors([
            ("l.0.mlp.down_proj.weight", .f32, [64, 256], bytes(of: gaussian(64 * 256, seed: 1, scale: 1))),
            ("l.0.mlp.gate_proj.weight", .f32, [64, 128], bytes(of: gaussian(64 * 128, seed: 2, scale: 0.01))),
            ("l.0.mlp.up_proj.weight", .f32, [64, 128], bytes(of: gaussian(64 * 128, seed: 3, scale: 1))),
            ("l.0.norm.weight", .f32, [128], bytes(of: gaussian(128, seed: 4))),
            ("l.1.mlp.down_proj.weight", .f32, [64, 256], bytes(of: spiky)),
            ("l.1.self_attn.o_proj.weight", .f32, [64, 96], bytes(of: gaussian(64 * 96, seed: 6, scale: 0.1))),
        ])
    }()

    @Test(arguments: ["compressed-tensors", "mlx"])
    func neverWorseThanTheBestUniformChoiceThatFits(_ format: String) throws {
        let smallest = try Run(Self.input, .bytes(1 << 30), [("format", format)]).outcome.uniforms.map(\.bytes)
        let (low, high) = (try #require(smallest.min()), try #require(smallest.max()))
        var improved = 0
        for step in 0...8 {
            let budget = low + (high - low) * step / 8 + 700
            let run = try Run(Self.input, .bytes(budget), [("format", format)])
            let outcome = run.outcome
            #expect(run.output.bytes.count == outcome.bytes && outcome.bytes <= budget)
            let sums = run.result.report.pooled
            #expect(abs(sums.squaredError - outcome.squaredError) <= 1e-9 * outcome.squaredError)
            if let uniform = outcome.bestUniform {
                #expect(outcome.squaredError <= uniform.squaredError)
                if outcome.squaredError < uniform.squaredError { improved += 1 }
                let alone = try SessionRun(Self.input, uniform.recipe.optionPairs)
                #expect(alone.output.bytes.count == uniform.bytes && uniform.bytes <= budget)
                #expect(alone.result.report.pooled.squaredError == uniform.squaredError)
            }
            // The recipe alone makes the same file again.
            let again = try MemoryRun(Self.input, run.recipe)
            #expect(again.output.bytes == run.output.bytes)
        }
        #expect(improved > 3)
    }

    @Test func bitsAWeightAreABudgetToo() throws {
        for bits in [4.5, 5, 6, 7.5] {
            let run = try Run(Self.input, .bitsPerWeight(bits))
            #expect(run.outcome.bitsPerWeight <= bits)
            #expect(run.outcome.isOptimal)
            #expect(run.outcome.squaredError <= run.outcome.bestUniform?.squaredError ?? .infinity)
        }
        let all = try Run(Self.input, .bitsPerWeight(64)).outcome
        #expect(all.squaredError == all.uniforms.map(\.squaredError).min() || all.shares.count > 1)
    }

    /// vLLM makes one Linear of gate and up: they are coded alike. MLX does not.
    @Test func fusedLinearsAreCodedAlike() throws {
        for bits in [4.6, 5.2, 6.0] {
            let run = try Run(Self.input, .bitsPerWeight(bits))
            let ways = run.result.report.tensors.filter {
                $0.entry.name.contains("gate") || $0.entry.name.contains("up_")
            }
            .map { $0.variant }
            #expect(ways.count == 2 && ways[0] == ways[1])
        }
        #expect(FusedName("a.self_attn.k_proj.weight").text == FusedName("a.self_attn.q_proj.weight").text)
        #expect(FusedName("a.experts.3.w1.weight").text == FusedName("a.experts.12.w2.weight").text)
        #expect(FusedName("a.mlp.up_proj.weight").text != FusedName("b.mlp.gate_proj.weight").text)
    }

    @Test func aBudgetThatCannotBeMetSaysByHowMuch() throws {
        let least = try Run(Self.input, .bytes(1 << 30)).outcome.uniforms.map(\.bytes).min() ?? 0
        do {
            _ = try Run(Self.input, .bytes(1000))
            Issue.record("1000 bytes are too few")
        } catch QuantizationError.budget(let name, let value, let smallest) {
            #expect(name == "budget_bytes" && value == 1000)
            #expect(Int(smallest) <= least)
            // What is said to be enough is enough, and a byte less is not.
            #expect(try Run(Self.input, .bytes(Int(smallest))).outcome.bytes == Int(smallest))
            #expect(throws: QuantizationError.self) { try Run(Self.input, .bytes(Int(smallest) - 1)) }
        }
        #expect(throws: QuantizationError.self) { try Run(Self.input, .bitsPerWeight(3.9)) }
    }

    @Test(arguments: [
        ([("format", "bitsandbytes")], "budget.format"), ([("methods", "nf4")], "budget.method"),
        ([("overrides", "[]")], "budget.overrides"), ([("block_size", "64")], "recipe.unknown_option"),
        ([("method", "fp8")], "budget.method"), ([("scheme", "W8A8")], "budget.format"),
    ])
    func whatNoBudgetTakesIsRefused(_ options: [(String, String)], _ code: String) {
        #expect {
            try BudgetCandidate.list(options: options.map { RecipeOption($0.0, $0.1) })
        } throws: { error in
            guard case .recipe(let found, _) = error as? QuantizationError else { return false }
            return found == code
        }
    }

    @Test func optionsNarrowTheChoice() throws {
        func labels(_ options: [(String, String)]) throws -> [String] {
            try BudgetCandidate.list(options: options.map { RecipeOption($0.0, $0.1) }).map(\.whole.label)
        }
        #expect(try labels([]).count == 8)
        #expect(try labels([("method", "int4")]).allSatisfy { $0.hasPrefix("int4") })
        #expect(try labels([("target", "mlx")]).allSatisfy { $0.contains("format=mlx") })
        for text in ["0", "-1", "x", ""] {
            #expect(throws: QuantizationError.self) { try Budget.read { $0 == "budget_bytes" ? text : nil } }
            #expect(throws: QuantizationError.self) { try Budget.read { $0 == "budget_bits_per_weight" ? text : nil } }
        }
        #expect(throws: QuantizationError.self) { try Budget.read { _ in "5" } }
        #expect(try Budget.read { _ in nil } == nil)
    }
}

/// A session of a recipe that no request spelled.
private struct MemoryRun {
    let output = MemoryStorage()

    init(_ input: [UInt8], _ recipe: Recipe) throws {
        let session = try QuantizingSession(
            recipe: recipe, declaration: .recognise, declaredBytes: input.count, engine: "viva test", output: output,
            scratch: MemoryStorage(countsRewrites: false))
        try unsafe session.consume(input.span.bytes)
        _ = try session.finish(inputDigest: SessionRun.digest)
    }
}
