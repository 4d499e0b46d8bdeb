import Foundation
import Tensors
import Testing

@testable import Quantization

/// FP8 checkpoints give the artifact of the BF16 checkpoint that torch makes of them.
@Suite struct FP8SessionTests {
    typealias Tensor = (name: String, type: ElementType, shape: [Int], bytes: [UInt8])

    static let recipes: [[(String, String)]] = [
        [("method", "nf4")], [("method", "nf4"), ("mode", "reference")], [("method", "int8")],
        [("method", "int8"), ("format", "compressed-tensors")], [("method", "int4"), ("group_size", "32")],
        [("method", "int8"), ("format", "mlx"), ("group_size", "32")], [("method", "fp8")],
        [("method", "awq"), ("calibration", "none"), ("group_size", "32")],
        [("method", "int4"), ("format", "awq"), ("group_size", "32")],
    ]

    static func fixture(_ name: String) throws -> [UInt8] {
        let folder = GoldenCase.folder.deletingLastPathComponent().appending(path: "inputs")
        return Array(try Data(contentsOf: folder.appending(path: name)))
    }

    private static func tensors(_ name: String) throws -> [Tensor] {
        let file = try fixture(name)
        let description = try SessionRun.description(of: file)
        return description.entries.map { entry in
            let start = description.dataOffset
            let bytes = Array(file[start + entry.bytes.lowerBound..<start + entry.bytes.upperBound])
            return (entry.name, entry.type, entry.shape, bytes)
        }
    }

    /// The FP8 tensors in an order of their own, and what torch restores them to in the same order.
    private static func pair(_ type: String, reversed: Bool) throws -> (stored: [UInt8], restored: [UInt8]) {
        let order = try tensors("fp8_\(type).safetensors")
        let stored = reversed ? order.reversed() : order
        let restored = try tensors("fp8_\(type)_bf16.safetensors")
        return (
            safetensors(stored), safetensors(stored.compactMap { tensor in restored.first { $0.name == tensor.name } })
        )
    }

    /// safetensors writes the scales in front of the weights; behind them they are met by weights that wait.
    @Test(arguments: ["e4m3", "e5m2"], [false, true])
    func theArtifactIsThatOfTheRestoredCheckpoint(_ type: String, _ reversed: Bool) throws {
        let (stored, restored) = try Self.pair(type, reversed: reversed)
        for options in Self.recipes {
            let expected = try SessionRun(restored, options)
            for pieceBytes in [Int.max, 4099] {
                let run = try SessionRun(stored, options, pieceBytes: pieceBytes)
                #expect(run.output.bytes == expected.output.bytes, "\(options)")
                #expect(run.output.gaps == 0 && run.output.overwritten == 0)
                #expect(run.result.report.pooled == expected.result.report.pooled)
                #expect(run.result.report.totalWeights == expected.result.report.totalWeights)
            }
        }
    }

    @Test(arguments: ["e4m3", "e5m2"])
    func withoutScalesAWeightIsWhatItsCodesSay(_ type: String) throws {
        let (stored, restored) = try (
            Self.fixture("fp8_\(type)_plain.safetensors"), Self.fixture("fp8_\(type)_plain_bf16.safetensors")
        )
        for options in Self.recipes {
            #expect(try SessionRun(stored, options).output.bytes == SessionRun(restored, options).output.bytes)
        }
    }

    @Test func aWeightThatLostItsScalesIsRefused() throws {
        let tensors = try Self.tensors("fp8_e4m3.safetensors").filter { $0.name != "b.weight_scale_inv" }
        #expect(code(refusal(of: safetensors(tensors))) == "fp8.scale_missing")
        // What is copied needs none.
        #expect(refusal(of: safetensors(tensors), [("method", "nf4"), ("exclude", "b.*")]) == nil)
    }

    @Test func whatIsNotQuantizedIsCopiedWithItsScales() throws {
        let (stored, _) = try Self.pair("e4m3", reversed: false)
        let made = try SessionRun(stored, [("method", "nf4"), ("exclude", "b.*")]).tensors()
        let source = try SessionRun.tensors(of: stored)
        for name in ["b.weight", "b.weight_scale_inv", "lm_head.weight", "lm_head.weight_scale_inv", "norm.weight"] {
            #expect(made[name] == source[name], "\(name)")
        }
        #expect(made["a.weight_scale_inv"] == nil)
        // A glob that covers everything makes no weight of a scale.
        let all = try SessionRun(stored, [("method", "int8"), ("include", "*")]).tensors()
        #expect(all["lm_head.weight_scale_inv"] == nil && all["lm_head.SCB"] != nil && all["b.SCB"] != nil)
    }

    @Test func aLoneWeightMayHaveScalesAndAnyName() throws {
        let weight = try #require(try Self.tensors("fp8_e4m3.safetensors").first { $0.name == "a.weight" })
        let scale = try #require(try Self.tensors("fp8_e4m3.safetensors").first { $0.name == "a.weight_scale_inv" })
        let input = safetensors([
            ("kernel_scale_inv", .f32, [2, 2], scale.bytes), ("kernel", .f8E4M3, [136, 160], weight.bytes),
        ])
        let made = try SessionRun(input, [("method", "nf4")]).tensors()
        let (stored, _) = try Self.pair("e4m3", reversed: false)
        #expect(made["kernel"] == (try SessionRun(stored, [("method", "nf4")]).tensors()["a.weight"]))
        #expect(made["kernel_scale_inv"] == nil)
    }

    @Test(arguments: [("e4m3", ElementType.f8E4M3), ("e5m2", .f8E5M2)])
    func everyCodeHasTheValueThatTorchGivesIt(_ name: String, _ type: ElementType) throws {
        let tensors = try SessionRun.tensors(of: Self.fixture("fp8_codes.safetensors"))
        let expected = try #require(tensors["\(name)_bf16"])
        for (code, bits) in FP8Widening.table(of: type).enumerated() {
            let torch = UInt16(expected[2 * code]) | UInt16(expected[2 * code + 1]) << 8
            let isNaN = torch & 0x7FFF > 0x7F80
            #expect(isNaN ? bits & 0x7FFF > 0x7F80 : bits == torch, "\(code)")
        }
    }

    /// Ties to even, carries into the exponent, and results that BF16 does not hold.
    @Test func productsAreRoundedAsTorchRoundsThem() {
        var values: [UInt16] = [0x3F80, 0xBF80, 0x3F80, 0x3F80, 0x7F7F, 0x0001, 0x7FC0, 0x0000, 0x8000, 0x3F80]
        let factors: [Float] = [
            1.00390625, 1.00390625, 1.01171875, 1.00390637, 2, 0.5, 3, 7, 7, 1.9999999,
        ]
        for (index, factor) in factors.enumerated() { FP8Widening.scale(&values, index..<index + 1, by: factor) }
        #expect(values == [0x3F80, 0xBF80, 0x3F82, 0x3F81, 0x7F80, 0x0000, 0x7FC0, 0x0000, 0x8000, 0x4000])
    }

    private func refusal(of input: [UInt8], _ options: [(String, String)] = [("method", "nf4")]) -> QuantizationError? {
        do {
            _ = try SessionRun(input, options)
            return nil
        } catch {
            return error as? QuantizationError
        }
    }

    private func code(_ error: QuantizationError?) -> String? {
        if case .scales(let code, _, _) = error { return code }
        return nil
    }

    @Test(arguments: [
        ("weight_scale_inv", ElementType.f32, [1, 2], "fp8.scale_shape"),
        ("weight_scale_inv", .f32, [], "fp8.scale_shape"),
        ("weight_scale_inv", .f32, [2, 2, 1], "fp8.scale_shape"), ("weight_scale_inv", .f16, [2, 2], "fp8.scale_type"),
        ("weight_scale_inv", .f8E8M0, [2, 2], "fp8.scale_type"), ("weight_scale", .f32, [1], "fp8.scale_unknown"),
        ("weight_scale", .bf16, [136, 1], "fp8.scale_unknown"), ("scale_weight", .f32, [], "fp8.scale_unknown"),
        ("scale", .f32, [2, 2], "fp8.scale_unknown"),
    ])
    func unfitScalesAreRefusedFromTheHeader(
        _ leaf: String, _ type: ElementType, _ shape: [Int], _ expected: String
    ) throws {
        let count = shape.reduce(1, *) * type.bitWidth / 8
        let input = safetensors([
            ("m.\(leaf)", type, shape, [UInt8](repeating: 1, count: count)),
            ("m.weight", .f8E4M3, [136, 160], [UInt8](repeating: 0x38, count: 136 * 160)),
        ])
        #expect(code(refusal(of: input)) == expected)
        // Copied, a weight may have any scales.
        let other: Tensor = ("other.weight", .f32, [2, 64], bytes(of: gaussian(128, seed: 3)))
        let both = safetensors([
            ("m.\(leaf)", type, shape, [UInt8](repeating: 1, count: count)),
            ("m.weight", .f8E4M3, [136, 160], [UInt8](repeating: 0x38, count: 136 * 160)), other,
        ])
        #expect(refusal(of: both, [("method", "nf4"), ("exclude", "m.*")]) == nil)
        // Before a weight: nothing behind the header is needed for the refusal.
        let header = Array(input.prefix(input.count - 136 * 160 - count))
        let session = try QuantizingSession(
            recipe: Recipe(options: [RecipeOption("method", "nf4")]), declaration: .recognise, declaredBytes: nil,
            engine: "viva test", output: MemoryStorage(), scratch: MemoryStorage())
        #expect(throws: QuantizationError.self) { try unsafe session.consume(header.span.bytes) }
    }

    @Test(arguments: [0, -1, .nan, .infinity] as [Float], [false, true])
    func scalesThatAreNoneAreRefused(_ value: Float, _ behind: Bool) {
        let scales: Tensor = ("m.weight_scale_inv", .f32, [2, 2], bytes(of: [1, 1, value, 1]))
        let weight: Tensor = ("m.weight", .f8E4M3, [136, 160], [UInt8](repeating: 0x38, count: 136 * 160))
        let error = refusal(of: safetensors(behind ? [weight, scales] : [scales, weight]))
        #expect(code(error) == "fp8.scale_value")
        if case .scales(_, let tensor, let detail) = error {
            #expect(tensor == "m.weight_scale_inv" && detail.contains("Element 2"))
        }
    }

    @Test(
        arguments: [
            (ElementType.f8E4M3, 0x7F), (.f8E4M3, 0xFF), (.f8E5M2, 0x7C), (.f8E5M2, 0xFC), (.f8E5M2, 0x7D),
            (.f8E5M2, 0xFF),
        ] as [(ElementType, UInt8)])
    func codesWithoutAFiniteValueAreRefused(_ type: ElementType, _ code: UInt8) {
        var weight = [UInt8](repeating: 0x38, count: 136 * 160)
        weight[777] = code
        for options in Self.recipes {
            let error = refusal(of: safetensors([("weight", type, [136, 160], weight)]), options)
            #expect(error == .nonFinite(tensor: "weight", index: 777), "\(options)")
        }
    }

    @Test func aProductBeyondBF16IsRefused() {
        let scales: Tensor = ("m.weight_scale_inv", .f32, [2, 2], bytes(of: [1, 3e38, 1, 1]))
        let weight: Tensor = ("m.weight", .f8E4M3, [136, 160], [UInt8](repeating: 0x40, count: 136 * 160))
        #expect(refusal(of: safetensors([scales, weight])) == .nonFinite(tensor: "m.weight", index: 128))
    }

    @Test func rawBytesMayBeFP8() throws {
        let weight = try Self.tensors("fp8_e5m2_plain.safetensors")[0]
        let run = try SessionRun(
            weight.bytes, [("method", "int8")], declaration: .raw(type: .f8E5M2, shape: [24, 160]), pieceBytes: 1000)
        let restored = try SessionRun(Self.fixture("fp8_e5m2_plain_bf16.safetensors"), [("method", "int8")])
        #expect(try run.tensors()["SCB"] == restored.tensors()["m.SCB"])
    }

    @Test(arguments: ["best", "reference"])
    func activationsAndBiasesMayBeFP8(_ mode: String) throws {
        let codes: [UInt8] = (0..<64 * 160).map { (index: Int) -> UInt8 in
            UInt8(index % 96) + (index.isMultiple(of: 2) ? 0 : 0x80)
        }
        let table = FP8Widening.table(of: .f8E4M3)
        let wide = codes.flatMap { (code: UInt8) -> [UInt8] in
            let bits = table[Int(code)]
            return [UInt8(truncatingIfNeeded: bits), UInt8(bits >> 8)]
        }
        let weight: Tensor = ("m.weight", .f32, [8, 160], bytes(of: gaussian(8 * 160, seed: 4)))
        let options = [("method", "awq"), ("mode", mode), ("group_size", "32"), ("scaling", "keep")]
        let narrow = safetensors([
            ("m.activations", .f8E4M3, [64, 160], codes), ("m.bias", .f8E4M3, [8], Array(codes[..<8])), weight,
        ])
        let expected = safetensors([
            ("m.activations", .bf16, [64, 160], wide), ("m.bias", .bf16, [8], Array(wide[..<16])), weight,
        ])
        #expect(try SessionRun(narrow, options).output.bytes == SessionRun(expected, options).output.bytes)
    }
}
