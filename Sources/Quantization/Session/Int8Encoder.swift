import Tensors

/// Writes one weight as LLM.int8: 8-bit codes and one scale for each row.
///
/// Source: `int8_vectorwise_quant` of bitsandbytes 0.50.2, CPU backend.
struct Int8Encoder: TensorEncoder {
    private let name: String
    private let columns: Int
    private let places: (codes: Place, scales: Place, format: Place)
    private let feed: ElementFeed
    private var codes: [Int8]
    private var scales: [Float] = []
    private var histogram = ErrorCounts()
    private var sums = QualitySums()
    private var rowsDone = 0

    /// float16 holds no larger magnitude, and the library converts weights to float16 first.
    static let largestWeight: Float = 65504
    /// Error sums are taken over pieces of this many elements.
    private static let pieceElements = 4096
    /// Scales are written this many at a time.
    private static let scaleLimit = 1 << 14

    init(entry: TensorEntry, places: (codes: Place, scales: Place, format: Place)) {
        name = entry.name
        columns = entry.shape[1]
        self.places = places
        feed = ElementFeed(type: entry.type, unitElements: columns, elements: entry.elementCount)
        codes = [Int8](repeating: 0, count: feed.batchUnits * columns)
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        try feed.feed(bytes, workplace.kernels) { (x, rows) throws(QuantizationError) in
            histogram.willCount(rows * columns)
            for row in 0..<rows {
                try encode(x.extracting(row * columns * 4..<(row + 1) * columns * 4), row, workplace)
            }
            try workplace.write(
                codes.span.extracting(first: rows * columns),
                at: places.codes.offset + rowsDone * columns)
            sums.count += rows * columns
            rowsDone += rows
            if scales.count >= Self.scaleLimit { try flushScales(workplace) }
        }
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        try flushScales(workplace)
        try workplace.write([UInt8(0)].span, at: places.format.offset)
        return EncodedTensor(quality: TensorQuality(sums: sums, counts: histogram), counts: histogram)
    }

    private mutating func encode(
        _ row: RawSpan, _ rowInBatch: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        let kernels = workplace.kernels
        let largest = kernels.absmax(row, count: columns)
        guard largest <= Self.largestWeight else { throw refusal(row, rowInBatch, kernels) }
        let scale = HalfPrecision.roundedToFloat16(largest)
        scales.append(scale)
        sums.maximumSignal = max(sums.maximumSignal, Double(largest))
        for start in stride(from: 0, to: columns, by: Self.pieceElements) {
            let count = min(Self.pieceElements, columns - start)
            var piece = ErrorSums()
            kernels.int8(
                row.extracting(start * 4..<(start + count) * 4), count: count, absmax: scale, codes: &codes,
                at: rowInBatch * columns + start, sums: &piece, histogram: &histogram.recent)
            sums.add(piece)
        }
    }

    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        try flushScales(workplace)
        feed.save(to: &state)
        sums.save(to: &state)
        histogram.save(to: &state)
    }

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        rowsDone = try feed.restore(from: &state, taken: taken)
        sums = try QualitySums(from: &state, count: rowsDone * columns)
        histogram = try ErrorCounts(from: &state, count: sums.count)
    }

    private func refusal(_ row: RawSpan, _ rowInBatch: Int, _ kernels: Kernels) -> QuantizationError {
        let first = (rowsDone + rowInBatch) * columns
        if let index = kernels.firstNonFinite(row, count: columns) {
            return .nonFinite(tensor: name, index: first + index)
        }
        let (index, value) = kernels.firstBeyond(row, count: columns, limit: Self.largestWeight)
        return .outOfRange(tensor: name, index: first + index, value: value, limit: Self.largestWeight)
    }

    private mutating func flushScales(_ workplace: Workplace) throws(QuantizationError) {
        guard !scales.isEmpty else { return }
        try workplace.write(scales.span, at: places.scales.offset + (rowsDone - scales.count) * 4)
        scales.removeAll(keepingCapacity: true)
    }
}
