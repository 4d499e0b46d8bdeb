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
    private var sums = QualitySums()
    private var groupsDone = 0

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
                try write(made.scales[..<groups], workplace)
                groupsDone += groups
            }
        }
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        if let shape = placement.shape {
            let extents = entry.shape.map { Int64($0) }
            try workplace.write(extents.span, at: shape.offset)
        }
        let histogram = crew.gather(&sums)
        return EncodedTensor(quality: TensorQuality(sums: sums, counts: histogram), counts: histogram)
    }

    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        crew.save(feed, &sums, to: &state)
    }

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        groupsDone = try crew.restore(feed, &sums, from: &state, taken: taken)
    }

    /// Writes the scales of the groups behind `groupsDone`, and what lies beside them.
    private func write(_ scales: ArraySlice<GroupScale>, _ workplace: Workplace) throws(QuantizationError) {
        let offset = groupsDone * restored.width
        try workplace.write(scales.map { $0.storedValue }, as: restored, at: placement.scales.offset + offset)
        if let place = placement.biases {
            try workplace.write(scales.map { $0.storedBias }, as: restored, at: place.offset + offset)
        }
    }
}
