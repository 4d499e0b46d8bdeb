import Tensors

/// Widens FP8 to BF16 on its way to another encoder, and scales it there where it comes in scaled blocks.
///
/// What comes out is the BF16 checkpoint of the same weights, so the artifact is that of the BF16 checkpoint.
struct FP8Encoder: TensorEncoder {
    private let table: [UInt16]
    private var scales: BlockScales?
    private var next: any TensorEncoder
    private var widened: [UInt16]
    private var position = 0

    /// Elements that are widened at a time: 128 KiB as BF16, which stay in the L2 cache.
    private static let batchElements = 1 << 16

    /// Widens `entry` for `next`.
    init(entry: TensorEntry, scales: BlockScales?, next: any TensorEncoder) {
        table = FP8Widening.table(of: entry.type)
        self.scales = scales
        self.next = next
        widened = [UInt16](repeating: 0, count: min(Self.batchElements, entry.elementCount))
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        var rest = bytes
        while rest.byteCount > 0 {
            let count = min(widened.count, rest.byteCount)
            FP8Widening.widen(rest.extracting(first: count), by: table, into: &widened)
            try scales?.apply(to: &widened, count: count, from: position, workplace)
            // Held by its own name while `next` changes: a part of self cannot be lent then.
            let values = widened
            try next.consume(unsafe values.span.extracting(first: count).bytes, workplace)
            position += count
            rest = rest.extracting(droppingFirst: count)
        }
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        try next.finish(workplace)
    }

    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        try next.save(to: &state, workplace)
    }

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        position = taken
        try next.restore(from: &state, taken: 2 * taken, workplace)
    }
}

/// The scales of one weight's blocks, read from scratch storage as the weight goes by.
struct BlockScales {
    /// Where the scales lie in scratch, as float32.
    private let offset: Int
    private let count: Int
    /// Columns of the weight, and of the scales.
    private let columns: Int
    private let blockColumns: Int
    /// Some consecutive scales.
    private var window: [Float]
    private var held = 0..<0

    /// Scales held at once.
    private static let windowCount = 4096

    /// The scales at `offset` in scratch of a weight [rows, columns].
    init(of weight: TensorEntry, at offset: Int) {
        self.offset = offset
        columns = weight.shape[1]
        blockColumns = (columns - 1) / BlockScaling.side + 1
        count = ((weight.shape[0] - 1) / BlockScaling.side + 1) * blockColumns
        window = [Float](repeating: 0, count: min(Self.windowCount, count))
    }

    /// Scales `count` BF16 values, the first of which is element `position` of the weight.
    mutating func apply(
        to values: inout [UInt16], count: Int, from position: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        let side = BlockScaling.side
        var done = 0
        while done < count {
            let (row, column) = (position + done).quotientAndRemainder(dividingBy: columns)
            let run = min(count - done, columns - column, side - column % side)
            let factor = try scale(row / side * blockColumns + column / side, workplace)
            FP8Widening.scale(&values, done..<done + run, by: factor)
            done += run
        }
    }

    private mutating func scale(_ index: Int, _ workplace: Workplace) throws(QuantizationError) -> Float {
        if !held.contains(index) {
            held = index..<min(count, index + window.count)
            try workplace.unstage(into: &window, count: held.count, at: offset + index * 4)
        }
        return window[index - held.lowerBound]
    }
}

/// Keeps the scales of an FP8 weight on scratch storage as float32, and refuses those that can be none.
struct ScaleEncoder: TensorEncoder {
    private let name: String
    private let offset: Int
    private let feed: ElementFeed
    private var values: [Float]
    private var done = 0

    /// Scales are widened this many at a time.
    private static let batchElements = 1 << 14

    /// Stages `entry` from `offset` on.
    init(entry: TensorEntry, offset: Int) {
        name = entry.name
        self.offset = offset
        feed = ElementFeed(
            type: entry.type, unitElements: 1, batchUnits: max(1, min(Self.batchElements, entry.elementCount)))
        values = [Float](repeating: 0, count: feed.batchUnits)
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        try feed.cut(bytes) { (head, whole) throws(QuantizationError) in
            try stage(head, workplace)
            try stage(whole, workplace)
        }
    }

    private mutating func stage(_ stored: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        let count = stored.byteCount / feed.unitBytes
        guard count > 0 else { return }
        workplace.kernels.widen(stored, type: feed.type, into: &values)
        for index in 0..<count where !(values[index] > 0 && values[index].isFinite) {
            throw .scales(
                code: "fp8.scale_value", tensor: name,
                detail: "Element \(done + index) of '\(name)' is \(values[index]); a scale is finite and positive.")
        }
        try workplace.stage(values.span.extracting(first: count), at: offset + done * 4)
        done += count
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor { EncodedTensor() }

    mutating func save(to state: inout StateWriter, _ workplace: Workplace) throws(QuantizationError) {
        feed.save(to: &state)
    }

    mutating func restore(
        from state: inout StateReader, taken: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        done = try feed.restore(from: &state, taken: taken)
    }
}
