import Tensors

/// Writes one Linear in AWQ's layout by its weights alone, while they arrive.
///
/// Each group's grid is AutoAWQ's, or in `mode=best` one of less error; codes are rounded to nearest in float16, as
/// `AWQGrid` says. What is needed whole, a layer with activations or folded scales, is an `AWQLayer`.
struct AWQEncoder: TensorEncoder {
    private let entry: TensorEntry
    private let placement: AWQPlacement
    private let groupSize: Int
    private let feed: ElementFeed
    private let crew: CoderCrew<GroupCoder>
    private var tile: AWQTile
    private var sums = QualitySums()
    private var groupsDone = 0

    /// An encoder that codes on up to `threads` threads; its tiles lie on scratch from `scratchBase` on.
    init(entry: TensorEntry, recipe: Recipe, placement: AWQPlacement, scratchBase: Int, threads: Int) {
        self.entry = entry
        self.placement = placement
        let (rows, columns) = (entry.shape[0], entry.shape[1])
        let groupSize = recipe.groupSize == -1 ? columns : recipe.groupSize
        self.groupSize = groupSize
        let size = CrewSize(unitElements: groupSize, elements: entry.elementCount, threads: threads)
        crew = CoderCrew(size) {
            GroupCoder(entry: entry, recipe: recipe, code: .zeroPoint, elements: groupSize, groups: size.shareUnits)
        } room: { groups in
            GroupCoder.Made(code: .zeroPoint, elements: groupSize, groups: groups)
        }
        feed = ElementFeed(type: entry.type, unitElements: groupSize, batchUnits: size.batchUnits)
        tile = AWQTile(placement: placement, rows: rows, columns: columns, groupSize: groupSize, scratch: scratchBase)
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        try feed.cut(bytes) { (head, whole) throws(QuantizationError) in
            try crew.work(head, whole, unitBytes: feed.unitBytes, from: groupsDone, workplace) {
                (made, groups) throws(QuantizationError) in
                try tile.add(made, groups, workplace)
                for piece in made.pieces { sums.add(piece) }
                sums.count += groups * groupSize
                groupsDone += groups
            }
        }
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        try tile.gather(workplace)
        if let offset = placement.inputScales {
            try workplace.write([Float](repeating: 1, count: entry.shape[1]).span, at: offset)
        }
        let histogram = crew.gather(&sums)
        return EncodedTensor(quality: TensorQuality(sums: sums, counts: histogram), counts: histogram)
    }

    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        try tile.stage(workplace)
        crew.save(feed, &sums, to: &state)
    }

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        groupsDone = try crew.restore(feed, &sums, from: &state, taken: taken)
        try tile.restore(groupsDone: groupsDone, workplace)
    }
}
