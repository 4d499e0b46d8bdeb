import Tensors
import Testing

@testable import Quantization

/// Against bitsandbytes 0.50.2's own files, byte for byte.
@Suite struct GoldenINT8Tests {
    @Test(arguments: Golden.ids("bnb_int8_"), availableLevels)
    func matchesTheLibrary(_ id: String, _ level: KernelLevel) throws {
        let golden = try Golden(id)
        let type = try #require(ElementType(rawValue: golden.type("in.weight")))
        let shape = try golden.shape("in.weight")
        let x = try widened(golden.bytes("in.weight"), type: type, count: shape[0] * shape[1], level: level)
        var codes: [Int8] = []
        var absmax: [UInt32] = []
        var restored: [Float] = []
        for row in 0..<shape[0] {
            // In pieces of 40, so that a row's absmax is that of the row and pieces end within 16 lanes.
            let run = try INT8Run(Array(x[row * shape[1]..<(row + 1) * shape[1]]), level: level, piece: 40)
            codes += run.codes
            absmax.append(run.absmax)
            let scale = Float(bitPattern: run.absmax)
            restored += run.codes.map { Float($0) * scale * PortableINT8.reciprocalOf127 }
        }
        #expect(try codes.map { UInt8(bitPattern: $0) } == golden.bytes("out.weight"))
        #expect(try absmax == golden.floats("out.SCB").map(\.bitPattern))
        #expect(try restored == golden.floats("deq.weight"))
    }
}
