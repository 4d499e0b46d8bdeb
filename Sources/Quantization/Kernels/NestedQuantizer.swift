/// The second level of double quantization: block scales as 8-bit codes of the dynamic map.
///
/// Source: bitsandbytes 0.50.2, CPU `quantize_blockwise` (2026 kernels: a table of 65536 entries, not nearest search).
struct NestedQuantizer: Sendable {
    /// The number of block scales that share one nested absmax.
    static let blockSize = 256

    private let values = DynamicMap.values
    private let table = DynamicMap.codes

    /// Quantizes `absmax - offset` of up to 256 block scales; returns their codes and the nested absmax.
    ///
    /// If all differences are zero, the codes are 0. Where the nested absmax is not finite (scales near the largest
    /// float can overflow the mean), the codes are 0 too, and the caller refuses the tensor.
    func quantize(_ absmax: Span<Float>, offset: Float) -> (codes: [UInt8], nestedAbsmax: Float) {
        var largest: UInt32 = 0
        for index in absmax.indices { largest = max(largest, (absmax[index] - offset).magnitude.bitPattern) }
        let nestedAbsmax = Float(bitPattern: largest)
        guard nestedAbsmax.isFinite, nestedAbsmax > 0 else {
            return ([UInt8](repeating: 0, count: absmax.count), nestedAbsmax)
        }
        let scale = 1 / nestedAbsmax
        let codes = absmax.indices.map { index in
            // Below 2^-128 the reciprocal is infinite, and times a difference of zero it would be no number.
            let difference = absmax[index] - offset
            let v = difference == 0 ? 0 : min(max(difference * scale, -1), 1)
            return table[Int(((v + 1) * 0.5) * 65535 + 0.5)]
        }
        return (codes, nestedAbsmax)
    }

    /// The block scale that a reader restores from a code.
    func reconstruct(_ code: UInt8, nestedAbsmax: Float, offset: Float) -> Float {
        values[Int(code)] * nestedAbsmax + offset
    }
}
