import Tensors

/// Stored elements as float32, in plain Swift.
enum Widening {
    /// See `Kernels.widen`.
    static func widen(
        _ source: UnsafeRawPointer, type: ElementType, count: Int, bigEndian: Bool,
        into destination: UnsafeMutablePointer<Float>
    ) {
        for index in 0..<count {
            let value: Float
            switch type {
            case .f16: value = float(half: unsafe load(source, index, bigEndian))
            case .bf16: value = Float(bitPattern: UInt32(unsafe load(source, index, bigEndian) as UInt16) &<< 16)
            case .f32: value = Float(bitPattern: unsafe load(source, index, bigEndian))
            case .f64: value = Float(Double(bitPattern: unsafe load(source, index, bigEndian)))
            default:
                assertionFailure("\(type) is not a type of weights")
                value = 0
            }
            unsafe destination[index] = value
        }
    }

    /// float16 to float32, exact; a signalling NaN becomes quiet, as in hardware.
    static func float(half bits: UInt16) -> Float {
        let sign = UInt32(bits & 0x8000) &<< 16
        let magnitude = UInt32(bits & 0x7fff) &<< 13
        guard magnitude < 0x0f80_0000 else {
            let quiet: UInt32 = magnitude > 0x0f80_0000 ? 0x0040_0000 : 0
            return Float(bitPattern: sign | magnitude | 0x7f80_0000 | quiet)
        }
        // The exponents' biases differ by 112, and the product is exact for subnormals too.
        return Float(bitPattern: sign | (Float(bitPattern: magnitude) * 0x1p112).bitPattern)
    }

    @inline(__always)
    private static func load<Bits: FixedWidthInteger & BitwiseCopyable>(
        _ source: UnsafeRawPointer, _ index: Int, _ bigEndian: Bool
    ) -> Bits {
        let bits = unsafe source.loadUnaligned(fromByteOffset: index * MemoryLayout<Bits>.size, as: Bits.self)
        return bigEndian ? Bits(bigEndian: bits) : Bits(littleEndian: bits)
    }
}
