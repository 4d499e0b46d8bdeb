import Testing

@testable import Quantization

@Suite("Float16 by bit arithmetic")
struct HalfOctetsTests {
    private func agrees(_ x: Float) -> Bool {
        let expected = Float16(x)
        let rounded = HalfOctets.rounded(RowOctet(repeating: x))[3]
        if x.isNaN { return rounded.isNaN }
        return rounded.bitPattern == Float(expected).bitPattern && HalfOctets.bits(rounded) == expected.bitPattern
    }

    @Test("every float16, every midpoint between two and the Floats beside them round as the hardware type does")
    func boundaries() {
        var wrong: [Float] = []
        for bits in UInt16(0)..<0x7C00 {
            let value = Float(Float16(bitPattern: bits))
            let next = bits == 0x7BFF ? 65536 : Float(Float16(bitPattern: bits + 1))
            let middle = (value + next) / 2
            for x in [value, value.nextUp, middle.nextDown, middle, middle.nextUp, next.nextDown] {
                if !agrees(x) { wrong.append(x) }
                if !agrees(-x) { wrong.append(-x) }
            }
        }
        #expect(wrong == [])
    }

    @Test(
        "extremes",
        arguments: [
            0, -0.0, .infinity, -.infinity, .nan, .greatestFiniteMagnitude, .leastNonzeroMagnitude, 65519.996, 65520,
            1e30, 0x1p-25, 0x1.000002p-25, 0x1p-26, 0x1p127, 0x1p31, .leastNormalMagnitude,
        ] as [Float])
    func extremes(x: Float) {
        #expect(agrees(x))
        #expect(agrees(-x))
    }

    @Test("all 65536 bit patterns decode to their value")
    func decoding() {
        var wrong: [UInt16] = []
        for bits in UInt16.min...UInt16.max {
            let (value, expected) = (HalfOctets.value(bits), Float(Float16(bitPattern: bits)))
            if expected.isNaN ? !value.isNaN : value.bitPattern != expected.bitPattern { wrong.append(bits) }
        }
        #expect(wrong == [])
    }
}
