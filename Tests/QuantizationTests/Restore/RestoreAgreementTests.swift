import Tensors
import Testing

@testable import Quantization

/// The kernels against plain Swift, and plain Swift against the standard library.
@Suite struct RestoreAgreementTests {
    /// Scales on which a wrong rounding, a flushed subnormal or an infinity shows.
    private static func scales(_ count: Int) -> [Float] {
        var random = SplitMix(state: 7)
        return (0..<count).map { index in
            switch index % 8 {
            case 0: random.normal() * 0.02
            case 1: Float(bitPattern: random.next32() & 0x807f_ffff)
            case 2: Float(bitPattern: random.next32() % 0x7f80_0000)
            case 3: 65504 + random.uniform() * 40
            case 4: -.greatestFiniteMagnitude * random.uniform()
            case 5: 0
            case 6: 0x1p-24 * random.uniform()
            default: 0x1.fep127 + 0x1p119 * random.uniform()
            }
        }
    }

    @Test(arguments: RestoredType.allCases, RestoredType.allCases)
    func allLevelsWriteTheSameBytes(_ restored: RestoredType, _ stored: RestoredType) throws {
        var random = SplitMix(state: 3)
        for (blockSize, blocks) in [(32, 61), (64, 64), (128, 9), (4096, 2)] {
            let codes = (0..<blocks * blockSize / 2).map { _ in UInt8(truncatingIfNeeded: random.next32()) }
            let scales = Self.scales(blocks)
            let map = (0..<16).map { NF4Tables.values[$0] }
            let form = NibbleForm(map: map, blockSize: blockSize, restored: restored)
            let portable = try #require(Kernels(level: .portable))
            var expected = RestoredBand(stored: stored)
            _ = portable.restore(form, codes, blocks: blocks, scales, into: &expected)
            for level in availableLevels {
                let kernels = try #require(Kernels(level: level))
                var band = RestoredBand(stored: stored)
                _ = kernels.restore(form, codes, blocks: blocks, scales, into: &band)
                let isSame = band.singles.map(\.bitPattern) == expected.singles.map(\.bitPattern)
                #expect(isSame && band.halves == expected.halves, "\(level) \(blockSize)")
                // Whether something overflows is judged alike, block by block.
                for scale in scales.prefix(64) {
                    let verdicts = [portable, kernels].map { kernels in
                        kernels.restore(form, codes, blocks: 1, [scale], into: &band)
                    }
                    #expect(verdicts[0] == verdicts[1], "\(level) \(scale)")
                }
            }
        }
    }

    /// Every float16 and bfloat16, the points halfway between two of them, and their neighbours.
    @Test func narrowingRoundsHalfToEven() {
        var values: [Float] = []
        for bits in stride(from: UInt32(0), to: 0x8000, by: 1) {
            for step: Float in [0, 0.5] {
                let half = Float16(bitPattern: UInt16(bits))
                guard half.isFinite else { continue }
                let value = Float(half) + step * Float(half.ulp)
                values += [value.nextDown, value, -value.nextUp]
            }
        }
        var halves = [UInt16](repeating: 0, count: values.count)
        let inside = values.filter { $0.magnitude < 65520 }
        Narrowing.narrow(inside, count: inside.count, to: .f16, into: &halves)
        let isNearest = zip(halves, inside).allSatisfy { $0 == Float16($1).bitPattern }
        #expect(isNearest)
        #expect(
            Narrowing.firstOverflow(values, count: values.count, in: .f16)
                == values.firstIndex { $0.magnitude >= 65520 })
        let normal = values.filter { $0 == 0 || $0.magnitude >= .leastNormalMagnitude }
        Narrowing.narrow(normal, count: normal.count, to: .bf16, into: &halves)
        let isRounded = zip(halves, normal).allSatisfy { bits, value in
            // Adding and subtracting a power of two leaves eight bits of a Double, rounded half to even.
            let unit = Double(value.magnitude.binade) * 0x1p45
            let rounded = Float(Double(value.magnitude) + unit - unit).bitPattern >> 16
            return UInt32(bits) == (value == 0 ? 0 : rounded) | (value.bitPattern >> 31) << 15
        }
        #expect(isRounded)
    }

    @Test func limitsOfTheTypesAreWhereRoundingBecomesInfinite() {
        for type in RestoredType.allCases {
            let bits = Narrowing.overflowBits(of: type)
            #expect(HalfPrecision.rounded(Float(bitPattern: bits - 1), to: type).isFinite)
            #expect(!HalfPrecision.rounded(Float(bitPattern: bits), to: type).isFinite)
        }
    }

    @Test func everyE4M3IsItsDefinition() {
        #expect(E4M3.values[0x7e] == 448)
        #expect(E4M3.values[0x01] == 0x1p-9)
        #expect(E4M3.values[0x08] == 0x1p-6)
        #expect(E4M3.values[0x38] == 1)
        #expect(E4M3.values[0xb9] == -1.125)
        #expect(E4M3.values[0x80].sign == .minus)
        #expect(E4M3.values.count(where: \.isNaN) == 2)
    }
}
