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
        let size = CrewSize(unitElements: elements, elements: entry.elementCount, threads: threads)
        crew = CoderCrew(size) {
            GroupCoder(entry: entry, recipe: recipe, code: code, elements: elements, groups: size.shareUnits)
        } room: { groups in
            GroupCoder.Made(code: code, elements: elements, groups: groups)
        }
        feed = ElementFeed(type: entry.type, unitElements: elements, batchUnits: size.batchUnits)
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        try feed.cut(bytes) { (head, whole) throws(QuantizationError) in
            try crew.work(head, whole, unitBytes: feed.unitBytes, from: groupsDone, workplace) {
                (made, groups) throws(QuantizationError) in
                try workplace.write(
                    made.codes.span.extracting(first: groups * groupBytes),
                    at: placement.codes.offset + groupsDone * groupBytes)
                for piece in made.pieces { sums.add(piece) }
                sums.count += groups * elements
                groupsDone += groups
                pending.append(contentsOf: made.scales[..<groups])
                if pending.count >= Self.pendingLimit { try flushScales(workplace) }
            }
        }
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        try flushScales(workplace)
        if let shape = placement.shape {
            let extents = entry.shape.map { Int64($0) }
            try workplace.write(extents.span, at: shape.offset)
        }
        let histogram = crew.gather(&sums)
        return EncodedTensor(quality: TensorQuality(sums: sums, counts: histogram), counts: histogram)
    }

    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        try flushScales(workplace)
        crew.save(feed, &sums, to: &state)
    }

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        groupsDone = try crew.restore(feed, &sums, from: &state, taken: taken)
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
