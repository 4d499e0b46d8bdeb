import Testing

@testable import Quantization

/// What the kernels say of their error, against sums in Double, and what they make of bad input.
@Suite struct MeasureTests {
    @Test(arguments: availableLevels, RestoredType.allCases)
    func nf4SumsMatchDouble(_ level: KernelLevel, _ restored: RestoredType) throws {
        for blockSize in [64, 4096] {
            let x = Adversary.normal.values + [0.01, -0.02, 0.005]
            let run = try NF4Run(x, blockSize: blockSize, restored: restored, level: level)
            let codes = run.codes
            var histogram = [UInt32](repeating: 0, count: ErrorHistogram.bins)
            for block in run.sums.indices {
                let range = block * blockSize..<min((block + 1) * blockSize, x.count)
                let scale = Float(bitPattern: run.absmax[block])
                var oracle = [Double](repeating: 0, count: 8)
                for index in range {
                    let c = NF4Tables.values[Int(codes[index])]
                    let back = rounded(c * scale, restored)
                    let error = x[index] - back
                    histogram[Int(abs(error).bitPattern >> 19)] += 1
                    let (w, e, r) = (Double(x[index]), Double(error), Double(back))
                    let terms = [w * w, e * e, e * Double(c), Double(c * c), abs(e), abs(Double(c)), 0, r * r]
                    for term in terms.indices { oracle[term] += terms[term] }
                    oracle[6] = max(oracle[6], abs(e))
                }
                let sums = run.sums[block].map { Double(Float(bitPattern: $0)) }
                for term in [0, 1, 3, 4, 5, 7] { #expect(abs(sums[term] - oracle[term]) <= 1e-5 * oracle[term]) }
                // Σe·c has terms of both signs; its scale is that of √(Σe²·Σc²).
                #expect(abs(sums[2] - oracle[2]) <= 1e-5 * (oracle[1] * oracle[3]).squareRoot())
                #expect(sums[6] == oracle[6])
            }
            #expect(run.histogram == histogram)
        }
    }

    @Test(arguments: availableLevels)
    func int8SumsMatchDouble(_ level: KernelLevel) throws {
        let x = Array(Adversary.normal.values.prefix(4096))
        let run = try INT8Run(x, level: level)
        let scale = Double(Float(bitPattern: run.absmax)) / 127
        var oracle = [Double](repeating: 0, count: 5)
        for (weight, code) in zip(x, run.codes) {
            let (w, r) = (Double(weight), Double(code) * scale)
            for (term, value) in [w * w, (w - r) * (w - r), r * r, abs(w - r)].enumerated() { oracle[term] += value }
            oracle[4] = max(oracle[4], abs(w - r))
        }
        let sums = run.sums[0].map { Double(Float(bitPattern: $0)) }
        for term in 0..<5 { #expect(abs(sums[term] - oracle[term]) <= 1e-5 * oracle[term]) }
        #expect(run.histogram.reduce(0, +) == 4096)
    }

    @Test(arguments: availableLevels)
    func anotherScaleIsMeasuredFromTheSums(_ level: KernelLevel) throws {
        let x = Array(Adversary.normal.values.prefix(64))
        let run = try NF4Run(x, level: level)
        let a = Double(Float(bitPattern: run.absmax[0]))
        let sums = run.sums[0].map { Double(Float(bitPattern: $0)) }
        for shift in [-0.01 * a, 0.003 * a] {
            let oracle = zip(x, run.codes).reduce(0.0) {
                let error = Double($1.0) - Double(NF4Tables.values[Int($1.1)]) * (a + shift)
                return $0 + error * error
            }
            let derived = sums[1] - 2 * shift * sums[2] + shift * shift * sums[3]
            #expect(abs(derived - oracle) <= 1e-5 * oracle)
        }
    }

    @Test(arguments: availableLevels, [Float.nan, -.nan, .infinity, -.infinity])
    func nonFiniteReachesAbsmax(_ level: KernelLevel, _ bad: Float) throws {
        let kernels = try #require(Kernels(level: level))
        for place in [0, 17, 63, 64, 70] {
            var x = [Float](repeating: 1, count: 128 + 7)
            x[place] = bad
            x[130] = bad
            let run = try NF4Run(x, level: level)
            let finite = run.absmax.map { Float(bitPattern: $0).isFinite }
            #expect(finite == [place >= 64, place < 64, false])
            #expect(run.histogram.reduce(0, +) == 64)
            #expect(!absmax(of: x, count: place + 1, kernels).isFinite)
            #expect(absmax(of: x, count: place, kernels) == (place > 0 ? 1 : 0))
            #expect(firstNonFinite(of: x, count: 135, kernels) == place)
            #expect(firstNonFinite(of: x, count: place, kernels) == nil)
        }
    }

    @Test(arguments: availableLevels)
    func zerosAreSevens(_ level: KernelLevel) throws {
        let run = try NF4Run([Float](repeating: 0, count: 64 + 5), level: level)
        #expect(run.packed == [UInt8](repeating: 0x77, count: 35))
        #expect(run.absmax.map { Float(bitPattern: $0) } == [0, 1e-38])
        #expect(run.sums.allSatisfy { $0.allSatisfy { $0 == 0 } })
        #expect(run.histogram[0] == 69)
        let row = try INT8Run([Float](repeating: 0, count: 20), level: level)
        #expect(row.codes == [Int8](repeating: 0, count: 20) && row.absmax == 0)
    }

    @Test func halvesRoundAsTheStandardLibraryRounds() {
        var random = SplitMix(state: 7)
        var cases = (0..<16_000).map { _ in Float(bitPattern: random.next32()) }.filter(\.isFinite)
        // Steps of 7 meet every exponent; the ends of the subnormals and of the range are added.
        let patterns = Array(stride(from: UInt16(0), to: 0x7bff, by: 7)) + [1, 2, 0x3ff, 0x400, 0x401, 0x7bfe, 0x7bff]
        for pattern in patterns {
            let half = Float(Float16(bitPattern: pattern))
            let middle = half + (pattern == 0x7bff ? 16 : (Float(Float16(bitPattern: pattern + 1)) - half) / 2)
            cases += [half, middle, middle.nextUp, middle.nextDown, -middle]
        }
        for start in stride(from: 0, to: cases.count - 15, by: 16) {
            let rounded = HalfPrecision.roundedToFloat16(Lanes(cases[start..<start + 16]))
            for lane in 0..<16 {
                let v = cases[start + lane]
                guard rounded[lane].bitPattern != Float(Float16(v)).bitPattern else { continue }
                Issue.record("\(v) rounds to \(rounded[lane])")
            }
        }
        #expect(HalfPrecision.roundedToFloat16(65519) == 65504)
        #expect(HalfPrecision.roundedToFloat16(-65520) == -.infinity)
    }

    @Test func histogramHasSixteenBinsAnOctave() {
        #expect(ErrorHistogram.bin(of: 0) == 0 && ErrorHistogram.bin(of: -0.0) == 0)
        #expect(ErrorHistogram.bin(of: -1) - ErrorHistogram.bin(of: 0.5) == 16)
        #expect(ErrorHistogram.lowerBound(of: ErrorHistogram.bin(of: 1.06)) == 1)
        #expect(ErrorHistogram.bin(of: .infinity) < ErrorHistogram.bins)
        for bin in stride(from: 0, to: 4080, by: 7) {
            #expect(ErrorHistogram.bin(of: ErrorHistogram.lowerBound(of: bin)) == bin)
        }
    }

    private func rounded(_ value: Float, _ type: RestoredType) -> Float {
        switch type {
        case .f32: return value
        case .f16: return Float(Float16(value))
        case .bf16:
            // The nearer neighbour; the even one at a tie.
            let low = Float(bitPattern: value.bitPattern & 0xffff_0000)
            let high = Float(bitPattern: (value.bitPattern & 0xffff_0000) &+ 0x1_0000)
            let (below, above) = (abs(value - low), abs(high - value))
            if below == above { return low.bitPattern & 0x1_0000 == 0 ? low : high }
            return below < above ? low : high
        }
    }
}
