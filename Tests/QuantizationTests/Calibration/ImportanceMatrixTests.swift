import Foundation
import Tensors
import Testing

@testable import Quantization

/// A file that Python's gguf wrote as llama-imatrix does, against what gguf's own reader finds in it.
@Suite("Importance matrices of llama.cpp")
struct ImportanceMatrixTests {
    private struct Expected: Decodable {
        struct Tensor: Decodable {
            let dims: [Int]
            let offset: Int
            let values: [Float]
        }
        let tensors: [String: Tensor]
        let names: [String: [String: String]]
    }

    private static let folder = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Fixtures/imatrix")

    private func file() throws -> [UInt8] {
        Array(try Data(contentsOf: Self.folder.appending(path: "imatrix.gguf")))
    }

    private func expected() throws -> Expected {
        try JSONDecoder().decode(
            Expected.self, from: try Data(contentsOf: Self.folder.appending(path: "imatrix.json")))
    }

    private func index(_ bytes: [UInt8]) throws -> CalibrationIndex {
        let file = try CalibrationFile(source: MemoryArtifact(bytes), limits: SessionLimits(), memory: nil)
        return try CalibrationIndex(file.entries)
    }

    private func floats(_ tensor: CalibrationTensor?) throws -> [Float] {
        let tensor = try #require(tensor)
        #expect(tensor.type == .f32)
        var bytes = [UInt8](repeating: 0, count: 4 * tensor.shape.reduce(1, *))
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        try tensor.storage.read(into: &raw, at: tensor.offset)
        return floatValues(bytes)
    }

    private func floatValues(_ bytes: [UInt8]) -> [Float] {
        stride(from: 0, to: bytes.count, by: 4).map { at in
            Float(bitPattern: (0..<4).reduce(0) { $0 | UInt32(bytes[at + $1]) << (8 * $1) })
        }
    }

    /// Why a file is refused; nil when it is not.
    private func refusal(of bytes: [UInt8]) -> (code: String, detail: String)? {
        do throws(QuantizationError) {
            _ = try CalibrationFile(source: MemoryArtifact(bytes), limits: SessionLimits(), memory: nil)
            return nil
        } catch {
            switch error {
            case .calibration(let code, let detail): return (code, detail)
            case .container(let error): return (error.code, error.detail)
            default: return ("\(error)", "")
            }
        }
    }

    @Test("the header says what gguf's reader says")
    func header() throws {
        let expected = try expected().tensors
        let bytes = try file()
        let input = try CalibrationFile(source: MemoryArtifact(bytes), limits: SessionLimits(), memory: nil).input
        #expect(input.container == .gguf)
        #expect(input.totalBytes == bytes.count)
        #expect(input.entries.count == expected.count)
        for entry in input.entries {
            let wanted = try #require(expected[entry.name])
            #expect(entry.shape == wanted.dims.reversed())
            #expect(input.dataOffset + entry.bytes.lowerBound == wanted.offset)
        }
    }

    @Test("a Linear's mean squares are its sums over its count, under the checkpoint's name")
    func means() throws {
        let expected = try expected().tensors
        let index = try index(try file())
        let columns = [
            "self_attn.q_proj": 64, "self_attn.o_proj": 32, "mlp.up_proj": 64, "mlp.gate_up_proj": 64,
            "mlp.down_proj": 96,
        ]
        let names = [
            "self_attn.q_proj": "attn_q", "self_attn.o_proj": "attn_output", "mlp.up_proj": "ffn_up",
            "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
        ]
        for (name, width) in columns {
            for root in ["model.layers", "model.language_model.layers"] {
                let weight = "\(root).1.\(name).weight"
                let layer = try #require(try index.layer(ofWeight: weight, columns: width))
                #expect(layer.knowledge == .channels)
                let tensor = "blk.1.\(names[name] ?? "").weight"
                let sums = try #require(expected["\(tensor).in_sum2"]?.values)
                #expect(try floats(layer.squareMean) == sums.map { $0 / 1536 })
                #expect(try floats(layer.count) == [1536])
            }
        }
        #expect(try index.layer(ofWeight: "model.layers.2.self_attn.q_proj.weight", columns: 64) == nil)
        #expect(try index.layer(ofWeight: "model.norm.weight", columns: 64) == nil)
        #expect(throws: QuantizationError.self) {
            _ = try index.layer(ofWeight: "model.layers.1.self_attn.q_proj.weight", columns: 32)
        }
    }

    @Test("each expert has its own sums and count; one that saw no token has none")
    func experts() throws {
        let sums = try #require(try expected().tensors["blk.2.ffn_gate_exps.weight.in_sum2"]?.values)
        let bytes = try file()
        let index = try index(bytes)
        for (expert, count) in [(0, Float(700)), (2, 836)] {
            for name in ["block_sparse_moe.experts.\(expert).w1", "mlp.experts.\(expert).gate_proj"] {
                let layer = try #require(
                    try index.layer(ofWeight: "model.layers.2.\(name).weight", columns: 64), "\(name)")
                #expect(try floats(layer.squareMean) == sums[64 * expert..<64 * expert + 64].map { $0 / count })
                #expect(try floats(layer.count) == [count])
            }
        }
        #expect(try index.layer(ofWeight: "model.layers.2.mlp.experts.1.gate_proj.weight", columns: 64) == nil)
        let notes = try CalibrationFile(source: MemoryArtifact(bytes), limits: SessionLimits(), memory: nil).notes
        #expect(notes.count == 2)
        #expect(notes[0].contains("diagonal approximation"))
    }

    @Test("every module of the families has the name that gguf's converter gives it")
    func names() throws {
        let families = try expected().names
        #expect(families.count == 9)
        for (family, names) in families {
            for (module, name) in names {
                let matrix = module.contains("experts.7") ? 7 : nil
                let wanted = ImatrixNames.module(name, matrix: matrix)
                #expect(ImatrixNames.modules(of: module + ".").contains(wanted), "\(family): \(module)")
            }
        }
        for module in [
            "", "lm_head", "model.layers.", "model.layers.x.mlp.up_proj.", "model.layers.-1.mlp.up_proj.",
            "model.layers.1.", "model.layers.1.mlp.experts.up_proj.3.",
            "model.layers.99999999999999999999.mlp.up_proj.",
        ] {
            #expect(ImatrixNames.modules(of: module).isEmpty, "\(module)")
        }
        #expect(ImatrixNames.modules(of: "lm_head.") == ["output."])
    }

    @Test("a file that contradicts itself, and every other GGUF file, is refused")
    func refusals() throws {
        let bytes = try file()
        func code(_ change: (inout [UInt8]) -> Void) -> String? {
            var changed = bytes
            change(&changed)
            return refusal(of: changed)?.code
        }
        func replace(_ text: String, _ other: String, in bytes: inout [UInt8]) {
            guard let range = bytes.firstRange(of: Array(text.utf8)) else { return }
            bytes.replaceSubrange(range, with: Array(other.utf8))
        }
        #expect(code { _ in } == nil)
        #expect(code { replace("imatrix", "models!", in: &$0) } == "gguf.not_imatrix")
        #expect(code { replace("attn_k.weight.counts", "attn_k.weight.kounts", in: &$0) } == "calibration.shape")
        #expect(code { replace("attn_k.weight.in_sum2", "attn_k.weight.in_sum3", in: &$0) } == "calibration.shape")
        // The counts of blk.0.attn_k lie behind its sums: 256 bytes.
        let offset = try #require(try expected().tensors["blk.0.attn_k.weight.counts"]?.offset)
        for count in [Float(-1), .nan, .infinity] {
            let wrong = code { $0.replaceSubrange(offset..<offset + 4, with: float32Bytes([count])) }
            #expect(wrong == "calibration.not_positive")
        }
        #expect(code { $0.removeLast(32) } == "gguf.data_truncated")
        #expect(code { $0 = Array($0.prefix(100)) } == "gguf.header_past_end")
    }

    @Test("no damage to a file stops the program, and what is taken can be read")
    func damagedFiles() throws {
        let bytes = try file()
        let (head, numbers) = (2048, [UInt64(0), 1, 65, 1 << 32, 1 << 61, UInt64(Int.max), .max])
        var state: UInt64 = 7
        func random(_ count: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % count
        }
        for _ in 0..<10_000 {
            var damaged = bytes
            for _ in 0...random(3) {
                let (place, number) = (random(head), numbers[random(numbers.count)])
                if random(2) == 0 {
                    damaged[place] = UInt8(random(256))
                } else {
                    for i in 0..<8 { damaged[place + i] = UInt8(truncatingIfNeeded: number >> (8 * i)) }
                }
            }
            let source = MemoryArtifact(damaged)
            guard let taken = try? CalibrationFile(source: source, limits: SessionLimits(), memory: nil),
                let index = try? CalibrationIndex(taken.entries),
                let layer = try? index.layer(ofWeight: "model.layers.0.mlp.up_proj.weight", columns: 64)
            else { continue }
            if let means = layer.squareMean { #expect(try floats(means).count == 64) }
        }
    }

    @Test("the old form is recognised, and the tool that converts it named")
    func oldForm() throws {
        let old: [UInt8] = [2, 0, 0, 0, 19, 0, 0, 0] + Array("blk.0.attn_q.weight".utf8) + [0, 1, 2, 3]
        let found = try #require(refusal(of: old))
        #expect(found.code == "container.unknown")
        #expect(found.detail.contains("llama-imatrix --in-file"))
    }

    @Test("uploads are held to the header: cut short, too long, in pieces of any size, a model instead")
    func inspection() throws {
        let bytes = try file()
        func inspect(_ bytes: [UInt8], pieces: Int, declared: Int?) throws -> InputInspection.Finding {
            var inspection = try InputInspection(
                declaration: .recognise, declaredBytes: declared, limits: SessionLimits(),
                memory: MemoryBudget(bytes: 1 << 20))
            for start in stride(from: 0, to: bytes.count, by: pieces) {
                let piece = Array(bytes[start..<min(bytes.count, start + pieces)])
                try inspection.take(unsafe piece.span.bytes)
            }
            return try inspection.ended()
        }
        for pieces in [1, 3, 1000, 4096, 1 << 20] {
            for declared in [nil, bytes.count] {
                let finding = try inspect(bytes, pieces: pieces, declared: declared)
                #expect(finding == .init(container: .gguf, totalBytes: bytes.count))
            }
        }
        for count in [4, 5, 100, 2000, bytes.count - 1] {
            #expect(throws: QuantizationError.self) {
                _ = try inspect(Array(bytes.prefix(count)), pieces: 64, declared: nil)
            }
        }
        #expect(throws: QuantizationError.trailingBytes(expected: bytes.count)) {
            _ = try inspect(bytes + [0], pieces: 512, declared: nil)
        }
    }
}
