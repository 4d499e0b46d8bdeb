import CKernels
import Tensors

// NF4 with scales that are searched. The format stays that of bitsandbytes, which restores c·scale whatever the scale
// is; weights beyond ±scale take the end codes.

extension Kernels {
    /// Searches the scale of each block of `count` weights, the short last one included.
    ///
    /// The weights are stored as a type that `readsStored`; a short last block takes float32.
    ///
    /// - Parameters:
    ///   - restored: the type that the error with absmax as the scale is measured in.
    ///   - choices: receives one value a block; in each an absmax that is not finite tells of NaN or infinity.
    func nf4Search(
        _ x: RawSpan, type elements: ElementType, count: Int, blockSize: Int, restored: RestoredType,
        choices: inout [NF4Choice]
    ) {
        let (blocks, rest) = (count / blockSize, count % blockSize)
        precondition(readsStored(elements) && (rest == 0 || elements == .f32))
        precondition(x.byteCount >= count * elements.bitWidth / 8 && choices.count >= blocks + (rest > 0 ? 1 : 0))
        unsafe x.withUnsafeBytes { x in
            unsafe choices.withUnsafeMutableBufferPointer { choices in
                guard let x = x.baseAddress, let choices = choices.baseAddress else { return }
                if let table = unsafe Self.table(of: level) {
                    // A choice is 6 floats in the order of the fields of `NF4Choice`.
                    let lanes = unsafe UnsafeMutableRawPointer(choices).assumingMemoryBound(to: Float.self)
                    let type = Int32(truncatingIfNeeded: restored.rawValue)
                    unsafe table.pointee.nf4_search(x, elements.kernelType, blocks, blockSize, type, lanes)
                } else {
                    for block in 0..<blocks {
                        unsafe choices[block] = PortableNF4.search(
                            x + block * blockSize * 4, count: blockSize, restored: restored)
                    }
                }
                guard rest > 0 else { return }
                unsafe choices[blocks] = PortableNF4.search(
                    x + blocks * blockSize * 4, count: rest, restored: restored)
            }
        }
    }

    /// Quantizes the blocks in `range` of `count` weights, stored as for `nf4Search`, with the given scales, and
    /// measures the error; the sums of the codes are 0.
    ///
    /// v = x · (1 / scale) gets the code of the nearest value; a scale is finite and not negative,
    /// and a reciprocal beyond float32 is the largest float32. What
    /// belongs to a block lies in each array where it lies for the whole input.
    func nf4Assign(
        _ x: RawSpan, type: ElementType, count: Int, range: Range<Int>, blockSize: Int, restored: RestoredType,
        scales: [Float], packed: inout [UInt8], sums: inout [NF4BlockSums], histogram: inout [UInt32]
    ) {
        let (full, width) = (count / blockSize, type.bitWidth / 8)
        precondition(readsStored(type) && (count % blockSize == 0 || type == .f32))
        precondition(x.byteCount >= count * width && packed.count >= (count + 1) / 2 && range.lowerBound >= 0)
        precondition(range.upperBound <= (count + blockSize - 1) / blockSize && scales.count >= range.upperBound)
        precondition(sums.count >= range.upperBound && histogram.count == ErrorHistogram.bins)
        unsafe x.withUnsafeBytes { x in
            unsafe packed.withUnsafeMutableBufferPointer { packed in
                unsafe sums.withUnsafeMutableBufferPointer { sums in
                    guard let x = x.baseAddress, let packed = packed.baseAddress, let sums = sums.baseAddress
                    else { return }
                    for blocks in [range.clamped(to: 0..<full), range.clamped(to: full..<full + 1)] {
                        guard let first = blocks.first else { continue }
                        let elements = first < full ? blockSize : count - full * blockSize
                        unsafe assign(
                            x + first * blockSize * width, type, blocks: blocks, count: elements, restored: restored,
                            scales: scales, packed: packed + first * blockSize / 2, sums: sums + first,
                            histogram: &histogram)
                    }
                }
            }
        }
    }

    /// `blocks` of `count` elements each, whose data begins at the pointers.
    private func assign(
        _ x: UnsafeRawPointer, _ elements: ElementType, blocks: Range<Int>, count: Int, restored: RestoredType,
        scales: [Float], packed: UnsafeMutablePointer<UInt8>, sums: UnsafeMutablePointer<NF4BlockSums>,
        histogram: UnsafeMutablePointer<UInt32>
    ) {
        if count % 32 == 0, let table = unsafe Self.table(of: level) {
            let lanes = unsafe UnsafeMutableRawPointer(sums).assumingMemoryBound(to: Float.self)
            let type = Int32(truncatingIfNeeded: restored.rawValue)
            unsafe scales.withUnsafeBufferPointer { scales in
                guard let scales = scales.baseAddress else { return }
                unsafe table.pointee.nf4_assign(
                    x, elements.kernelType, blocks.count, count, type, scales + blocks.lowerBound, packed, lanes,
                    histogram)
            }
            return
        }
        for (index, block) in blocks.enumerated() {
            unsafe PortableNF4.assign(
                x + index * count * 4, count: count, scale: scales[block], restored: restored,
                packed: packed + index * count / 2, sums: sums + index, histogram: histogram)
        }
    }

    /// The reference codes of one block of `count` weights, stored as for `nf4Search`, with absmax as the scale, in
    /// place of searched ones.
    func nf4Plain(
        _ x: RawSpan, type: ElementType, count: Int, block: Int, blockSize: Int, restored: RestoredType,
        packed: inout [UInt8], scales: inout [Float], sums: inout [NF4BlockSums], histogram: inout [UInt32]
    ) {
        let (elements, width) = (min(blockSize, count - block * blockSize), type.bitWidth / 8)
        precondition(readsStored(type) && (elements == blockSize || type == .f32))
        precondition(elements > 0 && x.byteCount >= count * width && packed.count >= (count + 1) / 2)
        precondition(scales.count > block && sums.count > block && histogram.count == ErrorHistogram.bins)
        unsafe x.withUnsafeBytes { x in
            unsafe packed.withUnsafeMutableBufferPointer { packed in
                unsafe scales.withUnsafeMutableBufferPointer { scales in
                    unsafe sums.withUnsafeMutableBufferPointer { sums in
                        guard let x = x.baseAddress, let packed = packed.baseAddress, let scales = scales.baseAddress,
                            let sums = sums.baseAddress
                        else { return }
                        let start = unsafe x + block * blockSize * width
                        let bytes = unsafe packed + block * blockSize / 2
                        if elements == blockSize {
                            unsafe nf4(
                                start, type: type, blocks: 1, blockSize: blockSize, restored: restored,
                                codeSums: false, packed: bytes, absmax: scales + block, sums: sums + block,
                                histogram: &histogram)
                        } else {
                            unsafe nf4Tail(
                                start, count: elements, restored: restored, packed: bytes, absmax: scales + block,
                                sums: sums + block, histogram: &histogram)
                        }
                    }
                }
            }
        }
    }
}
