import Tensors
import Testing

@testable import Quantization

/// GPT-2 keeps its weights as [in, out]: bitsandbytes quantizes them transposed.
@Suite struct TransposedWeightTests {
    private let values = gaussian(64 * 192, seed: 7)
    private let name = "transformer.h.0.attn.c_attn.weight"

    private var transposed: [Float] {
        (0..<192).flatMap { row in (0..<64).map { values[$0 * 192 + row] } }
    }

    @Test(arguments: [
        [("method", "nf4")], [("method", "nf4"), ("mode", "reference")],
        [("method", "nf4"), ("double_quant", "false")],
        [("method", "int8")],
    ])
    func theyAreTurnedFirst(_ options: [(String, String)]) throws {
        let bias = bytes(of: gaussian(192, seed: 8))
        let stored = safetensors([
            ("transformer.h.0.attn.c_attn.bias", .f32, [192], bias), (name, .f32, [64, 192], bytes(of: values)),
            ("transformer.wte.weight", .f32, [64, 192], bytes(of: values)),
        ])
        let turned = safetensors([
            ("transformer.h.0.attn.c_attn.bias", .f32, [192], bias), (name, .f32, [192, 64], bytes(of: transposed)),
            ("transformer.wte.weight", .f32, [64, 192], bytes(of: values)),
        ])
        for pieceBytes in [Int.max, 1000] {
            let run = try SessionRun(stored, options + [("model_type", "gpt2")], pieceBytes: pieceBytes)
            #expect(try run.tensors() == SessionRun(turned, options).tensors())
        }
    }

    /// The other formats have no place for them, whatever `include` says; without the type nobody knows.
    @Test func theOtherFormatsLeaveThem() throws {
        let input = safetensors([
            (name, .f32, [64, 192], bytes(of: values)), ("score.weight", .f32, [192, 64], bytes(of: transposed)),
        ])
        let options = [("method", "int4"), ("group_size", "32"), ("model_type", "gpt2"), ("include", "*")]
        let run = try SessionRun(input, options)
        #expect(try run.tensors()[name] == bytes(of: values))
        #expect(run.result.skippedModules == ["transformer.h.0.attn.c_attn"])
        #expect(run.result.report.warnings.contains { $0.contains("only bitsandbytes reads quantized") })
    }
}
