import Tensors
import Testing

@testable import Quantization

/// Which data belongs to which Linear, and what headers alone show to be wrong.
@Suite("Calibration data by module")
struct CalibrationIndexTests {
    private let storage = MemoryArtifact([])

    private func tensor(_ name: String, _ shape: [Int], _ type: ElementType = .f32) -> CalibrationTensor {
        CalibrationTensor(name: name, type: type, shape: shape, offset: 0, storage: storage)
    }

    private func code(_ body: () throws -> Void) -> String? {
        do {
            try body()
            return nil
        } catch QuantizationError.calibration(let code, _) {
            return code
        } catch QuantizationError.limit(let name, _, _, _) {
            return name
        } catch {
            return "\(error)"
        }
    }

    @Test("the most that the data says is what counts")
    func knowledge() throws {
        let cases: [([(String, [Int])], Knowledge)] = [
            ([("m.abs_mean", [8])], .channels), ([("m.square_mean", [8]), ("m.count", [])], .channels),
            ([("m.count", [1])], .none), ([("m.gram", [2, 4, 4]), ("m.abs_mean", [8])], .blocks(4)),
            ([("m.gram", [8, 1, 1])], .blocks(1)), ([("m.gram", [1, 8, 8])], .gram), ([("m.gram", [8, 8])], .gram),
            ([("m.gram", [8, 8]), ("m.activations", [3, 8])], .activations),
        ]
        for (tensors, knowledge) in cases {
            let index = try CalibrationIndex(tensors.map { tensor($0.0, $0.1) })
            #expect(try index.layer(ofWeight: "m.weight", columns: 8)?.knowledge == knowledge)
        }
        #expect(Knowledge.none < .channels)
        #expect(Knowledge.channels < .blocks(4))
        #expect(Knowledge.blocks(4) < .blocks(128))
        #expect(Knowledge.blocks(128) < .gram)
        #expect(Knowledge.gram < .activations)
    }

    @Test("a header that cannot fit its Linear is refused by a code that says why")
    func refusals() throws {
        let cases: [(String, String, [Int], ElementType)] = [
            ("calibration.width", "activations", [3, 9], .f32), ("calibration.shape", "activations", [3, 2, 4], .f32),
            ("calibration.shape", "activations", [8], .f32), ("calibration.empty", "activations", [0, 8], .f32),
            ("calibration_tokens", "activations", [1_048_577, 8], .f32),
            ("calibration.type", "activations", [3, 8], .i8), ("calibration.type", "activations", [3, 8], .f8E4M3),
            ("calibration.width", "gram", [9, 9], .f32), ("calibration.gram_shape", "gram", [8, 9], .f32),
            ("calibration.gram_shape", "gram", [8], .f32), ("calibration.gram_shape", "gram", [2, 4, 2], .f32),
            ("calibration.gram_shape", "gram", [1, 1, 8, 8], .f32), ("calibration.width", "gram", [3, 4, 4], .f32),
            ("calibration.width", "gram", [.max, 4, 4], .f32), ("calibration.width", "gram", [0, 8, 8], .f32),
            ("calibration.type", "gram", [8, 8], .i32), ("calibration.width", "abs_mean", [7], .f32),
            ("calibration.shape", "abs_mean", [1, 8], .f32), ("calibration.width", "square_mean", [0], .f32),
            ("calibration.shape", "square_mean", [], .f32), ("calibration.shape", "count", [2], .f32),
            ("calibration.type", "count", [1], .bf16),
        ]
        for (wanted, leaf, shape, type) in cases {
            let index = try CalibrationIndex([tensor("m." + leaf, shape, type)])
            let found = code { _ = try index.layer(ofWeight: "m.weight", columns: 8) }
            #expect(found == wanted, "\(leaf) \(type) \(shape)")
            // What is wrong for one Linear is no matter to another.
            #expect(try index.layer(ofWeight: "n.weight", columns: 8) == nil)
        }
        for type in [ElementType.f64, .f32, .f16, .bf16] {
            #expect(
                try CalibrationIndex([tensor("m.gram", [8, 8], type)]).layer(ofWeight: "m.weight", columns: 8) != nil)
        }
        for type in [ElementType.f64, .f32, .i64, .i32] {
            #expect(try CalibrationIndex([tensor("m.count", [], type)]).layer(ofWeight: "m.weight", columns: 8) != nil)
        }
    }

    @Test("bare names mean the only weight, and stand beside no others")
    func bareNames() throws {
        let bare = try CalibrationIndex([tensor("activations", [3, 8])])
        #expect(try bare.layer(ofWeight: "weight", columns: 8) != nil)
        #expect(try bare.layer(ofWeight: "fc.weight", columns: 8) == nil)
        #expect(try bare.layer(ofWeight: "fc.weight", columns: 8, isLone: true)?.module == "")
        #expect(try bare.layer(ofWeight: "anything", columns: 8, isLone: true) != nil)
        let both = [tensor("gram", [8, 8]), tensor("m.gram", [8, 8])]
        #expect(code { _ = try CalibrationIndex(both) } == "calibration.doubled")
        let twice = [tensor("m.gram", [8, 8]), tensor("m.gram", [8, 8])]
        #expect(code { _ = try CalibrationIndex(twice) } == "calibration.doubled")
        let none = try CalibrationIndex([tensor("m.weight", [8, 8]), tensor("mgram", [8, 8])])
        #expect(try none.layer(ofWeight: "m.weight", columns: 8) == nil)
    }

    @Test("a module without data takes that of the one with the same input")
    func aliases() throws {
        let index = try CalibrationIndex(
            [tensor("a.q.gram", [8, 8]), tensor("a.v.abs_mean", [8])],
            sharing: [["a.k.", "a.q.", "a.v."], ["b.", "c."]])
        #expect(try index.layer(ofWeight: "a.k.weight", columns: 8)?.module == "a.q.")
        #expect(try index.layer(ofWeight: "a.v.weight", columns: 8)?.knowledge == .channels)
        #expect(try index.layer(ofWeight: "a.o.weight", columns: 8) == nil)
        #expect(try index.layer(ofWeight: "b.weight", columns: 8) == nil)
        let named = try CalibrationIndex(
            [tensor("blk.0.attn_q.square_mean", [8])],
            sharing: [["model.layers.0.self_attn.k_proj.", "model.layers.0.self_attn.q_proj."]])
        let lent = try named.layer(ofWeight: "model.layers.0.self_attn.k_proj.weight", columns: 8)
        #expect(lent?.module == "blk.0.attn_q.")
    }

    @Test("a file without calibration data, and one that is too large, are refused")
    func files() throws {
        let weights = safetensors([("m.weight", .f32, [2], bytes(of: [1, 2]))])
        let some = safetensors([
            ("m.weight", .f32, [2], bytes(of: [1, 2])), ("m.square_mean", .f32, [2], bytes(of: [3, 4])),
        ])
        func open(_ bytes: [UInt8], limits: SessionLimits = SessionLimits()) throws -> CalibrationFile {
            try CalibrationFile(source: MemoryArtifact(bytes), limits: limits, memory: nil)
        }
        #expect(code { _ = try open(weights) } == "calibration.missing")
        #expect(try open(some).entries.map(\.name) == ["m.square_mean"])
        #expect(try open(some).notes.isEmpty)
        var limits = SessionLimits()
        #expect(limits.maximumCalibrationBytes == 1 << 40)
        #expect(limits.maximumCalibrationTokens == 1 << 20)
        limits.maximumCalibrationBytes = some.count
        _ = try open(some, limits: limits)
        limits.maximumCalibrationBytes -= 1
        #expect(code { _ = try open(some, limits: limits) } == "calibration_bytes")
    }
}
