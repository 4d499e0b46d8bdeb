/// INT8 quantization by rows in plain Swift: the formula, the tests' oracle and the level of processors without AVX2.
///
/// Source: bitsandbytes 0.50.2, `Int8Params`; LLM.int8(), Dettmers et al. 2022.
enum PortableINT8 {
    /// 1/127 as float32, by which dequantization multiplies.
    static let reciprocalOf127: Float = 7.874015718698502e-3

    /// The largest magnitude; see `Kernels.absmax`.
    static func absmax(_ x: UnsafeRawPointer, count: Int) -> Float {
        // As integers, magnitudes of floats keep their order, with infinity and then NaN above all numbers.
        var largest = SIMD16<UInt32>.zero
        for row in 0..<count / 16 { largest = unsafe largest.larger(Lanes(x, row: row).magnitude.bitPattern) }
        let rest = unsafe Lanes(x, row: count / 16, count: count % 16)
        return Float(bitPattern: largest.larger(rest.magnitude.bitPattern).max())
    }

    /// A piece of a row; see `Kernels.int8`.
    static func quantize(
        _ x: UnsafeRawPointer, count: Int, absmax: Float, codes: UnsafeMutablePointer<Int8>,
        sums: UnsafeMutablePointer<ErrorSums>, histogram: UnsafeMutablePointer<UInt32>?
    ) {
        // The library's `127 / absmax` is a reciprocal, then a product.
        let scale = absmax == 0 ? 0 : (1 / absmax) * 127
        // A number below 2^22 in magnitude loses its fraction here, half to even, and leaves an integer in the low
        // bits.
        let magic: Float = 0x1.8p23
        var measure = ErrorLanes()
        for row in 0..<(count + 15) / 16 {
            let taken = min(count - row * 16, 16)
            let v = unsafe taken == 16 ? Lanes(x, row: row) : Lanes(x, row: row, count: taken)
            let shifted = HalfPrecision.roundedToFloat16(v) * scale + magic
            let q = shifted - magic
            unsafe measure.add(v, q * absmax * reciprocalOf127, count: taken, histogram: histogram)
            let code = SIMD16<Int8>(truncatingIfNeeded: shifted.bitPattern)
            for lane in 0..<taken { unsafe codes[row * 16 + lane] = code[lane] }
        }
        unsafe sums.pointee = measure.sums
    }
}
