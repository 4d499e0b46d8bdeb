import Tensors

/// Writes one weight in the format of bitsandbytes NF4 with scales that are searched: the same file, less error.
///
/// The tensor goes by in groups of 256 blocks, the nested group of double quantization, and each is finished before the
/// next is looked at: nothing is staged, and the errors are those of what a reader restores, the cast included.
///
/// Without double quantization each block's error is at most that of the reference encoder. With it, a group's error is
/// at most that of the reference's codes with any scales at all, hence at most that of the reference whatever its
/// offset; where that cannot be reached, at most that of plain absmax values under the offset that is chosen from the
/// opening of the tensor. If that happens in the opening, the reference's offset is tried as well: a tensor that is no
/// longer than its opening has never more error than the reference's.
struct NF4BestEncoder: TensorEncoder {
    private let entry: TensorEntry
    private let recipe: Recipe
    private let threads: Int
    private let blockSize: Int
    /// Elements of a full group; of the whole tensor, in whole blocks, where that is less.
    private let groupElements: Int
    private let placement: NF4Placement
    private let feed: ElementFeed
    private let crew: CoderCrew<NF4BestCoder>
    private var sums = QualitySums()
    private var groupsDone = 0
    private var nested: NestedWriter?
    /// The first bytes of the tensor, until the offset is chosen from them; nil without double quantization.
    private var opening: [UInt8]?
    private let openingBytes: Int
    /// Scales not yet written, without double quantization.
    private var pending: [Float] = []

    /// Bytes of the tensor that the offset is chosen from; at least one group.
    private static let openingLimit = 1 << 20
    /// Every eighth block of the opening is looked at.
    private static let openingStride = 8
    /// Scales are written this many at a time.
    private static let pendingLimit = 1 << 14

    /// An encoder that codes on up to `threads` threads.
    init(entry: TensorEntry, recipe: Recipe, placement: NF4Placement, threads: Int) {
        (self.entry, self.recipe, self.threads) = (entry, recipe, threads)
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
        openingBytes = max(Self.openingLimit, feed.unitBytes)
        guard let place = placement.nestedAbsmax else { return }
        nested = NestedWriter(codes: placement.absmax, nestedAbsmax: place)
        opening = []
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        var rest = bytes
        if let held = opening?.count {
            let taken = min(openingBytes - held, bytes.byteCount)
            if held == 0 { opening?.reserveCapacity(min(openingBytes, entry.bytes.count)) }
            opening?.append(bytes.extracting(first: taken))
            rest = bytes.extracting(droppingFirst: taken)
            guard held + taken == openingBytes else { return }
            try open(workplace)
        }
        try feed.cut(rest) { (head, whole) throws(QuantizationError) in try encode(head, whole, workplace) }
    }

    /// Chooses the offset and encodes what was held for it.
    ///
    /// The searched scales' own offset comes first. Only where a group might then have more error than the reference's
    /// (weights that were NF4 before) is it encoded again with the offset that the reference would take, and the better
    /// one stays.
    private mutating func open(_ workplace: Workplace) throws(QuantizationError) {
        guard let held = opening else { return }
        let searched = try choices(held, every: Self.openingStride, workplace.kernels)
        let own = NestedQuantizer.offset(of: searched.map(\.scale))
        try begin(held, own, workplace)
        guard crew.coders.contains(where: \.isUnsure) else { return }
        let error = sums.squaredError
        let absmax = try choices(held, every: 1, workplace.kernels).map(\.absmax)
        var mean = TorchMean(count: absmax.count)
        mean.add(absmax.span)
        // Scales that no search measures may leave the mean of no use.
        guard case let offset = mean.finish(), offset.isFinite else { return }
        try beginAnew(held, offset, workplace)
        if !(sums.squaredError <= error) { try beginAnew(held, own, workplace) }
    }

    private mutating func beginAnew(
        _ held: [UInt8], _ offset: Float, _ workplace: Workplace
    ) throws(QuantizationError) {
        self = NF4BestEncoder(entry: entry, recipe: recipe, placement: placement, threads: threads)
        try begin(held, offset, workplace)
    }

    /// Encodes the tensor from its first byte on, to its end if that was held.
    private mutating func begin(_ held: [UInt8], _ offset: Float, _ workplace: Workplace) throws(QuantizationError) {
        opening = nil
        setOffset(offset)
        try feed.cut(held.span) { (head, whole) throws(QuantizationError) in try encode(head, whole, workplace) }
        if held.count == entry.bytes.count { try encodeRest(workplace) }
    }

    private mutating func setOffset(_ offset: Float) {
        nested?.offset = offset
        crew.coders.forEach { $0.setOffset(offset) }
    }

    /// What the search finds in every `n`th block of the opening.
    private func choices(_ held: [UInt8], every n: Int, _ kernels: Kernels) throws(QuantizationError) -> [NF4Choice] {
        let blockBytes = blockSize * (feed.type.bitWidth / 8)
        var widened = WidenedElements(of: feed.type)
        var found: [NF4Choice] = []
        var choice = [NF4Choice()]
        for start in stride(from: 0, to: held.count, by: n * blockBytes) {
            let block = held.span.extracting(start..<min(start + blockBytes, held.count))
            try widened.read(block, kernels) { (x) throws(QuantizationError) in
                kernels.nf4Search(
                    x, type: .f32, count: x.byteCount / 4, blockSize: blockSize, restored: .f32, choices: &choice)
                found.append(choice[0])
            }
        }
        return found
    }

    /// Whole groups; `head` is one or none.
    private mutating func encode(
        _ head: RawSpan, _ whole: RawSpan, _ workplace: Workplace
    ) throws(QuantizationError) {
        try crew.work(head, whole, unitBytes: feed.unitBytes, from: groupsDone, workplace) {
            (made, _) throws(QuantizationError) in try take(made, elements: groupElements, workplace)
        }
    }

    /// The short group at the tensor's end.
    private mutating func encodeRest(_ workplace: Workplace) throws(QuantizationError) {
        try feed.flush { (stored, elements) throws(QuantizationError) in
            let made = try crew.alone { (coder, made) throws(QuantizationError) in
                try coder.code(stored, elements: elements, from: groupsDone, into: &made, workplace.kernels)
            }
            try take(made, elements: elements, workplace)
        }
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        try open(workplace)
        try encodeRest(workplace)
        try flushPending(workplace)
        try nested?.flush(workplace)
        let quantMap = (0..<16).map { NF4Tables.values[$0] }
        try workplace.write(quantMap.span, at: placement.quantMap.offset)
        if let map = placement.nestedQuantMap {
            let dynamicMap = DynamicMap.values
            try workplace.write(dynamicMap.span, at: map.offset)
        }
        let histogram = crew.gather(&sums)
        return EncodedTensor(
            quality: TensorQuality(sums: sums, counts: histogram), counts: histogram,
            nestedOffset: nested?.offset)
    }

    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        if let opening { return state.add(opening) }
        try flushPending(workplace)
        try nested?.flush(workplace)
        if let offset = nested?.offset { state.add(offset) }
        crew.save(feed, &sums, to: &state)
    }

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        if opening != nil, taken < openingBytes { return opening = try state.raw(taken) }
        opening = nil
        if nested != nil { setOffset(try state.finiteFloat()) }
        groupsDone = try crew.restore(feed, &sums, from: &state, taken: taken)
        nested?.restore(blocks: groupsDone * (groupElements / blockSize))
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
        groupsDone += 1
        if nested == nil {
            pending.append(contentsOf: made.blocks.scales[..<blocks])
            if pending.count >= Self.pendingLimit { try flushPending(workplace) }
        } else {
            try nested?.append(made.nestedCodes, nestedAbsmax: made.nestedAbsmax, workplace)
        }
    }

    private mutating func flushPending(_ workplace: Workplace) throws(QuantizationError) {
        guard !pending.isEmpty else { return }
        let done = (sums.count + blockSize - 1) / blockSize
        try workplace.write(pending.span, at: placement.absmax.offset + (done - pending.count) * 4)
        pending.removeAll(keepingCapacity: true)
    }
}
