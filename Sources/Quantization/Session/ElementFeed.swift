import Tensors

/// Cuts a tensor's bytes into whole units of elements and hands them out as float32.
///
/// A unit is a block or a row: what must be seen at once. Whole units inside a piece are used where they lie; only a
/// unit that is cut by the end of a piece is carried over.
final class ElementFeed {
    let type: ElementType
    /// Bytes of one unit in the input.
    let unitBytes: Int
    /// Most units handed out at once.
    let batchUnits: Int
    private var carried: [UInt8] = []
    private var widened: [Float]

    /// About this many elements are worked on at a time: 256 KiB as float32, which stays in the L2 cache.
    static let batchElements = 1 << 16

    /// A feed for a tensor of `elements`; the buffers are no larger than it needs, for a file may hold many tiny ones.
    init(type: ElementType, unitElements: Int, elements: Int) {
        self.type = type
        unitBytes = unitElements * (type.bitWidth / 8)
        batchUnits = max(1, min(Self.batchElements / unitElements, (elements - 1) / unitElements + 1))
        widened = type == .f32 ? [] : [Float](repeating: 0, count: batchUnits * unitElements)
    }

    /// Calls `body` with float32 bytes and the number of whole units in them until `bytes` is used up.
    func feed(
        _ bytes: RawSpan, _ kernels: Kernels,
        _ body: (RawSpan, Int) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        var rest = bytes
        if !carried.isEmpty {
            let missing = min(unitBytes - carried.count, rest.byteCount)
            carried.append(rest.extracting(first: missing))
            rest = rest.extracting(droppingFirst: missing)
            guard carried.count == unitBytes else { return }
            let unit = carried
            carried = []
            try hand(unsafe unit.span.bytes, units: 1, kernels, body)
        }
        while rest.byteCount >= unitBytes {
            let units = min(batchUnits, rest.byteCount / unitBytes)
            try hand(rest.extracting(first: units * unitBytes), units: units, kernels, body)
            rest = rest.extracting(droppingFirst: units * unitBytes)
        }
        if rest.byteCount > 0 {
            carried.reserveCapacity(unitBytes)
            carried.append(rest)
        }
    }

    /// The same for bytes that the caller has held.
    func feed(
        _ held: Span<UInt8>, _ kernels: Kernels,
        _ body: (RawSpan, Int) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        try feed(unsafe held.bytes, kernels, body)
    }

    /// Calls `body` with the elements of the unfinished last unit and their number, if there are any.
    func flush(
        _ kernels: Kernels, _ body: (RawSpan, Int) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        guard !carried.isEmpty else { return }
        let rest = carried
        try hand(unsafe rest.span.bytes, units: carried.count / (type.bitWidth / 8), kernels, body)
    }

    private func hand(
        _ bytes: RawSpan, units: Int, _ kernels: Kernels,
        _ body: (RawSpan, Int) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        guard type != .f32 else { return try body(bytes, units) }
        kernels.widen(bytes, type: type, into: &widened)
        let values = widened
        try body(unsafe values.span.extracting(first: bytes.byteCount / (type.bitWidth / 8)).bytes, units)
    }
}
