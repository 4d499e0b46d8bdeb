import Tensors

/// Writes one weight as bitsandbytes NF4: 4-bit codes and an absmax for each block of the flattened tensor.
///
/// Source: `quantize_4bit` of bitsandbytes 0.50.2, CPU backend. With double quantization the absmax values wait on
/// scratch storage, for their mean is needed before the first of them can be written.
struct NF4Encoder: TensorEncoder {
    private let blockSize: Int
    private let placement: NF4Placement
    private let excludesCast: Bool
    private let feed: ElementFeed
    private let crew: CoderCrew<NF4Coder>
    private var sums = QualitySums()
    private var blocksDone = 0
    private var nested: NestedPass?

    /// An encoder that codes on up to `threads` threads; `rivalOffset` as for `NestedPass`.
    init(
        entry: TensorEntry, recipe: Recipe, placement: NF4Placement, scratchBase: Int, rivalOffset: Float? = nil,
        threads: Int
    ) {
        let blockSize = recipe.blockSize
        self.blockSize = blockSize
        self.placement = placement
        let type = RestoredType(of: entry.type)
        excludesCast = recipe.doubleQuant && type != .f32
        let size = CrewSize(unitElements: blockSize, elements: entry.elementCount, threads: threads)
        crew = CoderCrew(size) {
            // With double quantization the block sums must stay linear in the scale; the cast of x̂ is not.
            NF4Coder(
                entry: entry, blockSize: blockSize, restored: recipe.doubleQuant ? .f32 : type,
                codeSums: placement.nestedAbsmax != nil)
        } room: { blocks in
            CodedBlocks(blocks: blocks, blockSize: blockSize)
        }
        feed = ElementFeed(type: entry.type, unitElements: blockSize, batchUnits: size.batchUnits)
        if let codes = placement.nestedAbsmax {
            let blocks = (entry.elementCount + blockSize - 1) / blockSize
            nested = NestedPass(
                name: entry.name, blocks: blocks, blockSize: blockSize, type: type, scratchBase: scratchBase,
                codes: placement.absmax, nestedAbsmax: codes, rivalOffset: rivalOffset)
        }
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        try feed.cut(bytes) { (head, whole) throws(QuantizationError) in
            try crew.work(head, whole, unitBytes: feed.unitBytes, from: blocksDone, workplace) {
                (made, blocks) throws(QuantizationError) in
                try take(made, blocks: blocks, elements: blocks * blockSize, workplace)
            }
        }
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        try feed.flush { (stored, elements) throws(QuantizationError) in
            let made = try crew.alone { (coder, made) throws(QuantizationError) in
                try coder.codeLast(stored, elements: elements, from: blocksDone, into: &made, workplace.kernels)
            }
            try take(made, blocks: 1, elements: elements, workplace)
        }
        try placement.writeMaps(workplace)
        let histogram = crew.gather(&sums)
        var quality = TensorQuality(sums: sums, counts: histogram)
        guard var nested else { return EncodedTensor(quality: quality, counts: histogram) }
        let offset = try nested.run(&quality, workplace)
        quality.excludesCast = excludesCast
        return EncodedTensor(quality: quality, counts: histogram, nestedOffset: offset)
    }

    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        crew.save(feed, &sums, to: &state)
        try nested?.save(to: &state, workplace)
    }

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        blocksDone = try crew.restore(feed, &sums, from: &state, taken: taken)
        try nested?.restore(from: &state, blocks: blocksDone, workplace)
    }

    /// Writes and counts what a coder has made of some blocks.
    private mutating func take(
        _ made: CodedBlocks, blocks: Int, elements: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        try workplace.write(
            made.packed.span.extracting(first: (elements + 1) / 2),
            at: placement.codes.offset + blocksDone * (blockSize / 2))
        for block in 0..<blocks { sums.add(made.sums[block]) }
        sums.count += elements
        let first = blocksDone
        blocksDone += blocks
        if var pass = nested {
            nested = nil  // so that `pass` alone owns its buffers and nothing is copied
            try pass.add(
                made.scales.span.extracting(first: blocks), made.sums.span.extracting(first: blocks), workplace)
            nested = pass
        } else {
            try workplace.write(made.scales.span.extracting(first: blocks), at: placement.absmax.offset + first * 4)
        }
    }
}
