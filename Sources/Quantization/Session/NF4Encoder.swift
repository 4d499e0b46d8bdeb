import Tensors

/// Writes one weight as bitsandbytes NF4: 4-bit codes and an absmax for each block of the flattened tensor.
///
/// Source: `quantize_4bit` of bitsandbytes 0.50.2, CPU backend. With double quantization the absmax values wait on
/// scratch storage, for their mean is needed before the first of them can be written.
struct NF4Encoder: TensorEncoder {
    private let name: String
    private let blockSize: Int
    private let restored: RestoredType
    private let placement: NF4Placement
    private let excludesCast: Bool
    private let feed: ElementFeed
    private var packed: [UInt8]
    private var absmax: [Float]
    private var blockSums: [NF4BlockSums]
    private var histogram = ErrorCounts()
    private var sums = QualitySums()
    private var blocksDone = 0
    private var nested: NestedPass?
    /// absmax values not yet written, without double quantization.
    private var pending: [Float] = []

    /// absmax values are written this many at a time.
    private static let pendingLimit = 1 << 14

    init(entry: TensorEntry, recipe: Recipe, placement: NF4Placement, scratchBase: Int) {
        name = entry.name
        blockSize = recipe.blockSize
        self.placement = placement
        let type = RestoredType(of: entry.type)
        // With double quantization the block sums must stay linear in the scale; the cast of x̂ is not.
        restored = recipe.doubleQuant ? .f32 : type
        excludesCast = recipe.doubleQuant && type != .f32
        feed = ElementFeed(type: entry.type, unitElements: recipe.blockSize, elements: entry.elementCount)
        packed = [UInt8](repeating: 0, count: feed.batchUnits * recipe.blockSize / 2)
        absmax = [Float](repeating: 0, count: feed.batchUnits)
        blockSums = [NF4BlockSums](repeating: NF4BlockSums(), count: feed.batchUnits)
        if let codes = placement.nestedAbsmax {
            let blocks = (entry.elementCount + recipe.blockSize - 1) / recipe.blockSize
            nested = NestedPass(
                name: entry.name, blocks: blocks, blockSize: recipe.blockSize, type: type, scratchBase: scratchBase,
                codes: placement.absmax, nestedAbsmax: codes)
        }
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        try feed.feed(bytes, workplace.kernels) { (x, blocks) throws(QuantizationError) in
            histogram.willCount(blocks * blockSize)
            workplace.kernels.nf4(
                x, blocks: blocks, blockSize: blockSize, restored: restored, codeSums: nested != nil,
                packed: &packed, absmax: &absmax, sums: &blockSums, histogram: &histogram.recent)
            try take(x, blocks: blocks, elements: blocks * blockSize, workplace)
        }
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        try feed.flush(workplace.kernels) { (x, elements) throws(QuantizationError) in
            histogram.willCount(elements)
            workplace.kernels.nf4Tail(
                x, count: elements, restored: restored, packed: &packed, absmax: &absmax, sums: &blockSums,
                histogram: &histogram.recent)
            try take(x, blocks: 1, elements: elements, workplace)
        }
        try flushPending(workplace)
        let quantMap = (0..<16).map { NF4Tables.values[$0] }
        try workplace.write(quantMap.span, at: placement.quantMap.offset)
        var quality = TensorQuality(sums: sums, counts: histogram)
        guard var nested, let map = placement.nestedQuantMap else {
            return EncodedTensor(quality: quality, counts: histogram)
        }
        let dynamicMap = DynamicMap.values
        try workplace.write(dynamicMap.span, at: map.offset)
        let offset = try nested.run(&quality, workplace)
        quality.excludesCast = excludesCast
        return EncodedTensor(quality: quality, counts: histogram, nestedOffset: offset)
    }

    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        try flushPending(workplace)
        feed.save(to: &state)
        sums.save(to: &state)
        histogram.save(to: &state)
        try nested?.save(to: &state, workplace)
    }

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        blocksDone = try feed.restore(from: &state, taken: taken)
        sums = try QualitySums(from: &state, count: blocksDone * blockSize)
        histogram = try ErrorCounts(from: &state, count: sums.count)
        try nested?.restore(from: &state, blocks: blocksDone, workplace)
    }

    /// Checks, writes and counts what the kernel has left in the buffers.
    private mutating func take(
        _ x: RawSpan, blocks: Int, elements: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        for block in 0..<blocks where !absmax[block].isFinite {
            let first = workplace.kernels.firstNonFinite(x, count: elements) ?? 0
            throw .nonFinite(tensor: name, index: blocksDone * blockSize + first)
        }
        try workplace.write(
            packed.span.extracting(first: (elements + 1) / 2),
            at: placement.codes.offset + blocksDone * (blockSize / 2))
        for block in 0..<blocks {
            let piece = blockSums[block]
            sums.count += min(blockSize, elements - block * blockSize)
            sums.signal += Double(piece.signal)
            sums.squaredError += Double(piece.squaredError)
            sums.restoredSquared += Double(piece.restoredSquared)
            sums.absoluteError += Double(piece.absoluteError)
            sums.maximumError = max(sums.maximumError, Double(piece.maximumError))
            sums.maximumSignal = max(sums.maximumSignal, Double(absmax[block]))
        }
        if var pass = nested {
            nested = nil  // so that `pass` alone owns its buffers and nothing is copied
            try pass.add(absmax.span.extracting(first: blocks), blockSums.span.extracting(first: blocks), workplace)
            nested = pass
        } else {
            pending.append(contentsOf: absmax[..<blocks])
            if pending.count >= Self.pendingLimit { try flushPending(workplace, after: blocks) }
        }
        blocksDone += blocks
    }

    private mutating func flushPending(_ workplace: Workplace, after blocks: Int = 0) throws(QuantizationError) {
        guard !pending.isEmpty else { return }
        let first = blocksDone + blocks - pending.count
        try workplace.write(pending.span, at: placement.absmax.offset + first * 4)
        pending.removeAll(keepingCapacity: true)
    }
}
