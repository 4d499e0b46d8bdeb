import Tensors

/// Writes one weight as compressed-tensors or MLX hold it: codes, and a scale for each group or each row.
///
/// Groups lie one behind the other in codes and scales alike, so a group is the unit and rows do not matter; where a
/// row shares a scale, the row is the group.
struct GroupEncoder: TensorEncoder {
    private let entry: TensorEntry
    private let restored: RestoredType
    private let placement: GroupPlacement
    /// Weights and bytes of one group.
    private let elements: Int
    private let groupBytes: Int
    private let feed: ElementFeed
    private let crew: CoderCrew<GroupCoder>
    private var pending: [GroupScale] = []
    private var sums = QualitySums()
    private var groupsDone = 0

    /// Scales are written this many at a time.
    private static let pendingLimit = 1 << 14

    /// An encoder that codes on up to `threads` threads.
    init(entry: TensorEntry, recipe: Recipe, code: GroupedCode, placement: GroupPlacement, threads: Int) {
        self.entry = entry
        self.placement = placement
        restored = RestoredType(of: entry.type)
        let elements = recipe.groupSize == -1 ? entry.shape[1] : recipe.groupSize
        self.elements = elements
        groupBytes = code.bytes(of: elements)
        crew = CoderCrew(unitElements: elements, elements: entry.elementCount, threads: threads) { groups in
            GroupCoder(entry: entry, recipe: recipe, code: code, elements: elements, groups: groups)
        }
        feed = ElementFeed(type: entry.type, unitElements: elements, batchUnits: crew.batchUnits)
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        try feed.cut(bytes) { (stored, groups) throws(QuantizationError) in
            let (first, unitBytes, kernels) = (groupsDone, feed.unitBytes, workplace.kernels)
            let coders = crew.work(on: groups) { coder, share in
                let part = stored.extracting(share.lowerBound * unitBytes..<share.upperBound * unitBytes)
                coder.code(part, groups: share.count, from: first + share.lowerBound, kernels)
            }
            for coder in coders { try take(coder, workplace) }
        }
    }

    /// Writes and counts what a coder has made, in the order of the groups.
    private mutating func take(_ coder: GroupCoder, _ workplace: Workplace) throws(QuantizationError) {
        let groups = try coder.outcome.get()
        let codes = coder.codes
        try workplace.write(
            codes.span.extracting(first: groups * groupBytes),
            at: placement.codes.offset + groupsDone * groupBytes)
        for piece in coder.pieces { sums.add(piece) }
        sums.count += groups * elements
        groupsDone += groups
        pending.append(contentsOf: coder.scales[..<groups])
        if pending.count >= Self.pendingLimit { try flushScales(workplace) }
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        try flushScales(workplace)
        if let shape = placement.shape {
            let extents = entry.shape.map { Int64($0) }
            try workplace.write(extents.span, at: shape.offset)
        }
        let histogram = gather()
        return EncodedTensor(quality: TensorQuality(sums: sums, counts: histogram), counts: histogram)
    }

    /// The errors that all coders have counted; the largest weight that they have seen goes to `sums`.
    private mutating func gather() -> ErrorCounts {
        var histogram = ErrorCounts()
        crew.forEach { coder in
            histogram.add(coder.histogram)
            sums.maximumSignal = max(sums.maximumSignal, coder.maximumSignal)
        }
        return histogram
    }

    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        try flushScales(workplace)
        feed.save(to: &state)
        let histogram = gather()
        sums.save(to: &state)
        histogram.save(to: &state)
    }

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        groupsDone = try feed.restore(from: &state, taken: taken)
        sums = try QualitySums(from: &state, count: groupsDone * elements)
        crew.first.take(try ErrorCounts(from: &state, count: sums.count))
    }

    private mutating func flushScales(_ workplace: Workplace) throws(QuantizationError) {
        guard !pending.isEmpty else { return }
        let offset = (groupsDone - pending.count) * restored.width
        let values = pending.map { $0.storedValue }
        try write(values, at: placement.scales.offset + offset, workplace)
        if let place = placement.biases {
            let biases = pending.map { $0.storedBias }
            try write(biases, at: place.offset + offset, workplace)
        }
        pending.removeAll(keepingCapacity: true)
    }

    /// Writes values that the weight's type holds exactly.
    private func write(_ values: [Float], at offset: Int, _ workplace: Workplace) throws(QuantizationError) {
        guard restored != .f32 else { return try workplace.write(values.span, at: offset) }
        let halves = values.map { value in
            restored == .f16 ? HalfOctets.bits(value) : UInt16(truncatingIfNeeded: value.bitPattern >> 16)
        }
        try workplace.write(halves.span, at: offset)
    }
}
