import Tensors
import Testing

@testable import Quantization

/// The arithmetic of scales that go into a norm, a bias or a matrix, against exact numbers.
@Suite struct FoldedTensorTests {
    /// Writes a matrix of floats of `type` with scales and returns what a reader restores.
    private func written(
        _ values: [Float], rows: Int, from type: ElementType, _ folded: FoldedTensor
    ) throws -> [Float] {
        let columns = values.count / rows
        let storage = MemoryStorage()
        try storage.write(unsafe Self.bytes(values, type).span.bytes, at: 64)
        let isVector = columns == 1
        let tensor = StagedTensor(
            type: type, rows: isVector ? 1 : rows, columns: isVector ? rows : columns, offset: 64)
        let output = MemoryStorage()
        let workplace = Workplace(output: output, scratch: storage, kernels: .best)
        var source = StagedRows(tensor, storage: storage, name: folded.name)
        try folded.write(&source, isVector: isVector, at: 8, workplace)
        let stored = StagedTensor(type: folded.type, rows: rows, columns: columns, offset: 8)
        var reader = StagedRows(stored, storage: output, name: "stored")
        var found = [Float](repeating: 0, count: values.count)
        try reader.read(rows: 0..<rows, into: &found)
        return found
    }

    private static func bytes(_ values: [Float], _ type: ElementType) -> [UInt8] {
        switch type {
        case .f32: values.flatMap { Array($0.bitPattern.littleEndianBytes) }
        case .f64: values.flatMap { Array(Double($0).bitPattern.littleEndianBytes) }
        case .f16: values.flatMap { Array(Float16($0).bitPattern.littleEndianBytes) }
        default: values.flatMap { Array(UInt16($0.bitPattern >> 16).littleEndianBytes) }
        }
    }

    @Test(arguments: [ElementType.f32, .f64, .f16, .bf16])
    func aNormIsDivided(_ type: ElementType) throws {
        let folded = FoldedTensor(name: "norm", type: type, rowDivisors: [2, 0.5, 4])
        #expect(try written([1, -3, 0], rows: 3, from: type, folded) == [0.5, -6, 0])
    }

    /// 1 + w is what counts: (1 + 0.5) / 2 − 1.
    @Test func aNormOfGemmaIsDividedWithItsOne() throws {
        let folded = FoldedTensor(name: "norm", type: .bf16, rowDivisors: [2, 0.5, 4], addsOne: true)
        #expect(try written([0.5, -0.5, 3], rows: 3, from: .bf16, folded) == [-0.25, 0, 0])
    }

    @Test func lastRowsAreDividedAndColumnsMultiplied() throws {
        let folded = FoldedTensor(name: "m", type: .f32, columnScales: [2, 8], rowDivisors: [4, 0.5])
        #expect(try written([1, 1, 3, 1, 5, 1], rows: 3, from: .f32, folded) == [2, 8, 1.5, 2, 20, 16])
    }

    @Test func valuesAreRoundedHalfToEven() throws {
        let folded = FoldedTensor(name: "b", type: .f16, rowDivisors: [1, 1, 3])
        // 2049 lies between 2048 and 2050, 2051 between 2050 and 2052; a third has the pattern 3555 in float16.
        let found = try written([2049, 2051, 1], rows: 3, from: .f32, folded)
        #expect(found == [2048, 2052, Float(Float16(bitPattern: 0x3555))])
    }

    @Test func whatTheTypeCannotHoldIsRefused() throws {
        let folded = FoldedTensor(name: "b", type: .f16, rowDivisors: [1, 0.25])
        #expect(throws: QuantizationError.outOfRange(tensor: "b", index: 1, value: 80000, limit: 65504)) {
            try written([1, 20000], rows: 2, from: .f16, folded)
        }
        #expect(throws: QuantizationError.nonFinite(tensor: "b", index: 1)) {
            try written([1, .nan], rows: 2, from: .f16, folded)
        }
    }

    /// Many rows go through in pieces.
    @Test func piecesDoNotShow() throws {
        let rows = 70_000
        let values = (0..<rows * 2).map { Float($0 % 97) }
        let divisors = (0..<rows - 5).map { Float(1 << ($0 % 3)) }
        let folded = FoldedTensor(name: "m", type: .f32, columnScales: [1, 2], rowDivisors: divisors)
        let found = try written(values, rows: rows, from: .f32, folded)
        for row in [0, 4, 5, 6, 32_767, 32_768, 32_769, 69_999] {
            let divisor = row < 5 ? 1 : divisors[row - 5]
            #expect(found[row * 2] == values[row * 2] / divisor)
            #expect(found[row * 2 + 1] == values[row * 2 + 1] * 2 / divisor)
        }
    }

    /// What the Linears are multiplied by undoes exactly what the stored norm was divided by.
    @Test(arguments: [ElementType.bf16, .f16, .f32], [false, true])
    func scalesAreThoseOfTheStoredNorm(_ type: ElementType, _ addsOne: Bool) throws {
        var random = SystemRandomNumberGenerator()
        let weight = (0..<256).map { _ in
            let value = Float.random(in: -2...2, using: &random)
            return type == .bf16 ? Float(bitPattern: value.bitPattern & 0xFFFF_0000) : Float(Float16(value))
        }
        let wanted = weight.map { _ in Float.random(in: 0.05...20, using: &random) }
        let scales = FoldedNorm.scales(wanted, weight: weight, type: type, addsOne: addsOne)
        let folded = FoldedTensor(name: "norm", type: type, rowDivisors: scales, addsOne: addsOne)
        let stored = try written(weight, rows: weight.count, from: type, folded)
        let one: Float = addsOne ? 1 : 0
        for index in weight.indices {
            let before = Double(weight[index] + one)
            let after = Double(stored[index] + one) * Double(scales[index])
            #expect((before - after).magnitude <= 3e-7 * max(before.magnitude, addsOne ? 1 : 0))
            if !addsOne { #expect((scales[index] / wanted[index] - 1).magnitude < 0.005) }
        }
    }

    /// A channel that would vanish, overflow or has no weight at all keeps a usable scale.
    @Test func scalesStayUsable() {
        let scales = FoldedNorm.scales([1e30, 1e-30, 3, 2], weight: [1e-3, 60000, 0, 1], type: .f16, addsOne: false)
        #expect(scales == [1, 1, 3, 2])
    }
}

extension FixedWidthInteger {
    var littleEndianBytes: [UInt8] {
        (0..<bitWidth / 8).map { UInt8(truncatingIfNeeded: self >> ($0 * 8)) }
    }
}
