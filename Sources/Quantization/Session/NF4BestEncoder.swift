import Tensors

/// Writes one weight in the format of bitsandbytes NF4 with scales that are searched: the same file, less error.
///
/// The tensor goes by in groups of 256 blocks, the nested group of double quantization, and each is finished before the
/// next is looked at: nothing is staged, and the errors are those of what a reader restores, the cast included.
///
/// Without double quantization each block's error is at most that of the reference encoder. With it, a group's error is
/// at most that of the reference's codes with any scales at all, hence at most that of the reference whatever its
/// offset; where that cannot be reached, at most that of plain absmax values under the offset that the encoder has.
struct NF4BestEncoder: TensorEncoder {
    private let blockSize: Int
    /// Elements of a full group; of the whole tensor, in whole blocks, where that is less.
    private let groupElements: Int
    private let placement: NF4Placement
    private let feed: ElementFeed
    private let crew: CoderCrew<NF4BestCoder>
    /// The errors of what was coded.
    private(set) var sums = QualitySums()
    private var groupsDone = 0
    /// What the scales' differences are taken from, with double quantization.
    private var offset: Float?
    /// The least squared error that the reference's codes could have with any scales, of what was coded; as low as the
    /// cast to 16 bits may make it. With double quantization only.
    private(set) var leastError = 0.0

    /// An encoder that codes on up to `threads` threads; with double quantization the scales' differences are taken
    /// from `offset`.
    init(entry: TensorEntry, recipe: Recipe, placement: NF4Placement, offset: Float = 0, threads: Int) {
        let blockSize = recipe.blockSize
        self.blockSize = blockSize
        self.placement = placement
        let blocks = min(NestedQuantizer.blockSize, (entry.elementCount + blockSize - 1) / blockSize)
        groupElements = blocks * blockSize
        let size = CrewSize(
            unitElements: groupElements, elements: entry.elementCount, threads: threads, maximumShareUnits: 1)
        crew = CoderCrew(size) {
            NF4BestCoder(entry: entry, blockSize: blockSize, blocks: blocks, isNested: placement.nestedAbsmax != nil)
        } room: { _ in
            NF4BestCoder.Made(blocks: CodedBlocks(blocks: blocks, blockSize: blockSize))
        }
        feed = ElementFeed(type: entry.type, unitElements: groupElements, batchUnits: size.batchUnits)
        if placement.nestedAbsmax != nil { setOffset(offset) }
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        try feed.cut(bytes) { (head, whole) throws(QuantizationError) in
            try crew.work(head, whole, unitBytes: feed.unitBytes, from: groupsDone, workplace) {
                (made, _) throws(QuantizationError) in try take(made, elements: groupElements, workplace)
            }
        }
    }

    private mutating func setOffset(_ offset: Float) {
        self.offset = offset
        crew.coders.forEach { $0.setOffset(offset) }
    }

    /// Codes the short group at the tensor's end, if there is one; nothing may follow.
    mutating func encodeRest(_ workplace: Workplace) throws(QuantizationError) {
        try feed.flush { (stored, elements) throws(QuantizationError) in
            let made = try crew.alone { (coder, made) throws(QuantizationError) in
                try coder.code(stored, elements: elements, from: groupsDone, into: &made, workplace.kernels)
            }
            try take(made, elements: elements, workplace)
        }
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        try encodeRest(workplace)
        try placement.writeMaps(workplace)
        let histogram = crew.gather(&sums)
        return EncodedTensor(
            quality: TensorQuality(sums: sums, counts: histogram), counts: histogram,
            nestedOffset: offset)
    }

    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        if let offset { state.add(offset) }
        crew.save(feed, &sums, to: &state)
    }

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        if offset != nil { setOffset(try state.finiteFloat()) }
        groupsDone = try crew.restore(feed, &sums, from: &state, taken: taken)
    }

    /// Writes and counts what a coder has made of one group, which may be short at the tensor's end.
    private mutating func take(
        _ made: NF4BestCoder.Made, elements: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        let blocks = (elements + blockSize - 1) / blockSize
        let first = groupsDone * (groupElements / blockSize)
        try workplace.write(
            made.blocks.packed.span.extracting(first: (elements + 1) / 2),
            at: placement.codes.offset + first * (blockSize / 2))
        for block in 0..<blocks { sums.add(made.blocks.sums[block]) }
        sums.count += elements
        leastError += made.leastError
        if let nestedAbsmax = placement.nestedAbsmax {
            try workplace.write(made.nestedCodes.span, at: placement.absmax.offset + first)
            try workplace.write([made.nestedAbsmax].span, at: nestedAbsmax.offset + groupsDone * 4)
        } else {
            try workplace.write(
                made.blocks.scales.span.extracting(first: blocks), at: placement.absmax.offset + first * 4)
        }
        groupsDone += 1
    }
}
