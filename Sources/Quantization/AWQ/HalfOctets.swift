/// One column of eight consecutive weight rows: AWQ packs eight output channels into a word, so they travel together.
typealias RowOctet = SIMD8<Float>

/// Float16 values held in Float, by bit arithmetic: on x86-64 without F16C each conversion is a library call.
///
/// Every `unsafe` of this file is a cast between SIMD types of one size and no invalid bit patterns.
/// Source: IEEE 754-2019 §3.4 (binary16) and §4.3.1 (ties to even).
enum HalfOctets {
    /// The largest finite float16.
    static let limit: Float = 65504

    /// The float16 nearest to each lane, ties to even; subnormals are kept, 65520 and above become infinite.
    ///
    /// Adding and subtracting 1.5 · 2^(e + 13) leaves a Float with the ten fraction bits of a float16 of exponent e.
    @inline(__always)
    static func rounded(_ x: RowOctet) -> RowOctet {
        let bits = unsafe unsafeBitCast(x, to: SIMD8<UInt32>.self)
        let exponent = unsafe unsafeBitCast(bits & 0x7F80_0000, to: RowOctet.self)
        let magic = exponent.clamped(from: 0x1p-14, to: 0x1p16) * 0x1.8p13
        let kept = (x + magic) - magic
        let finite = unsafe unsafeBitCast(kept, to: SIMD8<UInt32>.self) & 0x7FFF_FFFF
        let overflows = unsafe unsafeBitCast(finite, to: RowOctet.self) .> limit
        let magnitude = finite.replacing(with: 0x7F80_0000, where: overflows)
        return unsafe unsafeBitCast(magnitude | (bits & 0x8000_0000), to: RowOctet.self)
    }

    /// The bits of a float16; `value` must be one.
    static func bits(_ value: Float) -> UInt16 {
        let magnitude = value.bitPattern & 0x7FFF_FFFF
        let sign = UInt16(truncatingIfNeeded: value.bitPattern >> 16) & 0x8000
        if magnitude >= 0x7F80_0000 { return sign | (magnitude > 0x7F80_0000 ? 0x7E00 : 0x7C00) }
        if magnitude >= 0x3880_0000 { return sign | UInt16(truncatingIfNeeded: (magnitude - 0x3800_0000) >> 13) }
        return sign | UInt16(Float(bitPattern: magnitude) * 0x1p24)
    }

    /// The value of float16 bits.
    @inline(__always)
    static func value(_ bits: UInt16) -> Float {
        let magnitude = UInt32(bits & 0x7FFF) << 13
        let finite = (Float(bitPattern: magnitude) * 0x1p112).bitPattern
        let special = magnitude >= 0x0F80_0000 ? 0x7F80_0000 : UInt32(0)
        return Float(bitPattern: finite | special | UInt32(bits & 0x8000) << 16)
    }
}

extension SIMD8<Float> {
    /// Each lane held within the bounds; `SIMD.clamped` compares lane by lane with a library call each.
    @inline(__always)
    func clamped(from lower: Float, to upper: Float) -> Self {
        let raised = replacing(with: Self(repeating: lower), where: self .< lower)
        return raised.replacing(with: Self(repeating: upper), where: raised .> upper)
    }

    /// The lesser of each pair of lanes.
    @inline(__always)
    func lesser(_ other: Self) -> Self { replacing(with: other, where: other .< self) }

    /// The greater of each pair of lanes.
    @inline(__always)
    func greater(_ other: Self) -> Self { replacing(with: other, where: other .> self) }

    /// The absolute values.
    @inline(__always)
    var magnitudes: Self { unsafe unsafeBitCast(magnitudeBits, to: Self.self) }

    /// The bit patterns of the absolute values.
    @inline(__always)
    var magnitudeBits: SIMD8<UInt32> { unsafe unsafeBitCast(self, to: SIMD8<UInt32>.self) & 0x7FFF_FFFF }

    /// The nearest integer to each lane, ties to even.
    ///
    /// Exact up to 2^22; beyond that it may be off by a few units, which no caller sees: all clamp to 0...15 next.
    @inline(__always)
    var nearestIntegers: Self { (self + 0x1.8p23) - 0x1.8p23 }

    /// The lanes as integers; each must be one of 0...15.
    @inline(__always)
    var nibbles: SIMD8<UInt32> { unsafe unsafeBitCast(self + 0x1p23, to: SIMD8<UInt32>.self) & 15 }
}
