// The kernels of grouped scales over spans: bounds are checked once for each call.

extension Kernels {
    /// Codes `groups` groups of `elements` float32 each, with the scales from `firstScale` on, and measures the error.
    ///
    /// At most 4096 elements in a group keep its sums precise; a larger one goes in pieces. `codes` receives
    /// `groupBytes` for each group from `position` on, `sums` one value for each; affine groups are multiples of 16
    /// elements.
    func groups(
        _ x: RawSpan, groups: Int, elements: Int, code: GroupedCode, scales: [GroupScale], firstScale: Int,
        restored: RestoredType, codes: inout [UInt8], at position: Int, groupBytes: Int, sums: inout [ErrorSums],
        histogram: inout [UInt32]
    ) {
        precondition(x.byteCount >= groups * elements * 4 && codes.count >= position + groups * groupBytes)
        precondition(scales.count >= firstScale + groups && histogram.count == ErrorHistogram.bins)
        precondition(sums.count >= groups, "the caller sizes the buffer by the groups of one call")
        precondition(groupBytes * 8 >= elements * code.bits, "a group's codes fit its bytes")
        unsafe x.withUnsafeBytes { x in
            unsafe codes.withUnsafeMutableBufferPointer { codes in
                unsafe scales.withUnsafeBufferPointer { scales in
                    guard let x = x.baseAddress, let codes = codes.baseAddress, let scales = scales.baseAddress else {
                        return
                    }
                    unsafe PortableGroups.quantize(
                        x, groups: groups, elements: elements, code: code, scales: scales + firstScale,
                        restored: restored, codes: codes + position, groupBytes: groupBytes, sums: &sums,
                        histogram: &histogram)
                }
            }
        }
    }

    /// The least and the greatest of `count` finite float32, `count` a positive multiple of 16.
    func range(_ x: RawSpan, count: Int) -> (least: Float, greatest: Float) {
        precondition(count >= 16 && count % 16 == 0 && x.byteCount >= count * 4)
        return unsafe x.withUnsafeBytes { x in
            guard let x = x.baseAddress else { return (0, 0) }
            return unsafe PortableGroups.range(x, count: count)
        }
    }
}
