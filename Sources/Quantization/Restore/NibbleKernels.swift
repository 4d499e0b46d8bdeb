import CKernels

/// How 4-bit codes of a flattened weight are restored.
struct NibbleForm {
    /// The values of the 16 codes.
    let map: [Float]
    /// Codes that share a scale.
    let blockSize: Int
    /// The type that map[code] · scale is rounded to.
    let restored: RestoredType
}

// Restoring at the speed of memory: all that depends on the scale happens to the 16 values of a block, the codes only
// choose among them. Pointers are into arrays that the calls hold; bounds are checked once for each call.
extension Kernels {
    /// Restores `blocks` full blocks of packed codes, the first of two in the high nibble, to the start of `band`, in
    /// the type in which it leaves.
    ///
    /// False when one of the 16 values of some block is not finite in that type; whether a code stands for it is not
    /// asked. All levels write identical bytes.
    func restore(
        _ form: NibbleForm, _ codes: [UInt8], blocks: Int, _ scales: [Float], into band: inout RestoredBand
    ) -> Bool {
        guard let table = unsafe ck_restore_kernels(Int32(truncatingIfNeeded: level.rawValue)) else {
            var isFinite = true
            for block in 0..<blocks {
                let end = Self.restoreTail(
                    form, codes, block: block, count: form.blockSize, scale: scales[block], into: &band)
                isFinite = isFinite && end
            }
            return isFinite
        }
        precondition(form.map.count == 16 && form.blockSize % 32 == 0 && codes.count >= blocks * form.blockSize / 2)
        precondition(scales.count >= blocks && blocks * form.blockSize <= RestoredBand.capacity)
        let (restored, stored) = (
            Int32(truncatingIfNeeded: form.restored.rawValue), Int32(truncatingIfNeeded: band.stored.rawValue)
        )
        func call(_ out: UnsafeMutableRawPointer?) -> Bool {
            unsafe table.pointee.nibbles(
                codes, blocks, form.blockSize, form.map, scales, restored, stored, out) == 0
        }
        return band.stored == .f32
            ? unsafe band.singles.withUnsafeMutableBytes { unsafe call($0.baseAddress) }
            : unsafe band.halves.withUnsafeMutableBytes { unsafe call($0.baseAddress) }
    }

    /// Restores the first `count` codes of block number `block`: the plain form, and the short last block.
    static func restoreTail(
        _ form: NibbleForm, _ codes: [UInt8], block: Int, count: Int, scale: Float, into band: inout RestoredBand
    ) -> Bool {
        let start = block * form.blockSize
        let values = blockValues(form, scale)
        if band.stored == .f32 {
            choose(values, codes, from: start, count: count, into: &band.singles)
        } else {
            choose(Narrowing.bits(values, band.stored), codes, from: start, count: count, into: &band.halves)
        }
        return values.magnitude.bitPattern.max() < Narrowing.overflowBits(of: band.stored)
    }

    /// Restores `count` codes as float32, whatever the type in which they leave.
    static func restorePlain(
        _ form: NibbleForm, _ codes: [UInt8], count: Int, _ scales: [Float], into values: inout [Float]
    ) {
        for start in stride(from: 0, to: count, by: form.blockSize) {
            choose(
                blockValues(form, scales[start / form.blockSize]), codes, from: start,
                count: min(form.blockSize, count - start), into: &values)
        }
    }

    /// The values of the 16 codes in a block.
    private static func blockValues(_ form: NibbleForm, _ scale: Float) -> Lanes {
        var map = Lanes()
        for code in 0..<16 { map[code] = form.map[code] }
        return HalfPrecision.rounded(map * scale, to: form.restored)
    }

    private static func choose<Value: SIMDScalar>(
        _ values: SIMD16<Value>, _ codes: [UInt8], from start: Int, count: Int, into target: inout [Value]
    ) {
        precondition(codes.count >= (start + count + 1) / 2 && target.count >= start + count && start % 2 == 0)
        let table = (0..<16).map { values[$0] }
        unsafe table.withUnsafeBufferPointer { table in
            unsafe codes.withUnsafeBufferPointer { codes in
                unsafe target.withUnsafeMutableBufferPointer { target in
                    for pair in 0..<count / 2 {
                        let byte = unsafe codes[start / 2 + pair]
                        unsafe target[start + 2 * pair] = table[Int(byte >> 4)]
                        unsafe target[start + 2 * pair + 1] = table[Int(byte & 15)]
                    }
                    if count % 2 == 1 {
                        unsafe target[start + count - 1] = table[Int(codes[(start + count) / 2] >> 4)]
                    }
                }
            }
        }
    }
}
