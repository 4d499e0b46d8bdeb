import Tensors

// The kernels over spans: bounds are checked once for each call, so that everything above stays safe code.

extension Kernels {
    /// Widens all elements of `source` into the start of `values`, which must have room for them.
    func widen(_ source: RawSpan, type: ElementType, into values: inout [Float]) {
        let count = source.byteCount / (type.bitWidth / 8)
        precondition(values.count >= count, "the caller sizes the buffer by the batch that it feeds")
        unsafe source.withUnsafeBytes { source in
            unsafe values.withUnsafeMutableBufferPointer { values in
                guard let from = source.baseAddress, let to = values.baseAddress else { return }
                unsafe widen(from, type: type, count: count, into: to)
            }
        }
    }

    /// Widens all of `held` into the start of `values`.
    func widen(_ held: Span<UInt8>, type: ElementType, into values: inout [Float]) {
        widen(unsafe held.bytes, type: type, into: &values)
    }

    /// NF4 codes, absmax and error sums of `blocks` full blocks of `x`, stored as `type`.
    func nf4(
        _ x: RawSpan, type: ElementType, blocks: Int, blockSize: Int, restored: RestoredType, codeSums: Bool,
        packed: inout [UInt8],
        absmax: inout [Float], sums: inout [NF4BlockSums], histogram: inout [UInt32]
    ) {
        precondition(readsStored(type) && x.byteCount >= blocks * blockSize * type.bitWidth / 8)
        precondition(packed.count >= blocks * blockSize / 2)
        precondition(absmax.count >= blocks && sums.count >= blocks && histogram.count == ErrorHistogram.bins)
        unsafe x.withUnsafeBytes { x in
            guard let x = x.baseAddress else { return }
            unsafe nf4(
                x, type: type, blocks: blocks, blockSize: blockSize, restored: restored, codeSums: codeSums,
                packed: &packed, absmax: &absmax, sums: &sums, histogram: &histogram)
        }
    }

    /// The short last block of `count` float32 `x`.
    func nf4Tail(
        _ x: RawSpan, count: Int, restored: RestoredType, packed: inout [UInt8], absmax: inout [Float],
        sums: inout [NF4BlockSums], histogram: inout [UInt32]
    ) {
        precondition(x.byteCount >= count * 4 && packed.count >= (count + 1) / 2)
        precondition(!absmax.isEmpty && !sums.isEmpty && histogram.count == ErrorHistogram.bins)
        unsafe x.withUnsafeBytes { x in
            guard let x = x.baseAddress else { return }
            unsafe nf4Tail(
                x, count: count, restored: restored, packed: &packed, absmax: &absmax, sums: &sums,
                histogram: &histogram)
        }
    }

    /// The largest magnitude of `count` float32 `x`; not finite exactly when an element is not.
    func absmax(_ x: RawSpan, count: Int) -> Float {
        precondition(x.byteCount >= count * 4)
        return unsafe x.withUnsafeBytes { x in
            guard let x = x.baseAddress else { return 0 }
            return unsafe absmax(x, count: count)
        }
    }

    /// INT8 codes of a piece of a row into `codes` from `position` on.
    func int8(
        _ x: RawSpan, count: Int, absmax: Float, codes: inout [Int8], at position: Int, sums: inout ErrorSums,
        histogram: inout [UInt32]
    ) {
        precondition(x.byteCount >= count * 4 && codes.count >= position + count)
        precondition(histogram.count == ErrorHistogram.bins)
        unsafe x.withUnsafeBytes { x in
            unsafe codes.withUnsafeMutableBufferPointer { codes in
                guard let x = x.baseAddress, let codes = codes.baseAddress else { return }
                unsafe int8(
                    x, count: count, absmax: absmax, codes: codes + position, sums: &sums, histogram: &histogram)
            }
        }
    }

    /// The index of the first NaN or infinity among `count` float32.
    func firstNonFinite(_ x: RawSpan, count: Int) -> Int? {
        unsafe x.withUnsafeBytes { x in
            guard let x = x.baseAddress else { return nil }
            return unsafe firstNonFinite(x, count: count)
        }
    }

    /// The first of `count` float32 whose magnitude exceeds `limit`, and its index; (0, 0) when none does.
    func firstBeyond(_ x: RawSpan, count: Int, limit: Float) -> (index: Int, value: Float) {
        for index in 0..<count {
            let value = unsafe x.unsafeLoadUnaligned(fromByteOffset: index * 4, as: Float.self)
            if value.magnitude > limit { return (index, value) }
        }
        return (0, 0)
    }
}
