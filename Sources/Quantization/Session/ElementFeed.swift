import Tensors

/// Cuts a tensor's bytes into whole units of elements and hands them out, as they are stored or as float32.
///
/// A unit is a block, a group or a row: what must be seen at once. Whole units inside a piece are used where they lie;
/// only a unit that is cut by the end of a piece is carried over.
final class ElementFeed {
    let type: ElementType
    /// Bytes of one unit in the input.
    let unitBytes: Int
    /// Most units handed out at once.
    let batchUnits: Int
    private var carried: [UInt8] = []
    private var widened: WidenedElements

    /// About this many elements are worked on at a time: 256 KiB as float32, which stays in the L2 cache.
    static let batchElements = 1 << 16

    /// A feed for a tensor of `elements`; the buffers are no larger than it needs, for a file may hold many tiny ones.
    convenience init(type: ElementType, unitElements: Int, elements: Int) {
        let units = max(1, min(Self.batchElements / unitElements, (elements - 1) / unitElements + 1))
        self.init(type: type, unitElements: unitElements, batchUnits: units)
    }

    /// A feed that hands out at most `batchUnits` at once.
    init(type: ElementType, unitElements: Int, batchUnits: Int) {
        self.type = type
        self.batchUnits = batchUnits
        unitBytes = unitElements * (type.bitWidth / 8)
        widened = WidenedElements(of: type)
    }

    /// Calls `body` with stored elements and the number of whole units in them until `bytes` is used up.
    func cut(
        _ bytes: RawSpan, _ body: (RawSpan, Int) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        var rest = bytes
        if !carried.isEmpty {
            let missing = min(unitBytes - carried.count, rest.byteCount)
            carried.append(rest.extracting(first: missing))
            rest = rest.extracting(droppingFirst: missing)
            guard carried.count == unitBytes else { return }
            let unit = carried
            carried = []
            try body(unsafe unit.span.bytes, 1)
        }
        while rest.byteCount >= unitBytes {
            let units = min(batchUnits, rest.byteCount / unitBytes)
            try body(rest.extracting(first: units * unitBytes), units)
            rest = rest.extracting(droppingFirst: units * unitBytes)
        }
        if rest.byteCount > 0 {
            carried.reserveCapacity(unitBytes)
            carried.append(rest)
        }
    }

    /// Calls `body` with float32 bytes and the number of whole units in them until `bytes` is used up.
    func feed(
        _ bytes: RawSpan, _ kernels: Kernels,
        _ body: (RawSpan, Int) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        try cut(bytes) { (stored, units) throws(QuantizationError) in
            try widened.read(stored, kernels) { (x) throws(QuantizationError) in try body(x, units) }
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
        let elements = carried.count / (type.bitWidth / 8)
        try widened.read(unsafe rest.span.bytes, kernels) { (x) throws(QuantizationError) in try body(x, elements) }
    }

    /// Adds the unfinished unit.
    func save(to state: inout StateWriter) { state.add(carried) }

    /// Takes up the unfinished unit behind the first `taken` bytes, and returns how many whole units lie before it.
    func restore(from state: inout StateReader, taken: Int) throws(QuantizationError) -> Int {
        carried = try state.raw(taken % unitBytes)
        return taken / unitBytes
    }
}

/// Stored elements as float32: where they lie, or widened into a buffer that grows to the most that is asked for.
struct WidenedElements {
    private let type: ElementType
    private var values: [Float] = []

    init(of type: ElementType) {
        self.type = type
    }

    /// Calls `body` with the float32 bytes of all of `stored`.
    mutating func read(
        _ stored: RawSpan, _ kernels: Kernels, _ body: (RawSpan) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        guard type != .f32 else { return try body(stored) }
        let count = stored.byteCount / (type.bitWidth / 8)
        if values.count < count { values = [Float](repeating: 0, count: count) }
        kernels.widen(stored, type: type, into: &values)
        // Held by its own name: a part of self cannot be lent while `body` may reach self.
        let held = values
        try body(unsafe held.span.extracting(first: count).bytes)
    }
}
