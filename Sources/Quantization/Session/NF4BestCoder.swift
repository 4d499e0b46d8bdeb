import Tensors

/// Codes a group of 256 blocks of a weight with searched scales: what one thread does for an `NF4BestEncoder`.
final class NF4BestCoder: UnitCoder, @unchecked Sendable {
    // Invariant: a `CoderCrew` gives each coder to one thread at a time, and all have ended when the encoder reads.

    /// The blocks of one group, and with double quantization their scales in 8 bits.
    struct Made {
        var blocks: CodedBlocks
        fileprivate(set) var nestedCodes: ArraySlice<UInt8> = []
        fileprivate(set) var nestedAbsmax: Float = 0
        /// The least squared error that the reference's codes could have; as low as the cast may make it.
        fileprivate(set) var leastError = 0.0
    }

    private let name: String
    private let blockSize: Int
    private let groupElements: Int
    private let restored: RestoredType
    private var rivals: NestedRivals?
    private var widened: WidenedElements
    private var choices: [NF4Choice]
    var histogram = ErrorCounts()
    /// Errors that were counted and then not kept.
    private var rejected = [UInt32](repeating: 0, count: ErrorHistogram.bins)
    private(set) var maximumSignal = 0.0

    /// A searched scale must lower a block's error by more than the rounding of the float32 sums could feign.
    private static let decisive: Float = 1 - 0x1p-14
    /// What is left of a bound when x̂ is rounded to 16 bits, which it leaves out.
    private static let castAside = 1 - 0x1p-5
    /// Below these the squares of the errors lose digits to underflow, and nothing is decided by them.
    private static let smallestBlockError: Float = 0x1p-116
    private static let smallestGroupError = 0x1p-110

    /// A coder for groups of `blocks` blocks of `entry`.
    init(entry: TensorEntry, blockSize: Int, blocks: Int, isNested: Bool) {
        name = entry.name
        self.blockSize = blockSize
        groupElements = blocks * blockSize
        restored = RestoredType(of: entry.type)
        rivals = isNested ? NestedRivals() : nil
        widened = WidenedElements(of: entry.type)
        choices = [NF4Choice](repeating: NF4Choice(), count: blocks)
    }

    /// What the scales' differences are taken from, where they are quantized themselves.
    func setOffset(_ offset: Float) { rivals?.offset = offset }

    func code(
        _ stored: RawSpan, units groups: Int, from first: Int, into made: inout Made, _ kernels: Kernels
    ) throws(QuantizationError) {
        assert(groups == 1, "a share is one group")
        try code(stored, elements: groupElements, from: first, into: &made, kernels)
    }

    /// Codes group `first`, which has `elements` weights.
    func code(
        _ stored: RawSpan, elements: Int, from first: Int, into made: inout Made, _ kernels: Kernels
    ) throws(QuantizationError) {
        // A short last block is coded in float32.
        if elements % blockSize == 0 {
            try widened.readBlocks(stored, kernels) { (x, type) throws(QuantizationError) in
                search(x, type, elements, &made, kernels)
            }
        } else {
            try widened.read(stored, kernels) { (x) throws(QuantizationError) in
                search(x, .f32, elements, &made, kernels)
            }
        }
        for block in 0..<(elements + blockSize - 1) / blockSize {
            guard choices[block].absmax.isFinite else {
                let index = try widened.firstNonFinite(stored, kernels)
                throw .nonFinite(tensor: name, index: first * groupElements + index)
            }
            maximumSignal = max(maximumSignal, Double(choices[block].absmax))
        }
    }

    /// Finds the scales that the blocks would have by themselves, and settles on what they keep.
    private func search(
        _ x: RawSpan, _ type: ElementType, _ elements: Int, _ made: inout Made, _ kernels: Kernels
    ) {
        let blocks = (elements + blockSize - 1) / blockSize
        histogram.willCount(elements)
        // What is derived from the sums for another scale takes that they are linear in it; the cast is not.
        kernels.nf4Search(
            x, type: type, count: elements, blockSize: blockSize, restored: rivals == nil ? restored : .f32,
            choices: &choices)
        // The caller refuses what is not finite.
        guard choices[..<blocks].allSatisfy(\.absmax.isFinite) else { return }
        for block in 0..<blocks { made.blocks.scales[block] = choices[block].scale }
        guard var group = rivals else { return settle(x, type, elements, blocks, &made.blocks, kernels) }
        rivals = nil  // so that `group` alone owns its buffers and nothing is copied
        made.leastError = settle(x, type, elements, blocks, &made.blocks, &group, kernels)
        made.nestedCodes = group.kept.codes[..<blocks]
        made.nestedAbsmax = group.kept.nestedAbsmax
        rivals = group
    }

    /// Float32 scales: each block keeps the better of the searched scale and the reference's absmax.
    private func settle(
        _ x: RawSpan, _ type: ElementType, _ elements: Int, _ blocks: Int, _ made: inout CodedBlocks,
        _ kernels: Kernels
    ) {
        assign(x, type, elements, 0..<blocks, made.scales, keeps: true, &made, kernels)
        var anyLost = false
        for block in 0..<blocks {
            let plain = choices[block].squaredError
            if made.sums[block].squaredError < plain * Self.decisive, plain >= Self.smallestBlockError { continue }
            anyLost = true
            assign(x, type, elements, block..<block + 1, made.scales, keeps: false, &made, kernels)
            kernels.nf4Plain(
                x, type: type, count: elements, block: block, blockSize: blockSize, restored: restored,
                packed: &made.packed, scales: &made.scales, sums: &made.sums, histogram: &histogram.recent)
        }
        if anyLost { histogram.withdraw(&rejected) }
    }

    /// 8-bit scales: the group keeps the better of the searched scales and absmax, both as a reader restores them.
    /// Returns the least error that the reference's codes could have with any scales; its own where squares leave
    /// float32.
    private func settle(
        _ x: RawSpan, _ type: ElementType, _ elements: Int, _ blocks: Int, _ made: inout CodedBlocks,
        _ group: inout NestedRivals, _ kernels: Kernels
    ) -> Double {
        let bound = group.fit(choices, made.scales, blocks: blocks)
        let all = 0..<blocks
        assign(x, type, elements, all, group.searched.restored, keeps: true, &made, kernels)
        let error = squaredError(made, blocks)
        let isMeasured = error.isFinite && error >= Self.smallestGroupError
        if isMeasured, error <= bound { return bound }
        group.fitPlain(choices, blocks: blocks)
        assign(x, type, elements, all, group.searched.restored, keeps: false, &made, kernels)
        assign(x, type, elements, all, group.plain.restored, keeps: true, &made, kernels)
        group.keepsPlain = !(squaredError(made, blocks) > error && error >= Self.smallestGroupError)
        if !group.keepsPlain {
            assign(x, type, elements, all, group.plain.restored, keeps: false, &made, kernels)
            assign(x, type, elements, all, group.searched.restored, keeps: true, &made, kernels)
        }
        histogram.withdraw(&rejected)
        guard isMeasured else { return squaredError(made, blocks) }
        return bound * (restored == .f32 ? 1 : Self.castAside)
    }

    /// Codes and sums of some blocks; their errors count, or are taken back.
    private func assign(
        _ x: RawSpan, _ type: ElementType, _ elements: Int, _ range: Range<Int>, _ scales: [Float], keeps: Bool,
        _ made: inout CodedBlocks, _ kernels: Kernels
    ) {
        if keeps {
            kernels.nf4Assign(
                x, type: type, count: elements, range: range, blockSize: blockSize, restored: restored, scales: scales,
                packed: &made.packed, sums: &made.sums, histogram: &histogram.recent)
        } else {
            kernels.nf4Assign(
                x, type: type, count: elements, range: range, blockSize: blockSize, restored: restored, scales: scales,
                packed: &made.packed, sums: &made.sums, histogram: &rejected)
        }
    }

    private func squaredError(_ made: CodedBlocks, _ blocks: Int) -> Double {
        made.sums[..<blocks].reduce(0) { $0 + Double($1.squaredError) }
    }
}
