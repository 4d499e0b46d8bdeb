import Foundation
import Tensors
import Testing

@testable import Quantization

/// Every format against what its own library restored from its own file.
@Suite struct GoldenRestoreTests {
    static let cases = ["bnb_nf4", "bnb_fp4_f32_d", "bnb_int8", "ct_", "mlx_", "awq_"].flatMap { GoldenCase.all($0) }

    @Test func everyFormatIsThere() {
        #expect(Self.cases.count(where: { $0.id.hasPrefix("bnb_nf4") }) == 27)
        #expect(Self.cases.count(where: { $0.id.hasPrefix("bnb_int8") }) == 6)
        #expect(Self.cases.count(where: { $0.id.hasPrefix("ct_") }) == 19)
        #expect(Self.cases.count(where: { $0.id.hasPrefix("mlx_") }) == 7)
        #expect(Self.cases.count(where: { $0.id.hasPrefix("awq_") }) == 9)
    }

    /// The library's own parts as an artifact, and the weights that it restored from them, by name.
    struct Library {
        let artifact: [UInt8]
        let bits: Int?
        var restored: [String: (entry: TensorEntry, bytes: [UInt8])] = [:]

        init(_ golden: GoldenCase) throws {
            let file = try golden.bytes()
            let contents = try SessionRun.tensors(of: file)
            var parts: [(name: String, type: ElementType, shape: [Int], bytes: [UInt8])] = []
            for entry in try SessionRun.description(of: file).entries {
                let bytes = contents[entry.name] ?? []
                if let name = entry.name.behind("deq.") { restored[name] = (entry, bytes) }
                guard let name = entry.name.behind("out.") else { continue }
                if golden.kind.hasPrefix("awq"),
                    !["qweight", "qzeros", "scales", "bias"].contains(where: name.hasSuffix)
                {
                    continue
                }
                // The golden files hold MLX's U32 words as I32 under a name of their own.
                let isWords = name == "weight_as_i32"
                parts.append((isWords ? "weight" : name, isWords ? .u32 : entry.type, entry.shape, bytes))
            }
            artifact = safetensors(parts)
            bits = golden.kind == "mlx" ? try Golden(golden.id).parameters["bits"] as? Int : nil
        }
    }

    @Test(arguments: cases, [1 << 20, 997])
    func theLibrarysValuesByteForByte(_ golden: GoldenCase, _ pieceBytes: Int) throws {
        let library = try Library(golden)
        let made = try RestoreRun(library.artifact, .original, bits: library.bits, pieceBytes: pieceBytes).tensors()
        #expect(!library.restored.isEmpty)
        for (name, expected) in library.restored {
            let got = try #require(made[name], "\(name)")
            #expect(got.entry.type == expected.entry.type)
            #expect(got.entry.shape == expected.entry.shape)
            #expect(got.bytes == expected.bytes, "\(name)")
        }
    }

    /// The small ones: of each format some.
    static let kinds = cases.filter { ((try? $0.bytes().count) ?? 0) < 40_000 }

    @Test(arguments: kinds) func theSameValuesInEveryTypeAtEveryLevel(_ golden: GoldenCase) throws {
        let library = try Library(golden)
        // Only 4-bit tables have kernels.
        for level in golden.kind == "bnb4" ? availableLevels : [.portable] {
            for elements in [RestoredElements.float32, .float16, .bfloat16] {
                let made = try RestoreRun(library.artifact, elements, bits: library.bits, level: level).tensors()
                for (name, expected) in library.restored {
                    let got = try #require(made[name])
                    let type = elements.type(returned: .f32)
                    #expect(got.entry.type == type.elementType)
                    let values = floats(expected).map { value in
                        switch type {
                        case .f32: value
                        case .f16: Float(Float16(value))
                        case .bf16: HalfPrecision.rounded(value, to: .bf16)
                        }
                    }
                    #expect(floats(got).map(\.bitPattern) == values.map(\.bitPattern), "\(name) \(elements) \(level)")
                }
            }
        }
    }

    @Test func otherTensorsPassThrough() throws {
        let golden = try #require(GoldenCase.all("bnb_int8_f32").first)
        let library = try Library(golden)
        let contents = try SessionRun.tensors(of: library.artifact)
        var parts = try SessionRun.description(of: library.artifact).entries.map {
            (name: "a." + $0.name, type: $0.type, shape: $0.shape, bytes: contents[$0.name] ?? [])
        }
        let norm = bytes(of: gaussian(50, seed: 3))
        parts.insert(("norm", .bf16, [100], norm), at: 1)
        parts.append(("position_ids", .i64, [1, 2], [UInt8](0..<16)))
        parts.append(("mask", .bool, [], [1]))
        parts.append(("nothing", .f32, [0, 3], []))
        // Names and types like those of parts, alone.
        parts.append(("cache", .f8E4M3, [2, 2], [1, 2, 3, 4]))
        parts.append(("qkv_packed", .bf16, [1, 2], [1, 2, 3, 4]))
        parts.append(("attention_biases", .f32, [1], [1, 2, 3, 4]))
        let run = try RestoreRun(safetensors(parts), .bfloat16)
        let made = try run.tensors()
        #expect(
            Set(made.keys) == [
                "a.weight", "norm", "position_ids", "mask", "nothing", "cache", "qkv_packed", "attention_biases",
            ])
        #expect(made["cache"]?.bytes == [1, 2, 3, 4])
        #expect(made["norm"]?.bytes == norm)
        #expect(made["norm"]?.entry.type == .bf16)
        #expect(made["position_ids"]?.bytes == [UInt8](0..<16))
        #expect(made["mask"]?.bytes == [1])
        let description = try SessionRun.description(of: run.bytes)
        #expect(description.dataOffset % 64 == 0)
        for entry in description.entries { #expect(entry.bytes.lowerBound % (entry.type.bitWidth / 8) == 0) }
    }
}

extension String {
    /// The text behind a prefix; nil if it is not there.
    func behind(_ prefix: String) -> String? { hasPrefix(prefix) ? String(dropFirst(prefix.count)) : nil }
}
