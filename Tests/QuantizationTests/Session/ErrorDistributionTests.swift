import Foundation
import Tensors
import Testing

@testable import Quantization

/// The histogram of errors against errors of weights that the test restores itself.
@Suite struct ErrorDistributionTests {
    static let recipes: [[(String, String)]] =
        GroupedSessionTests.recipes + [
            [("method", "int8")], [("method", "nf4")], [("method", "nf4"), ("double_quant", "false")],
            [("method", "nf4"), ("mode", "reference")], [("method", "awq"), ("calibration", "none")],
        ]

    @Test(arguments: Weights.allCases, [false, true])
    func countsTheErrorsOfRestoredNF4(_ weights: Weights, _ nested: Bool) throws {
        let x = weights.values(16384 + 100 * 37)
        let run = try SessionRun(
            safetensors([("weight", .f32, [x.count / 4, 4], bytes(of: x))]),
            [("method", "nf4"), ("double_quant", "\(nested)")])
        let restored = try RestoredWeight(run).values
        try expect(run, errors: zip(x, restored).map { abs($0 - $1) })
    }

    @Test func countsTheErrorsOfRestoredINT8() throws {
        let (rows, columns) = (9, 4096 + 77)
        let x = gaussian(rows * columns, seed: 31, scale: 0.02)
        let run = try SessionRun(
            safetensors([("weight", .f32, [rows, columns], bytes(of: x))]), [("method", "int8")])
        let parts = try run.tensors()
        let codes = try #require(parts["weight"])
        let scales = try #require(parts["SCB"])
        // `int8_vectorwise_dequant` of bitsandbytes: code · absmax · (1 / 127) in float32.
        let errors = x.indices.map { index in
            let start = index / columns * 4
            let bits = (0..<4).reduce(UInt32(0)) { $0 | UInt32(scales[start + $1]) << (8 * $1) }
            let code = Float(Int8(bitPattern: codes[index]))
            return abs(x[index] - code * Float(bitPattern: bits) * 7.874015718698502e-3)
        }
        try expect(run, errors: errors)
    }

    /// Two weights of very different sizes and a copied tensor between them, with every method.
    @Test(arguments: recipes)
    func everyQuantizedWeightIsCounted(_ options: [(String, String)]) throws {
        let shape = [64, 256]
        let sizes = [1.0, 1e-4]
        let weights = sizes.enumerated().map { gaussian(64 * 256, seed: UInt64($0), scale: $1) }
        let input = safetensors([
            ("a.weight", .f32, shape, bytes(of: weights[0])), ("a.bias", .f32, [64], [UInt8](repeating: 1, count: 256)),
            ("b.weight", .f32, shape, bytes(of: weights[1])),
        ])
        let run = try SessionRun(input, options)
        let report = run.result.report
        #expect(report.quantizedWeights == 2 * 64 * 256)
        #expect(total(report.errors) == report.quantizedWeights)
        #expect(report.tensors.count == 3 && report.tensors[1].quality == nil)
        for tensor in report.tensors {
            guard let quality = tensor.quality else { continue }
            #expect(total(quality.errors) == 64 * 256)
            #expect(quality.errors.counts.count <= ErrorDistribution.maximumTensorBins)
        }
        for pieceBytes in [1000, 65_537] {
            let cut = try SessionRun(input, options, pieceBytes: pieceBytes)
            #expect(cut.result.report.errors == report.errors)
        }
    }

    @Test func theFirstBinOfATensorTakesWhatIsSmaller() throws {
        var counts = [UInt64](repeating: 0, count: ErrorHistogram.bins)
        func power(_ exponent: Int) -> Float { Float(sign: .plus, exponent: exponent, significand: 1) }
        for exponent in -140 ... -1 { counts[ErrorHistogram.bin(of: power(exponent))] += 1 }
        let octaves = ErrorDistribution(counts, merging: 16, atMost: 12)
        // Ten powers of two lie below 2^-130, where zeros are counted.
        #expect(octaves.unchanged == 10)
        #expect(octaves.edges == [0x1p-130] + (-11...0).map(power))
        #expect(octaves.counts == [119] + [Int](repeating: 1, count: 11))
        let quarters = ErrorDistribution(counts, merging: 4, atMost: ErrorHistogram.bins)
        #expect(quarters.edges.suffix(2) == [0.5, 0.625])
        #expect(total(quarters) == 140)
    }

    @Test func theLastEdgeIsANumber() {
        var counts = [UInt64](repeating: 0, count: ErrorHistogram.bins)
        counts[ErrorHistogram.bin(of: .greatestFiniteMagnitude)] = 2
        counts[ErrorHistogram.bin(of: .infinity)] = 1
        let errors = ErrorDistribution(counts, merging: 16, atMost: 12)
        #expect(errors.edges == [0x1p127, .greatestFiniteMagnitude])
        #expect(errors.counts == [3])
    }

    @Test func nothingLostIsNoBin() {
        var counts = [UInt64](repeating: 0, count: ErrorHistogram.bins)
        counts[0] = 7
        let errors = ErrorDistribution(counts, merging: 4, atMost: 12)
        #expect(errors.unchanged == 7 && errors.edges.isEmpty && errors.counts.isEmpty)
    }

    /// Sorts `errors` into the bins that the report states, by comparing alone.
    private func expect(_ run: SessionRun, errors: [Float]) throws {
        let quality = try #require(run.result.report.tensors.first?.quality)
        for stated in [quality.errors, run.result.report.errors] {
            #expect(total(stated) == errors.count)
            #expect(stated.unchanged == errors.count { $0 < 0x1p-130 })
            guard let first = stated.edges.first, let last = stated.edges.last else {
                #expect(errors.allSatisfy { $0 < 0x1p-130 })
                continue
            }
            #expect(stated.edges == stated.edges.sorted() && stated.edges.count == stated.counts.count + 1)
            #expect(errors.allSatisfy { $0 < 0x1p-130 || (first...last).contains($0) })
            #expect(stated.recounted(errors) == stated.counts)
        }
    }

    private func total(_ errors: ErrorDistribution) -> Int { errors.unchanged + errors.counts.reduce(0, +) }
}

extension ErrorDistribution {
    /// How many of `errors` each bin should hold, by comparing alone; what lies beyond all bins is in none.
    func recounted(_ errors: [Float]) -> [Int] {
        var counts = counts.map { _ in 0 }
        for error in errors {
            guard let bin = edges.lastIndex(where: { $0 <= error }), bin < counts.count else { continue }
            counts[bin] += 1
        }
        return counts
    }
}
