import Tensors

/// Some blocks of a weight as NF4.
struct CodedBlocks {
    /// The codes, two in a byte.
    var packed: [UInt8]
    /// A scale for each block: absmax, or what a search found.
    var scales: [Float]
    /// The sums of each block.
    var sums: [NF4BlockSums]

    /// Room for up to `blocks` blocks of `blockSize` weights.
    init(blocks: Int, blockSize: Int) {
        packed = [UInt8](repeating: 0, count: blocks * blockSize / 2)
        scales = [Float](repeating: 0, count: blocks)
        sums = [NF4BlockSums](repeating: NF4BlockSums(), count: blocks)
    }
}

/// Codes some blocks of a weight as bitsandbytes does: what one thread does for an `NF4Encoder`.
final class NF4Coder: UnitCoder, @unchecked Sendable {
    // Invariant: a `CoderCrew` gives each coder to one thread at a time, and all have ended when the encoder reads.
    private let name: String
    private let blockSize: Int
    private let restored: RestoredType
    private let codeSums: Bool
    private var widened: WidenedElements
    var histogram = ErrorCounts()
    private(set) var maximumSignal = 0.0

    /// A coder for blocks of `entry` that are restored as `restored`; `codeSums` as for `Kernels.nf4`.
    init(entry: TensorEntry, blockSize: Int, restored: RestoredType, codeSums: Bool) {
        name = entry.name
        self.blockSize = blockSize
        self.restored = restored
        self.codeSums = codeSums
        widened = WidenedElements(of: entry.type)
    }

    func code(
        _ stored: RawSpan, units blocks: Int, from first: Int, into made: inout CodedBlocks, _ kernels: Kernels
    ) throws(QuantizationError) {
        histogram.willCount(blocks * blockSize)
        try widened.readBlocks(stored, kernels) { (x, type) throws(QuantizationError) in
            kernels.nf4(
                x, type: type, blocks: blocks, blockSize: blockSize, restored: restored, codeSums: codeSums,
                packed: &made.packed, absmax: &made.scales, sums: &made.sums, histogram: &histogram.recent)
        }
        try check(stored, blocks, first, made, kernels)
    }

    /// Codes the short last block, which is block `first` and has `elements` weights.
    func codeLast(
        _ stored: RawSpan, elements: Int, from first: Int, into made: inout CodedBlocks, _ kernels: Kernels
    ) throws(QuantizationError) {
        histogram.willCount(elements)
        try widened.read(stored, kernels) { (x) throws(QuantizationError) in
            kernels.nf4Tail(
                x, count: elements, restored: restored, packed: &made.packed, absmax: &made.scales,
                sums: &made.sums, histogram: &histogram.recent)
        }
        try check(stored, 1, first, made, kernels)
    }

    private func check(
        _ stored: RawSpan, _ blocks: Int, _ first: Int, _ made: CodedBlocks, _ kernels: Kernels
    ) throws(QuantizationError) {
        for block in 0..<blocks {
            guard made.scales[block].isFinite else {
                let index = try widened.firstNonFinite(stored, kernels)
                throw .nonFinite(tensor: name, index: first * blockSize + index)
            }
            maximumSignal = max(maximumSignal, Double(made.scales[block]))
        }
    }
}

extension NF4Placement {
    /// Writes what the codes mean, and with double quantization what those of the scales mean.
    func writeMaps(_ workplace: Workplace) throws(QuantizationError) {
        let values = (0..<16).map { NF4Tables.values[$0] }
        try workplace.write(values.span, at: quantMap.offset)
        guard let nestedQuantMap else { return }
        let nestedValues = DynamicMap.values
        try workplace.write(nestedValues.span, at: nestedQuantMap.offset)
    }
}
