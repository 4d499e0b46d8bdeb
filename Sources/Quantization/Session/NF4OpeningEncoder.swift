import Tensors

/// Holds the opening of a weight until the offset of its scales is chosen, then hands all of it to an encoder.
///
/// The offset that double quantization takes from every scale is free in the format, and the same for the whole tensor:
/// `mode=best` takes the mean of the opening's searched scales. Where the opening then has more error than the
/// reference's codes could have, the reference's offset, the mean of absmax values, is tried as well, and the better
/// one stays. Weights that were NF4 before have no error but that of their scales, and none under their old offset, for
/// which bitsandbytes took the mean of all absmax values: a tensor that goes on behind an opening which the reference's
/// codes explain gets these, and its absmax values wait on scratch until both offsets can be compared (decision 7).
struct NF4OpeningEncoder: TensorEncoder {
    private let entry: TensorEntry
    private let recipe: Recipe
    private let placement: NF4Placement
    private let scratchBase: Int
    private let threads: Int
    /// The first bytes of the tensor, until there is an encoder for them.
    private var opening: [UInt8]? = []
    private let openingBytes: Int
    private var next: (any TensorEncoder)?
    /// With the reference's codes, the offset that competes with the mean of all absmax values.
    private var rivalOffset: Float?

    /// Bytes of the tensor that the offset is chosen from; at least one group.
    private static let openingLimit = 1 << 20
    /// Every eighth block of the opening is looked at.
    private static let openingStride = 8

    /// An encoder that codes on up to `threads` threads; `scratchBase` is where the reference's absmax values may wait.
    init(entry: TensorEntry, recipe: Recipe, placement: NF4Placement, scratchBase: Int, threads: Int) {
        (self.entry, self.recipe, self.placement) = (entry, recipe, placement)
        (self.scratchBase, self.threads) = (scratchBase, threads)
        openingBytes = Self.openingBytes(of: entry, blockSize: recipe.blockSize)
    }

    /// Whether a tensor is longer than its opening, so that its absmax values may have to wait on scratch.
    static func mayNeedScratch(_ entry: TensorEntry, blockSize: Int) -> Bool {
        entry.bytes.count > openingBytes(of: entry, blockSize: blockSize)
    }

    private static func openingBytes(of entry: TensorEntry, blockSize: Int) -> Int {
        max(openingLimit, NestedQuantizer.blockSize * blockSize * (entry.type.bitWidth / 8))
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        guard var held = opening else {
            try next?.consume(bytes, workplace)
            return
        }
        opening = nil  // so that `held` alone owns its buffer and nothing is copied
        if held.isEmpty { held.reserveCapacity(min(openingBytes, entry.bytes.count)) }
        let taken = min(openingBytes - held.count, bytes.byteCount)
        held.append(bytes.extracting(first: taken))
        guard held.count == openingBytes else { return opening = held }
        try open(held, workplace)
        try next?.consume(bytes.extracting(droppingFirst: taken), workplace)
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        if let opening { try open(opening, workplace) }
        return try next?.finish(workplace) ?? EncodedTensor()
    }

    /// Chooses the encoder and hands it what was held.
    private mutating func open(_ held: [UInt8], _ workplace: Workplace) throws(QuantizationError) {
        let own = NestedQuantizer.offset(
            of: try choices(held, every: Self.openingStride, workplace.kernels).map(\.scale))
        let best = try code(held, own, workplace)
        // Squares that leave float32 decide nothing.
        guard best.sums.squaredError.isFinite else { return }
        if held.count < entry.bytes.count, best.leastError <= best.sums.signal * explained {
            next = nil  // so that no two crews are there at once
            rivalOffset = own
            next = makeReference(rivalOffset: own)
            try next?.consume(held.span, workplace)
        } else if best.sums.squaredError > best.leastError {
            let absmax = try choices(held, every: 1, workplace.kernels).map(\.absmax)
            var mean = TorchMean(count: absmax.count)
            mean.add(absmax.span)
            // Scales that no search measures may leave the mean of no use.
            guard case let offset = mean.finish(), offset.isFinite else { return }
            let other = try code(held, offset, workplace)
            if !(other.sums.squaredError <= best.sums.squaredError) { _ = try code(held, own, workplace) }
        }
    }

    /// The share of Σx² that restored NF4 leaves when its scales are found again: four times what rounding to the type
    /// costs, and what float32 sums can tell. An opening of zeros leaves nothing.
    private var explained: Double {
        switch RestoredType(of: entry.type) {
        case .f32: 0x1p-28
        case .f16: 0x1p-23
        case .bf16: 0x1p-17
        }
    }

    /// Codes what was held under `offset`, to its end if it is the whole tensor, in place of what was coded before.
    private mutating func code(
        _ held: [UInt8], _ offset: Float, _ workplace: Workplace
    ) throws(QuantizationError) -> (sums: QualitySums, leastError: Double) {
        next = nil
        var encoder = makeBest(offset: offset)
        try encoder.consume(held.span, workplace)
        if held.count == entry.bytes.count { try encoder.encodeRest(workplace) }
        next = encoder
        return (encoder.sums, encoder.leastError)
    }

    private func makeBest(offset: Float) -> NF4BestEncoder {
        NF4BestEncoder(entry: entry, recipe: recipe, placement: placement, offset: offset, threads: threads)
    }

    private func makeReference(rivalOffset: Float) -> NF4Encoder {
        NF4Encoder(
            entry: entry, recipe: recipe, placement: placement, scratchBase: scratchBase, rivalOffset: rivalOffset,
            threads: threads)
    }

    /// What the search finds in every `n`th block of the opening.
    private func choices(_ held: [UInt8], every n: Int, _ kernels: Kernels) throws(QuantizationError) -> [NF4Choice] {
        let blockBytes = recipe.blockSize * (entry.type.bitWidth / 8)
        var widened = WidenedElements(of: entry.type)
        var found: [NF4Choice] = []
        var choice = [NF4Choice()]
        for start in stride(from: 0, to: held.count, by: n * blockBytes) {
            let block = held.span.extracting(start..<min(start + blockBytes, held.count))
            try widened.read(block, kernels) { (x) throws(QuantizationError) in
                kernels.nf4Search(
                    x, type: .f32, count: x.byteCount / 4, blockSize: recipe.blockSize, restored: .f32,
                    choices: &choice)
                found.append(choice[0])
            }
        }
        return found
    }

    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        if let opening { return state.add(opening) }
        state.add(rivalOffset == nil ? 0 : 1)
        if let rivalOffset { state.add(rivalOffset) }
        try next?.save(to: &state, workplace)
    }

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        if taken < openingBytes { return opening = try state.raw(taken) }
        opening = nil
        if try state.integer(atMost: 1) > 0 {
            let offset = try state.finiteFloat()
            rivalOffset = offset
            next = makeReference(rivalOffset: offset)
        } else {
            next = makeBest(offset: 0)
        }
        try next?.restore(from: &state, taken: taken, workplace)
    }
}
