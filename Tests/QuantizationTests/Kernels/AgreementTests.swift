import Tensors
import Testing

@testable import Quantization

/// Every level writes the bytes, the sums and the histogram of every other level, on input made to part them.
@Suite struct AgreementTests {
    @Test func portableIsAlwaysThereAndBestIsTheHighest() {
        #expect(availableLevels.contains(.portable))
        #expect(Kernels.best.level == availableLevels.last)
    }

    @Test(arguments: Adversary.allCases, RestoredType.allCases)
    func nf4LevelsAgree(_ input: Adversary, _ restored: RestoredType) throws {
        let x = input.values
        let expected = try NF4Run(x, restored: restored, level: .portable)
        for level in availableLevels {
            for misalignment in level == .portable ? [1] : [0, 1, 4, 7] {
                let run = try NF4Run(x, restored: restored, level: level, misalignment: misalignment)
                #expect(run == expected, "\(input) \(level) at \(misalignment)")
            }
            let plain = try NF4Run(x, restored: restored, level: level, measured: false)
            #expect(plain.packed == expected.packed && plain.absmax == expected.absmax)
            #expect(plain.histogram.allSatisfy { $0 == 0 })
        }
    }

    @Test(arguments: [32, 64, 128, 256, 512, 1024, 2048, 4096], availableLevels)
    func nf4LevelsAgreeAtEveryBlockSize(_ blockSize: Int, _ level: KernelLevel) throws {
        let x = Adversary.normal.values + [0.5, -0.25, 0.125]
        let expected = try NF4Run(x, blockSize: blockSize, restored: .bf16, level: .portable)
        #expect(try NF4Run(x, blockSize: blockSize, restored: .bf16, level: level) == expected)
    }

    /// Halves read as they are stored give what the same weights give as float32.
    @Test(arguments: [ElementType.f16, .bf16], [32, 64, 4096])
    func nf4ReadsHalvesAsTheyAreStored(_ type: ElementType, _ blockSize: Int) throws {
        let halves = StoredHalves(everyPatternOf: type)
        let x = try halves.widened()
        for level in availableLevels where level != .portable {
            for restored in [RestoredType.f32, RestoredType(of: type)] {
                let wide = try NF4Run(x, blockSize: blockSize, restored: restored, level: level)
                #expect(
                    try NF4Run(x, blockSize: blockSize, restored: restored, level: level, halves: halves) == wide)
                let searched = try SearchRun(x, blockSize: blockSize, restored: restored, level: level)
                #expect(
                    try SearchRun(x, blockSize: blockSize, restored: restored, level: level, halves: halves)
                        == searched)
            }
        }
    }

    @Test(arguments: Adversary.allCases)
    func int8LevelsAgree(_ input: Adversary) throws {
        for count in [1, 5, 15, 16, 17, 31, 100, 4096] {
            // Float16 holds no more; a caller refuses it.
            let row = input.values.prefix(count).map { $0.isFinite ? min(max($0, -65504), 65504) : 1 }
            let expected = try INT8Run(row, level: .portable)
            for level in availableLevels {
                #expect(try INT8Run(row, level: level, misalignment: 3) == expected, "\(input) \(level) \(count)")
            }
        }
    }

    @Test(arguments: availableLevels)
    func everyHalfWidensExactly(_ level: KernelLevel) throws {
        let patterns = (0...UInt16.max).map { $0 }
        let bytes = patterns.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
        let swapped = patterns.flatMap { [UInt8(truncatingIfNeeded: $0 >> 8), UInt8(truncatingIfNeeded: $0)] }
        for (data, bigEndian) in [(bytes, false), (swapped, true)] {
            let halves = try widened(data, type: .f16, count: 65536, bigEndian: bigEndian, level: level)
            for (pattern, value) in zip(patterns, halves) {
                let half = Float16(bitPattern: pattern)
                guard half.isNaN ? !value.isNaN : value.bitPattern != Float(half).bitPattern else { continue }
                Issue.record("\(pattern) widens to \(value)")
            }
            let portable = try widened(data, type: .f16, count: 65536, bigEndian: bigEndian, level: .portable)
            #expect(halves.map(\.bitPattern) == portable.map(\.bitPattern))
            let brains = try widened(data, type: .bf16, count: 65536, bigEndian: bigEndian, level: level)
            #expect(brains.map(\.bitPattern) == patterns.map { UInt32($0) << 16 })
        }
        for count in [0, 1, 15, 16, 17, 33] {
            let some = try widened(bytes, type: .bf16, count: count, level: level)
            #expect(some.map(\.bitPattern) == (0..<count).map { UInt32($0) << 16 })
        }
    }

    @Test(arguments: availableLevels, [false, true])
    func wideTypesKeepOrRound(_ level: KernelLevel, _ bigEndian: Bool) throws {
        let doubles: [Double] = [0, -1.5, 1 / 3, 0x1.000001p0, 0x1.000003p0, 1e39, -1e300, 1e-45, 1e-300, .infinity]
        let data = doubles.flatMap { bytes(of: $0.bitPattern, bigEndian) }
        let rounded = try widened(data, type: .f64, count: doubles.count, bigEndian: bigEndian, level: level)
        #expect(rounded[3] == 1 && rounded[4] == 0x1.000004p0 && rounded[5] == .infinity && rounded[6] == -.infinity)
        #expect(rounded == doubles.map { Float($0) })
        let floats: [Float] = [0, -0, .leastNonzeroMagnitude, 3.25, -.greatestFiniteMagnitude]
        let same = try widened(
            floats.flatMap { bytes(of: $0.bitPattern, bigEndian) }, type: .f32, count: floats.count,
            bigEndian: bigEndian, level: level)
        #expect(same.map(\.bitPattern) == floats.map(\.bitPattern))
    }

    private func bytes<Bits: FixedWidthInteger>(of bits: Bits, _ bigEndian: Bool) -> [UInt8] {
        let little = (0..<Bits.bitWidth / 8).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) }
        return bigEndian ? little.reversed() : little
    }
}
