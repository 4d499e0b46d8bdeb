/// Rounding of float32 to the 16-bit types, half to even, in float32 arithmetic that is the same on every processor.
enum HalfPrecision {
    /// The value of `v` as `type` holds it.
    static func rounded(_ v: Lanes, to type: RestoredType) -> Lanes {
        switch type {
        case .f32: v
        case .f16: roundedToFloat16(v)
        case .bf16: roundedToBFloat16(v)
        }
    }

    /// Finite lanes rounded to float16; magnitudes from 65520 become infinite.
    static func roundedToFloat16(_ v: Lanes) -> Lanes {
        let sign = v.bitPattern & 0x8000_0000
        let magnitude = v.magnitude
        let bits = magnitude.bitPattern
        // Normal: keep 10 of the 23 fraction bits. A carry runs into the exponent, as it should.
        let kept = Lanes(bitPattern: (bits &+ 0xfff &+ (bits &>> 13 & 1)) & 0xffff_e000)
        let normal = kept.replacing(with: Lanes(repeating: .infinity), where: kept .> Lanes(repeating: 65504))
        // Subnormal: in [0.5, 1) a unit in the last place is 2^-24, which is float16's smallest step.
        let subnormal = magnitude + 0.5 - 0.5
        let rounded = normal.replacing(with: subnormal, where: magnitude .< Lanes(repeating: 0x1p-14))
        return Lanes(bitPattern: sign | rounded.bitPattern)
    }

    /// `v` rounded to float16; a magnitude from 65520 becomes infinite.
    static func roundedToFloat16(_ v: Float) -> Float { roundedToFloat16(Lanes(repeating: v))[0] }

    /// Finite lanes rounded to bfloat16.
    static func roundedToBFloat16(_ v: Lanes) -> Lanes {
        let bits = v.bitPattern
        return Lanes(bitPattern: (bits &+ 0x7fff &+ (bits &>> 16 & 1)) & 0xffff_0000)
    }
}
