import Tensors

/// Writes one weight as LLM.int8: 8-bit codes and one scale for each row.
///
/// Source: `int8_vectorwise_quant` of bitsandbytes 0.50.2, CPU backend.
struct Int8Encoder: TensorEncoder {
    private let columns: Int
    private let places: (codes: Place, scales: Place, format: Place)
    private let feed: ElementFeed
    private let crew: CoderCrew<Int8Coder>
    private var sums = QualitySums()
    private var rowsDone = 0

    /// An encoder that codes on up to `threads` threads.
    init(entry: TensorEntry, places: (codes: Place, scales: Place, format: Place), threads: Int) {
        let columns = entry.shape[1]
        self.columns = columns
        self.places = places
        let size = CrewSize(unitElements: columns, elements: entry.elementCount, threads: threads)
        crew = CoderCrew(size) {
            Int8Coder(entry: entry)
        } room: { rows in
            Int8Coder.Made(rows: rows, columns: columns)
        }
        feed = ElementFeed(type: entry.type, unitElements: columns, batchUnits: size.batchUnits)
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        try feed.cut(bytes) { (head, whole) throws(QuantizationError) in
            try crew.work(head, whole, unitBytes: feed.unitBytes, from: rowsDone, workplace) {
                (made, rows) throws(QuantizationError) in
                try workplace.write(
                    made.codes.span.extracting(first: rows * columns), at: places.codes.offset + rowsDone * columns)
                for piece in made.pieces { sums.add(piece) }
                sums.count += rows * columns
                try workplace.write(made.scales.span, at: places.scales.offset + rowsDone * 4)
                rowsDone += rows
            }
        }
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        try workplace.write([UInt8(0)].span, at: places.format.offset)
        let histogram = crew.gather(&sums)
        return EncodedTensor(quality: TensorQuality(sums: sums, counts: histogram), counts: histogram)
    }

    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        crew.save(feed, &sums, to: &state)
    }

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        rowsDone = try crew.restore(feed, &sums, from: &state, taken: taken)
    }
}
