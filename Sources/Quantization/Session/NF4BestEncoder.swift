import Tensors

/// Writes one weight in the format of bitsandbytes NF4 with scales that are searched: the same file, less error.
///
/// The tensor goes by in groups of 256 blocks, the nested group of double quantization, and each is finished before the
/// next is looked at: nothing is staged, and the errors are those of what a reader restores, the cast included.
///
/// Without double quantization each block's error is at most that of the reference encoder. With it, a group's error is
/// at most that of the reference's codes with any scales at all, hence at most that of the reference whatever its
/// offset; where that cannot be reached, at most that of plain absmax values under the offset that is chosen from the
/// opening of the tensor.
struct NF4BestEncoder: TensorEncoder {
    private let name: String
    private let blockSize: Int
    /// Elements of a full group; of the whole tensor, in whole blocks, where that is less.
    private let groupElements: Int
    private let restored: RestoredType
    private let placement: NF4Placement
    private let feed: ElementFeed
    private var choices: [NF4Choice]
    private var scales: [Float]
    private var packed: [UInt8]
    private var blockSums: [NF4BlockSums]
    private var histogram = ErrorCounts()
    /// Errors that were counted and then not kept.
    private var rejected = [UInt32](repeating: 0, count: ErrorHistogram.bins)
    private var sums = QualitySums()
    private var blocksDone = 0
    private var nested: NestedGroups?
    /// The first bytes of the tensor, until the offset is chosen from them; nil without double quantization.
    private var opening: [UInt8]?
    private let openingBytes: Int
    /// Scales not yet written, without double quantization.
    private var pending: [Float] = []

    /// Bytes of the tensor that the offset is chosen from; at least one group.
    private static let openingLimit = 1 << 20
    /// Every eighth block of the opening is looked at.
    private static let openingStride = 8
    /// Blocks of one group.
    private static let groupBlocks = NestedQuantizer.blockSize
    /// Scales are written this many at a time.
    private static let pendingLimit = 1 << 14
    /// A searched scale must lower a block's error by more than the rounding of the float32 sums could feign.
    private static let decisive: Float = 1 - 0x1p-14
    /// Below these the squares of the errors lose digits to underflow, and nothing is decided by them.
    private static let smallestBlockError: Float = 0x1p-116
    private static let smallestGroupError = 0x1p-110

    init(entry: TensorEntry, recipe: Recipe, placement: NF4Placement) {
        name = entry.name
        blockSize = recipe.blockSize
        self.placement = placement
        restored = RestoredType(of: entry.type)
        let blocks = min(Self.groupBlocks, (entry.elementCount + recipe.blockSize - 1) / recipe.blockSize)
        groupElements = blocks * recipe.blockSize
        feed = ElementFeed(type: entry.type, unitElements: groupElements, elements: entry.elementCount)
        choices = [NF4Choice](repeating: NF4Choice(), count: blocks)
        scales = [Float](repeating: 0, count: blocks)
        packed = [UInt8](repeating: 0, count: groupElements / 2)
        blockSums = [NF4BlockSums](repeating: NF4BlockSums(), count: blocks)
        openingBytes = max(Self.openingLimit, feed.unitBytes)
        guard let place = placement.nestedAbsmax else { return }
        nested = NestedGroups(codes: placement.absmax, nestedAbsmax: place)
        opening = []
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        var rest = bytes
        if let held = opening?.count {
            let taken = min(openingBytes - held, bytes.byteCount)
            opening?.append(bytes.extracting(first: taken))
            rest = bytes.extracting(droppingFirst: taken)
            guard held + taken == openingBytes else { return }
            try open(workplace)
        }
        try feed.feed(rest, workplace.kernels) { (x, groups) throws(QuantizationError) in
            try encode(x, groups: groups, workplace)
        }
    }

    /// Chooses the offset and encodes what was held for it.
    private mutating func open(_ workplace: Workplace) throws(QuantizationError) {
        guard let held = opening else { return }
        opening = nil
        let offset = try offset(held, workplace.kernels)
        nested?.offset = offset
        try feed.feed(held.span, workplace.kernels) { (x, groups) throws(QuantizationError) in
            try encode(x, groups: groups, workplace)
        }
    }

    /// The mean of some searched scales of the opening, zeros and the highest and lowest quarter left out.
    ///
    /// The map is fine near the offset, and scales far below it are told apart by steps of 1.4 % of the offset only:
    /// a few rows of large weights at the front must not decide for all that follow.
    private func offset(_ held: [UInt8], _ kernels: Kernels) throws(QuantizationError) -> Float {
        let sample = ElementFeed(type: feed.type, unitElements: blockSize, elements: blockSize)
        var found: [Float] = []
        var choice = [NF4Choice()]
        for start in stride(from: 0, to: held.count, by: Self.openingStride * sample.unitBytes) {
            let block = held.span.extracting(start..<min(start + sample.unitBytes, held.count))
            try sample.feed(block, kernels) { (x, _) throws(QuantizationError) in
                kernels.nf4Search(x, count: blockSize, blockSize: blockSize, restored: .f32, choices: &choice)
                found.append(choice[0].scale)
            }
        }
        try sample.flush(kernels) { (x, elements) throws(QuantizationError) in
            kernels.nf4Search(x, count: elements, blockSize: blockSize, restored: .f32, choices: &choice)
            found.append(choice[0].scale)
        }
        let scales = found.filter { $0 > 0 && $0.isFinite }.sorted()
        let middle = scales[scales.count / 4..<scales.count - scales.count / 4]
        return middle.isEmpty ? 0 : Float(middle.reduce(0.0) { $0 + Double($1) } / Double(middle.count))
    }

    private mutating func encode(
        _ x: RawSpan, groups: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        for group in 0..<groups {
            let part = x.extracting(group * groupElements * 4..<(group + 1) * groupElements * 4)
            try encode(part, elements: groupElements, workplace)
        }
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        try open(workplace)
        try feed.flush(workplace.kernels) { (x, elements) throws(QuantizationError) in
            try encode(x, elements: elements, workplace)
        }
        try flushPending(workplace)
        try nested?.flush(workplace)
        let quantMap = (0..<16).map { NF4Tables.values[$0] }
        try workplace.write(quantMap.span, at: placement.quantMap.offset)
        if let map = placement.nestedQuantMap {
            let dynamicMap = DynamicMap.values
            try workplace.write(dynamicMap.span, at: map.offset)
        }
        return EncodedTensor(
            quality: TensorQuality(sums: sums, counts: histogram), counts: histogram,
            nestedOffset: nested?.offset)
    }

    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        if let opening { return state.add(opening) }
        try flushPending(workplace)
        try nested?.flush(workplace)
        if let offset = nested?.offset { state.add(offset) }
        feed.save(to: &state)
        sums.save(to: &state)
        histogram.save(to: &state)
    }

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        if opening != nil, taken < openingBytes { return opening = try state.raw(taken) }
        opening = nil
        let offset = try nested.map { (_) throws(QuantizationError) in try state.finiteFloat() }
        let groups = try feed.restore(from: &state, taken: taken)
        blocksDone = groups * (groupElements / blockSize)
        if let offset { nested?.restore(offset: offset, blocks: blocksDone) }
        sums = try QualitySums(from: &state, count: groups * groupElements)
        histogram = try ErrorCounts(from: &state, count: sums.count)
    }

    /// One group, which may be short at the tensor's end.
    private mutating func encode(
        _ x: RawSpan, elements: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        let blocks = (elements + blockSize - 1) / blockSize
        let kernels = workplace.kernels
        histogram.willCount(elements)
        // What is derived from the sums for another scale takes that they are linear in it; the cast is not.
        kernels.nf4Search(
            x, count: elements, blockSize: blockSize, restored: nested == nil ? restored : .f32, choices: &choices)
        for block in 0..<blocks where !choices[block].absmax.isFinite {
            let first = kernels.firstNonFinite(x, count: elements) ?? 0
            throw .nonFinite(tensor: name, index: blocksDone * blockSize + first)
        }
        for block in 0..<blocks { scales[block] = choices[block].scale }
        if var groups = nested {
            nested = nil  // so that `groups` alone owns its buffers and nothing is copied
            settle(x, elements: elements, blocks: blocks, &groups, kernels)
            try groups.append(blocks: blocks, workplace)
            nested = groups
        } else {
            settle(x, elements: elements, blocks: blocks, kernels)
            pending.append(contentsOf: scales[..<blocks])
        }
        try workplace.write(
            packed.span.extracting(first: (elements + 1) / 2),
            at: placement.codes.offset + blocksDone * (blockSize / 2))
        add(blocks: blocks, elements: elements)
        blocksDone += blocks
        if pending.count >= Self.pendingLimit { try flushPending(workplace) }
    }

    /// Float32 scales: each block keeps the better of the searched scale and the reference's absmax.
    private mutating func settle(_ x: RawSpan, elements: Int, blocks: Int, _ kernels: Kernels) {
        assign(x, elements: elements, 0..<blocks, scales, keeps: true, kernels)
        var anyLost = false
        for block in 0..<blocks {
            let plain = choices[block].squaredError
            if blockSums[block].squaredError < plain * Self.decisive, plain >= Self.smallestBlockError { continue }
            anyLost = true
            assign(x, elements: elements, block..<block + 1, scales, keeps: false, kernels)
            kernels.nf4Plain(
                x, count: elements, block: block, blockSize: blockSize, restored: restored, packed: &packed,
                scales: &scales, sums: &blockSums, histogram: &histogram.recent)
        }
        if anyLost { histogram.withdraw(&rejected) }
    }

    /// 8-bit scales: the group keeps the better of the searched scales and absmax, both as a reader restores them.
    private mutating func settle(
        _ x: RawSpan, elements: Int, blocks: Int, _ groups: inout NestedGroups, _ kernels: Kernels
    ) {
        let bound = groups.fit(choices, scales, blocks: blocks)
        let all = 0..<blocks
        assign(x, elements: elements, all, groups.searched.restored, keeps: true, kernels)
        let error = squaredError(blocks)
        let isMeasured = error.isFinite && error >= Self.smallestGroupError
        if isMeasured, error <= bound { return }
        let plain = groups.fitPlain(choices, blocks: blocks)
        if isMeasured, error <= plain { return }
        assign(x, elements: elements, all, groups.searched.restored, keeps: false, kernels)
        assign(x, elements: elements, all, groups.plain.restored, keeps: true, kernels)
        groups.keepsPlain = !(squaredError(blocks) > error && error >= Self.smallestGroupError)
        if !groups.keepsPlain {
            assign(x, elements: elements, all, groups.plain.restored, keeps: false, kernels)
            assign(x, elements: elements, all, groups.searched.restored, keeps: true, kernels)
        }
        histogram.withdraw(&rejected)
    }

    /// Codes and sums of some blocks; their errors count, or are taken back.
    private mutating func assign(
        _ x: RawSpan, elements: Int, _ range: Range<Int>, _ scales: [Float], keeps: Bool, _ kernels: Kernels
    ) {
        if keeps {
            kernels.nf4Assign(
                x, count: elements, range: range, blockSize: blockSize, restored: restored, scales: scales,
                packed: &packed, sums: &blockSums, histogram: &histogram.recent)
        } else {
            kernels.nf4Assign(
                x, count: elements, range: range, blockSize: blockSize, restored: restored, scales: scales,
                packed: &packed, sums: &blockSums, histogram: &rejected)
        }
    }

    private func squaredError(_ blocks: Int) -> Double {
        blockSums[..<blocks].reduce(0) { $0 + Double($1.squaredError) }
    }

    private mutating func add(blocks: Int, elements: Int) {
        sums.count += elements
        for block in 0..<blocks {
            let piece = blockSums[block]
            sums.signal += Double(piece.signal)
            sums.squaredError += Double(piece.squaredError)
            sums.restoredSquared += Double(piece.restoredSquared)
            sums.absoluteError += Double(piece.absoluteError)
            sums.maximumError = max(sums.maximumError, Double(piece.maximumError))
            sums.maximumSignal = max(sums.maximumSignal, Double(choices[block].absmax))
        }
    }

    private mutating func flushPending(_ workplace: Workplace) throws(QuantizationError) {
        guard !pending.isEmpty else { return }
        try workplace.write(pending.span, at: placement.absmax.offset + (blocksDone - pending.count) * 4)
        pending.removeAll(keepingCapacity: true)
    }
}
