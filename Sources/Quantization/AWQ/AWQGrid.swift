/// The 4-bit grid of one group of columns, for eight rows at once: weight ≈ (q - zero) · scale with q in 0...15.
///
/// The range does not include zero unless the weights do: a group of one sign is cut off at 15 scales from zero, as the
/// reference does it. Source: `AwqQuantizer.pseudo_quantize_tensor` of AutoAWQ 0.2.9 (4 bits, `zero_point`).
struct AWQGrid {
    let scale: RowOctet
    let zero: RowOctet

    /// The grid in float32, the arithmetic of the searches.
    @inline(__always)
    init(minimum: RowOctet, maximum: RowOctet) {
        scale = (maximum - minimum).greater(RowOctet(repeating: 1e-5)) / 15
        zero = (-(minimum / scale).nearestIntegers).clamped(from: 0, to: 15)
    }

    /// The grid in float16, each operation rounded; the bounds must be float16 values.
    @inline(__always)
    init(halfMinimum minimum: RowOctet, maximum: RowOctet) {
        let least = HalfOctets.rounded(RowOctet(repeating: 1e-5))
        let range = HalfOctets.rounded(maximum - minimum).greater(least)
        scale = HalfOctets.rounded(range / 15)
        zero = (-HalfOctets.rounded(minimum / scale).nearestIntegers).clamped(from: 0, to: 15)
    }

    /// What float32 weights become: quantized and restored in float32.
    @inline(__always)
    func restored(_ weight: RowOctet) -> RowOctet {
        (((weight / scale).nearestIntegers + zero).clamped(from: 0, to: 15) - zero) * scale
    }

    /// The codes, 0...15, of float16 weights on a float16 grid.
    ///
    /// The reference restores the weight and quantizes it again when it packs. That gives the same code: restoring,
    /// adding zero · scale and dividing err by at most 4 · 15 · 2^-11 of a step, far from the half step that rounds up.
    @inline(__always)
    func halfCodes(_ weight: RowOctet) -> RowOctet {
        (HalfOctets.rounded(weight / scale).nearestIntegers + zero).clamped(from: 0, to: 15)
    }

    /// What a reader makes of codes: (q - zero) · scale in float16.
    @inline(__always)
    func halfRestored(_ codes: RowOctet) -> RowOctet { HalfOctets.rounded((codes - zero) * scale) }

    /// The largest range, max - min, of a group whose restored weights are finite: 15 · scale must round to a float16.
    static let rangeLimit: Float = 65472
}

/// The word order of AutoAWQ's GEMM layout (`order_map`): from the lowest nibble channels 0, 2, 4, 6, 1, 3, 5, 7.
enum AWQWord {
    /// One word of the codes (0...15) of eight consecutive output channels.
    @inline(__always)
    static func pack(_ codes: RowOctet) -> UInt32 { pack(nibbles: codes.nibbles) }

    /// One word of codes that are integers already.
    @inline(__always)
    static func pack(nibbles n: SIMD8<UInt32>) -> UInt32 {
        n[0] | n[1] << 16 | n[2] << 4 | n[3] << 20 | n[4] << 8 | n[5] << 24 | n[6] << 12 | n[7] << 28
    }

    /// The lowest bit of an output channel (0...7) within its word.
    static func shift(ofChannel channel: Int) -> UInt32 { UInt32(channel % 2 * 16 + channel / 2 * 4) }
}
