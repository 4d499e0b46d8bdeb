/// The second level of double quantization: block scales as 8-bit codes of the dynamic map.
///
/// Source: bitsandbytes 0.50.2, CPU `quantize_blockwise` (2026 kernels: a table of 65536 entries, not nearest search).
struct NestedQuantizer: Sendable {
    /// The number of block scales that share one nested absmax.
    static let blockSize = 256

    private let values = DynamicMap.values
    private let table = DynamicMap.codes

    /// What searched scales are best offset by: their mean, zeros and the highest and lowest quarter left out.
    ///
    /// The map is fine near the offset, and scales far below it are told apart by steps of 1.4 % of the offset only:
    /// a few rows of large weights must not decide for all others.
    static func offset(of found: [Float]) -> Float {
        let scales = found.filter { $0 > 0 && $0.isFinite }.sorted()
        let middle = scales[scales.count / 4..<scales.count - scales.count / 4]
        return middle.isEmpty ? 0 : Float(middle.reduce(0.0) { $0 + Double($1) } / Double(middle.count))
    }

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
            let difference = absmax[index] - offset
            // A nested absmax below 2^-128 has an infinite reciprocal, and zero times that would be NaN.
            let v = difference == 0 ? 0 : min(max(difference * scale, -1), 1)
            // The library fuses the product and the sum; for every float in [0, 1] the index is the same.
            return table[Int(((v + 1) * 0.5) * 65535 + 0.5)]
        }
        return (codes, nestedAbsmax)
    }

    /// The block scale that a reader restores from a code.
    func reconstruct(_ code: UInt8, nestedAbsmax: Float, offset: Float) -> Float {
        values[Int(code)] * nestedAbsmax + offset
    }
}
