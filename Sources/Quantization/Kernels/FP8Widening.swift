import Tensors

/// Elements of 8 bits as BF16 bit patterns.
///
/// Every `unsafe` of this file walks a pointer over a span whose length was checked at the start of the call.
/// Source: OCP 8-bit Floating Point Specification 1.0, table 1. BF16 holds all values of both types exactly.
enum FP8Widening {
    /// The BF16 bit pattern of each code of a type; E4M3 has no infinity, and both have NaN.
    static func table(of type: ElementType) -> [UInt16] {
        let (fractionBits, bias) = type == .f8E5M2 ? (2, 15) : (3, 7)
        return (0..<256).map { code in
            let exponent = (code & 0x7F) >> fractionBits
            let fraction = code & (1 << fractionBits - 1)
            let magnitude: Float
            switch (type, exponent, fraction) {
            case (.f8E5M2, 31, 0): magnitude = .infinity
            case (.f8E5M2, 31, _), (.f8E4M3, 15, 7): magnitude = .nan
            case (_, 0, _):
                magnitude = Float(sign: .plus, exponent: 1 - bias - fractionBits, significand: Float(fraction))
            default:
                let significand = Float(1 << fractionBits | fraction)
                magnitude = Float(sign: .plus, exponent: exponent - bias - fractionBits, significand: significand)
            }
            return UInt16(magnitude.bitPattern >> 16) | UInt16(code & 0x80) << 8
        }
    }

    /// Looks all codes of `source` up; `values` has room for as many.
    static func widen(_ source: RawSpan, by table: [UInt16], into values: inout [UInt16]) {
        let count = source.byteCount
        precondition(table.count == 256 && values.count >= count)
        unsafe source.withUnsafeBytes { source in
            unsafe table.withUnsafeBufferPointer { table in
                unsafe values.withUnsafeMutableBufferPointer { values in
                    for index in 0..<count { unsafe values[index] = table[Int(source[index])] }
                }
            }
        }
    }

    /// Multiplies a run of BF16 values as float32 and rounds each product to BF16, to nearest, ties to even.
    ///
    /// Source: `weight_dequant` of DeepSeek-V3's `fp8_cast_bf16.py`, which multiplies and stores in these types.
    static func scale(_ values: inout [UInt16], _ run: Range<Int>, by factor: Float) {
        var span = values.mutableSpan
        var rest = span._mutatingExtracting(run)
        unsafe rest.withUnsafeMutableBufferPointer { values in
            for index in values.indices {
                let product = Float(bitPattern: UInt32(unsafe values[index]) << 16) * factor
                let bits = product.bitPattern
                // NaN stays NaN: the table's has the quiet bit alone, which no carry reaches.
                let rounded = bits &+ 0x7FFF &+ (bits >> 16 & 1)
                unsafe values[index] = UInt16(truncatingIfNeeded: rounded >> 16)
            }
        }
    }
}
