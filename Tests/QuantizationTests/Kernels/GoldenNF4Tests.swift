import Tensors
import Testing

@testable import Quantization

/// Against bitsandbytes 0.50.2's own files, byte for byte.
@Suite struct GoldenNF4Tests {
    @Test func fixturesArePresent() {
        #expect(Golden.ids("bnb_nf4_").count == 27)
        #expect(Golden.ids("bnb_blockwise8_").count == 3)
        #expect(Golden.ids("torch_mean_").count == 7)
    }

    @Test(arguments: Golden.ids("bnb_nf4_"), availableLevels)
    func matchesTheLibrary(_ id: String, _ level: KernelLevel) throws {
        let golden = try Golden(id)
        let type = try #require(ElementType(rawValue: golden.type("in.weight")))
        let count = try golden.shape("in.weight").reduce(1, *)
        let blockSize = try #require(golden.parameters["blocksize"] as? Int)
        let x = try widened(golden.bytes("in.weight"), type: type, count: count, level: level)
        #expect(try x == golden.floats("in.weight"))

        let restored: RestoredType =
            switch type {
            case .f16: .f16
            case .bf16: .bf16
            default: .f32
            }
        let run = try NF4Run(x, blockSize: blockSize, restored: restored, level: level)
        #expect(try run.packed == golden.bytes("out.weight"))
        let absmax = run.absmax.map { Float(bitPattern: $0) }
        let scales: [Float]
        if golden.parameters["double_quant"] as? Bool == true {
            scales = try nested(absmax, golden)
        } else {
            #expect(try absmax == golden.floats("out.weight.absmax"))
            scales = absmax
        }
        let restoredWeights = zip(run.codes, 0..<count).map { code, index in
            let value = NF4Tables.values[Int(code)] * scales[index / blockSize]
            return HalfPrecision.rounded(Lanes(repeating: value), to: restored)[0]
        }
        #expect(try restoredWeights == golden.floats("deq.weight"))
    }

    /// Checks the second level's tensors and returns the scales that a reader restores.
    private func nested(_ absmax: [Float], _ golden: Golden) throws -> [Float] {
        var mean = TorchMean(count: absmax.count)
        mean.add(absmax.span)
        let offset = mean.finish()
        let state = try golden.bytes("out.weight.quant_state.bitsandbytes__nf4")
        #expect(String(decoding: state, as: UTF8.self).hasSuffix("\"nested_offset\": \(Double(offset))}"))
        let quantizer = NestedQuantizer()
        var codes: [UInt8] = []
        var nestedAbsmax: [Float] = []
        for start in stride(from: 0, to: absmax.count, by: NestedQuantizer.blockSize) {
            let block = Array(absmax[start..<min(start + NestedQuantizer.blockSize, absmax.count)])
            let result = quantizer.quantize(block.span, offset: offset)
            codes += result.codes
            nestedAbsmax.append(result.nestedAbsmax)
        }
        #expect(try codes == golden.bytes("out.weight.absmax"))
        #expect(try nestedAbsmax == golden.floats("out.weight.nested_absmax"))
        return codes.enumerated().map {
            quantizer.reconstruct($1, nestedAbsmax: nestedAbsmax[$0 / 256], offset: offset)
        }
    }

    @Test func tablesAreTheLibrarys() throws {
        let golden = try Golden("bnb_tables")
        let nf4 = try golden.floats("out.nf4")
        #expect((0..<16).map { NF4Tables.values[$0].bitPattern } == nf4.map(\.bitPattern))
        #expect(try DynamicMap.values.map(\.bitPattern) == golden.floats("out.dynamic8").map(\.bitPattern))
        let midpoints = zip(nf4, nf4.dropFirst()).map { ($0 + $1) / 2 }
        #expect((0..<15).map { NF4Tables.decisionPoints[$0] } == midpoints)
    }

    @Test(arguments: Golden.ids("bnb_blockwise8_"))
    func blockwise8MatchesTheLibrary(_ id: String) throws {
        let golden = try Golden(id)
        let x = try golden.floats("in.x")
        let quantizer = NestedQuantizer()
        var codes: [UInt8] = []
        var nestedAbsmax: [Float] = []
        for start in stride(from: 0, to: x.count, by: 256) {
            let result = quantizer.quantize(Array(x[start..<min(start + 256, x.count)]).span, offset: 0)
            codes += result.codes
            nestedAbsmax.append(result.nestedAbsmax)
        }
        #expect(try codes == golden.bytes("out.q"))
        #expect(try nestedAbsmax == golden.floats("out.absmax"))
        let restored = codes.enumerated().map {
            quantizer.reconstruct($1, nestedAbsmax: nestedAbsmax[$0 / 256], offset: 0)
        }
        #expect(try restored == golden.floats("deq.x"))
    }

    @Test func nestedBlockOfEqualScalesAndOfOverflow() {
        let quantizer = NestedQuantizer()
        let equal = quantizer.quantize([2, 2, 2].span, offset: 2)
        #expect(equal.codes == [0, 0, 0] && equal.nestedAbsmax == 0)
        // A nested absmax whose reciprocal overflows: zero gets the code that it has in any other block.
        let smallest = quantizer.quantize([0, .leastNonzeroMagnitude].span, offset: 0)
        #expect(
            smallest.codes == quantizer.quantize([0, 1].span, offset: 0).codes
                && smallest.nestedAbsmax == .leastNonzeroMagnitude)
        let overflowed = quantizer.quantize([1, .greatestFiniteMagnitude].span, offset: .infinity)
        #expect(overflowed.codes == [0, 0] && overflowed.nestedAbsmax == .infinity)
    }

    @Test(arguments: Golden.ids("torch_mean_"), [1, 7, 32, 1000, 1_000_000])
    func meanMatchesTorchHoweverItArrives(_ id: String, _ step: Int) throws {
        let golden = try Golden(id)
        let x = try golden.floats("in.x")
        var mean = TorchMean(count: x.count)
        for start in stride(from: 0, to: x.count, by: step) {
            mean.add(Array(x[start..<min(start + step, x.count)]).span)
        }
        #expect(try [mean.finish().bitPattern] == golden.floats("out.mean").map(\.bitPattern))
    }
}
