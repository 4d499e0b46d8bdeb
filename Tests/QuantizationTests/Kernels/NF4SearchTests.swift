import Tensors
import Testing

@testable import Quantization

/// The search for scales: the same bits at every level, and scales that are least squares.
@Suite struct NF4SearchTests {
    @Test(arguments: Adversary.allCases, RestoredType.allCases)
    func levelsAgree(_ input: Adversary, _ restored: RestoredType) throws {
        for blockSize in restored == .f32 ? [32, 64, 256] : [64] {
            let expected = try SearchRun(input.values, blockSize: blockSize, restored: restored, level: .portable)
            for level in availableLevels where level != .portable {
                for misalignment in [0, 1, 6] {
                    let run = try SearchRun(
                        input.values, blockSize: blockSize, restored: restored, level: level,
                        misalignment: misalignment)
                    #expect(run == expected, "\(input) \(blockSize) \(level) at \(misalignment)")
                }
            }
        }
    }

    @Test(arguments: [512, 1024, 2048, 4096])
    func levelsAgreeOnLongBlocks(_ blockSize: Int) throws {
        let x = Adversary.normal.values + [0.5, -0.25, 0.125]
        let expected = try SearchRun(x, blockSize: blockSize, restored: .f16, level: .portable)
        for level in availableLevels where level != .portable {
            #expect(try SearchRun(x, blockSize: blockSize, restored: .f16, level: level) == expected, "\(level)")
        }
    }

    /// The decision points ± 2 ulp, and far beyond the end codes, where a table of cells would wrap.
    @Test(arguments: availableLevels)
    func codesAreThoseOfTheNearestValueWhateverTheScale(_ level: KernelLevel) throws {
        var x: [Float] = []
        for point in 0..<15 {
            let near = NF4Tables.decisionPoints[point]
            x += [-2, -1, 0, 1, 2].map { Float(bitPattern: near.bitPattern &+ UInt32(bitPattern: $0)) }
        }
        x += [1, 1.0000001, 1.03, 1.04, 1.5, 2, 3.2, 40, 1e9, 1e38].flatMap { [$0, -$0] }
        x += [Float](repeating: 0, count: 33)
        #expect(x.count == 128)
        for scale: Float in [1, 0.25, 0x1p-140] {
            let scaled = x.map { $0 * scale }.map { $0.isFinite ? $0 : 1 }
            let run = try SearchRun(scaled, scale: scale, level: level)
            let reciprocal = min(1 / scale, .greatestFiniteMagnitude)
            for (value, code) in zip(scaled, run.codes) {
                let below = (0..<15).count { NF4Tables.decisionPoints[$0] < value * reciprocal }
                #expect(Int(code) == below)
            }
        }
    }

    @Test(arguments: availableLevels)
    func theScaleIsTheLeastSquaresOneOfSomeCandidate(_ level: KernelLevel) throws {
        let x = Array(Adversary.normal.values.prefix(64 * 40))
        let run = try SearchRun(x, level: level)
        for (block, choice) in run.choices.enumerated() {
            let weights = x[block * 64..<block * 64 + 64].map { Double($0) }
            let a = weights.map { abs($0) }.max() ?? 0
            // In Double, by distance: for each divisor the nearest values and their least-squares scale.
            let divisors: [Double] = [1, 1.0546875, 1.125, 0.9375]
            let rivals = divisors.map { refit(weights, $0 / a) }
            let best = rivals.min { $0.error < $1.error }
            #expect(abs(Double(choice.scale) - (best?.scale ?? 0)) <= 1e-5 * a)
            #expect(choice.absmax == Float(a))
        }
    }

    /// In Double, by distance: the nearest values of `weights` times `factor`, their least-squares scale, its error.
    private func refit(_ weights: [Double], _ factor: Double) -> (error: Double, scale: Double) {
        var (products, squares, signal) = (0.0, 0.0, 0.0)
        for weight in weights {
            var nearest = Double(NF4Tables.values[0])
            for code in 1..<16 {
                let value = Double(NF4Tables.values[code])
                if abs(value - weight * factor) < abs(nearest - weight * factor) { nearest = value }
            }
            products += weight * nearest
            squares += nearest * nearest
            signal += weight * weight
        }
        return (signal - products * products / squares, products / squares)
    }

    @Test func theLevelsDivideByTheSameCandidates() {
        // avx2.c and avx512.c share the table of body.h; agreement above holds it to this one.
        #expect(PortableNF4.stretches == [1, 1.0546875, 1.125, 0.9375])
        #expect(MemoryLayout<NF4Choice>.stride == 24 && MemoryLayout<NF4BlockSums>.stride == 32)
    }
}

/// What the search and the assignment wrote for a whole tensor.
struct SearchRun: Equatable {
    var choices: [NF4Choice]
    var bits: [[UInt32]]
    var packed: [UInt8]
    var sums: [[UInt32]]
    var histogram: [UInt32]

    /// Searches `x` and assigns codes by the scales found, or by `scale` for every block.
    init(
        _ x: [Float], blockSize: Int = 64, restored: RestoredType = .f32, scale: Float? = nil, level: KernelLevel,
        misalignment: Int = 0, halves: StoredHalves? = nil
    ) throws {
        guard let kernels = Kernels(level: level) else { throw MissingLevel(level: level) }
        let type = halves?.type ?? .f32
        let input = [UInt8](repeating: 0, count: misalignment) + (halves?.bytes ?? bytes(of: x))
        let span = unsafe input.span.bytes.extracting(droppingFirst: misalignment)
        let blocks = (x.count + blockSize - 1) / blockSize
        choices = [NF4Choice](repeating: NF4Choice(), count: blocks)
        packed = [UInt8](repeating: 0xa5, count: (x.count + 1) / 2)
        histogram = [UInt32](repeating: 0, count: ErrorHistogram.bins)
        var blockSums = [NF4BlockSums](repeating: NF4BlockSums(), count: blocks)
        kernels.nf4Search(
            span, type: type, count: x.count, blockSize: blockSize, restored: restored, choices: &choices)
        let scales = choices.map { scale ?? $0.scale }
        for block in 0..<blocks where scales[block].isFinite {
            kernels.nf4Assign(
                span, type: type, count: x.count, range: block..<block + 1, blockSize: blockSize, restored: restored,
                scales: scales, packed: &packed, sums: &blockSums, histogram: &histogram)
        }
        sums = blockSums.map(\.bits)
        bits = choices.map { choice in
            [
                choice.absmax, choice.scale, choice.squaredError, choice.errorTimesCode, choice.codeSquared,
                choice.chosenCodeSquared,
            ].map(\.bitPattern)
        }
    }

    static func == (one: SearchRun, other: SearchRun) -> Bool {
        one.bits == other.bits && one.packed == other.packed && one.sums == other.sums
            && one.histogram == other.histogram
    }

    var codes: [UInt8] { packed.flatMap { [$0 >> 4, $0 & 15] } }
}
