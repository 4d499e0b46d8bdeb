import Tensors
import Testing

@testable import Quantization

/// Where scales can go, against models that were folded and run.
@Suite struct FoldPlanTests {
    @Test(arguments: FoldFixture.all)
    func groupsAreThoseThatLeaveTheModelAsItIs(_ fixture: FoldFixture) throws {
        let plan = try fixture.plan()
        #expect(fixture.named(plan) == fixture.groups)
        #expect(plan.groups.count == fixture.groups.count)
    }

    @Test func everyKnownTypeIsProved() {
        let proved = Set(FoldFixture.all.map(\.modelType))
        #expect(proved == Set(FoldFamily.knownTypes))
    }

    /// A group without a coded Linear has nothing to gain, and its tensors stay as they are.
    @Test func whatIsNotCodedIsNotScaled() throws {
        let fixture = try FoldFixture("mixtral")
        let plan = try fixture.plan { $0.contains("self_attn") }
        let expected = fixture.groups.filter { $0.readers.contains { $0.contains("self_attn") } }
        #expect(fixture.named(plan) == expected)
        let touched = Set(plan.uses.keys.map { fixture.entries[$0].name })
        #expect(touched.allSatisfy { $0.contains("self_attn") || $0.contains("input_layernorm") })
    }

    /// A Linear that is left out reads the scaled output all the same.
    @Test func readersThatAreCopiedAreScaledToo() throws {
        let fixture = try FoldFixture("llama")
        #expect(fixture.named(try fixture.plan { $0.contains("layers.") && !$0.contains("q_proj") }) == fixture.groups)
    }

    @Test func dataIsSharedByThoseThatReadTheSameTokens() throws {
        let fixture = try FoldFixture("qwen2_moe")
        let coding = fixture.entries.map { _ in FoldCoding.copied }
        let sets = FoldPlan.sharedInputs(fixture.entries, coding, architecture: fixture.architecture)
        let names = Set(sets.map { Set($0.map { fixture.entries[$0].name }) })
        let layer = "model.layers.1."
        #expect(names.contains(Set(["q", "k", "v"].map { "\(layer)self_attn.\($0)_proj.weight" })))
        #expect(names.contains(Set(["gate", "up"].map { "\(layer)mlp.experts.2.\($0)_proj.weight" })))
        #expect(
            names.contains(
                Set(
                    ["gate", "shared_expert_gate", "shared_expert.gate_proj", "shared_expert.up_proj"].map {
                        "\(layer)mlp.\($0).weight"
                    })))
        #expect(FoldPlan.sharedInputs(fixture.entries, coding, architecture: nil).isEmpty)
    }

    @Test func unknownArchitecturesAreRefused() throws {
        let fixture = try FoldFixture("llama")
        let coding = fixture.entries.map { _ in FoldCoding.copied }
        for type in ["gpt_neox", nil] {
            let architecture = type.flatMap { Architecture(modelType: $0, isTied: nil) }
            let error = #expect(throws: QuantizationError.self) {
                try FoldPlan(fixture.entries, coding, architecture: architecture)
            }
            #expect(error.code == "calibration.fold_unknown")
        }
    }

    private static let layer = "model.layers.1."

    @Test(arguments: ["input_layernorm", "self_attn.k_proj", "mlp.up_proj"])
    func aMissingPartIsRefused(_ module: String) throws {
        var fixture = try FoldFixture("llama")
        fixture.entries.removeAll { $0.name == "\(Self.layer)\(module).weight" }
        let error = #expect(throws: QuantizationError.self) { try fixture.plan() }
        #expect(error.code == "calibration.fold_incomplete")
        #expect(error.detail.contains("\(Self.layer)\(module).weight"))
    }

    @Test(arguments: [
        ("input_layernorm", [64]), ("input_layernorm", [1, 128]), ("self_attn.k_proj", [64, 256]),
        ("mlp.up_proj", [200, 128]), ("self_attn.v_proj", [96, 128]),
    ])
    func anotherWidthIsRefused(_ module: String, _ shape: [Int]) throws {
        var fixture = try FoldFixture("llama")
        let name = "\(Self.layer)\(module).weight"
        let index = try #require(fixture.entries.firstIndex { $0.name == name })
        fixture.entries[index] = FoldFixture.entry(name, shape)
        let error = #expect(throws: QuantizationError.self) { try fixture.plan() }
        #expect(error.code == "calibration.fold_incomplete")
    }

    /// It might read the norm's output, and would not be scaled.
    @Test(arguments: ["self_attn.g_proj.weight", "adapter", "mlp.experts.0.w1.weight"])
    func anUnknownPartIsRefused(_ name: String) throws {
        var fixture = try FoldFixture("llama")
        fixture.entries.append(FoldFixture.entry(Self.layer + name, [128, 128]))
        let error = #expect(throws: QuantizationError.self) { try fixture.plan() }
        #expect(error.code == "calibration.fold_unknown")
        #expect(error.detail.contains(name))
    }

    /// What is no matrix cannot read anything: buffers that old checkpoints have.
    @Test func buffersAreAllowed() throws {
        var fixture = try FoldFixture("llama")
        fixture.entries.append(FoldFixture.entry(Self.layer + "self_attn.rotary_emb.inv_freq", [16]))
        #expect(fixture.named(try fixture.plan()) == fixture.groups)
    }

    /// All experts in one tensor read the norm's output too.
    @Test func stackedExpertsBesideCodedLinearsAreRefused() throws {
        var fixture = try FoldFixture("qwen2_moe")
        fixture.entries.removeAll { $0.name.contains(".experts.") }
        for name in ["gate_up_proj", "down_proj"] {
            for layer in 0..<2 {
                let entry = FoldFixture.entry("model.layers.\(layer).mlp.experts.\(name)", [4, 256, 128])
                fixture.entries.append(entry)
            }
        }
        let error = #expect(throws: QuantizationError.self) { try fixture.plan() }
        #expect(error.code == "calibration.fold_incomplete")
        let attention = try fixture.plan { $0.contains("self_attn") }
        #expect(fixture.named(attention) == fixture.groups.filter { $0.before.contains("input_layernorm") })
    }

    @Test func whatCannotBeScaledIsRefused() throws {
        let fixture = try FoldFixture("llama")
        let index = try #require(fixture.entries.firstIndex { $0.name == "\(Self.layer)mlp.up_proj.weight" })
        var coding = fixture.entries.map { $0.shape.count == 2 ? FoldCoding.scalable(hasData: true) : .copied }
        coding[index] = .fixed
        let architecture = fixture.architecture
        let error = #expect(throws: QuantizationError.self) {
            try FoldPlan(fixture.entries, coding, architecture: architecture)
        }
        #expect(error.code == "calibration.fold_incomplete")
        coding[index] = .copied
        var entries = fixture.entries
        entries[index] = FoldFixture.entry(entries[index].name, [256, 128], .f8E4M3)
        let frozen = #expect(throws: QuantizationError.self) {
            try FoldPlan(entries, coding, architecture: architecture)
        }
        #expect(frozen.code == "calibration.fold_incomplete")
    }

    /// A header is untrusted: thousands of layers or experts take no time in their square.
    @Test func manyLayersTakeLinearTime() throws {
        let entries = (0..<15_000).map { FoldFixture.entry("model.layers.0.mlp.experts.\($0).up_proj.weight", [8, 8]) }
        let architecture = Architecture(modelType: "qwen3_moe", isTied: nil)
        #expect(throws: QuantizationError.self) {
            try FoldPlan(entries, entries.map { _ in .scalable(hasData: true) }, architecture: architecture)
        }
    }
}

extension Optional where Wrapped == QuantizationError {
    fileprivate var code: String {
        guard case .calibration(let code, _)? = self else { return "\(String(describing: self))" }
        return code
    }

    fileprivate var detail: String {
        guard case .calibration(_, let detail)? = self else { return "" }
        return detail
    }
}
