import Tensors

/// Cuts a tensor's bytes into whole units of elements and hands them out as they are stored.
///
/// A unit is a block, a group or a row: what must be seen at once. Whole units inside a piece are used where they lie;
/// only a unit that is cut by the end of a piece is carried over.
final class ElementFeed {
    let type: ElementType
    let unitElements: Int
    /// Bytes of one unit in the input.
    let unitBytes: Int
    /// Most units handed out at once, the one that was carried over not counted.
    let batchUnits: Int
    private var carried: [UInt8] = []

    /// A feed that hands out at most `batchUnits` at once.
    init(type: ElementType, unitElements: Int, batchUnits: Int) {
        self.type = type
        self.unitElements = unitElements
        self.batchUnits = batchUnits
        unitBytes = unitElements * (type.bitWidth / 8)
    }

    /// Calls `body` until `bytes` is used up, with the unit that was carried over, or nothing, and with the whole units
    /// behind it; both as they are stored.
    func cut(
        _ bytes: RawSpan, _ body: (_ head: RawSpan, _ whole: RawSpan) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        var rest = bytes
        var head: [UInt8] = []
        if !carried.isEmpty {
            let missing = min(unitBytes - carried.count, rest.byteCount)
            carried.append(rest.extracting(first: missing))
            rest = rest.extracting(droppingFirst: missing)
            guard carried.count == unitBytes else { return }
            swap(&head, &carried)
        }
        while !head.isEmpty || rest.byteCount >= unitBytes {
            let units = min(batchUnits, rest.byteCount / unitBytes)
            try body(unsafe head.span.bytes, rest.extracting(first: units * unitBytes))
            rest = rest.extracting(droppingFirst: units * unitBytes)
            head = []
        }
        if rest.byteCount > 0 {
            carried.reserveCapacity(unitBytes)
            carried.append(rest)
        }
    }

    /// Calls `body` with the unfinished last unit as it is stored, and the number of its elements, if there is one that
    /// it was not called with before.
    func flush(_ body: (RawSpan, Int) throws(QuantizationError) -> Void) throws(QuantizationError) {
        guard !carried.isEmpty else { return }
        var rest: [UInt8] = []
        swap(&rest, &carried)
        try body(unsafe rest.span.bytes, rest.count / (type.bitWidth / 8))
    }

    /// Adds the unfinished unit.
    func save(to state: inout StateWriter) { state.add(carried) }

    /// Takes up the unfinished unit behind the first `taken` bytes, and returns how many whole units lie before it.
    func restore(from state: inout StateReader, taken: Int) throws(QuantizationError) -> Int {
        carried = try state.raw(taken % unitBytes)
        return taken / unitBytes
    }
}

extension TensorEncoder {
    /// Takes bytes that the caller has held.
    mutating func consume(_ held: Span<UInt8>, _ workplace: Workplace) throws(QuantizationError) {
        try consume(unsafe held.bytes, workplace)
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

    /// Calls `body` with whole NF4 blocks: as they are stored where the kernels read that, else as float32.
    mutating func readBlocks(
        _ stored: RawSpan, _ kernels: Kernels, _ body: (RawSpan, ElementType) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        guard !kernels.readsStored(type) else { return try body(stored, type) }
        try read(stored, kernels) { (x) throws(QuantizationError) in try body(x, .f32) }
    }

    /// The index of the first NaN or infinity, where there is one.
    mutating func firstNonFinite(_ stored: RawSpan, _ kernels: Kernels) throws(QuantizationError) -> Int {
        var index = 0
        try read(stored, kernels) { (x) throws(QuantizationError) in
            index = kernels.firstNonFinite(x, count: x.byteCount / 4) ?? 0
        }
        return index
    }

    /// `read` for bytes that the caller has held.
    mutating func read(
        _ held: Span<UInt8>, _ kernels: Kernels, _ body: (RawSpan) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        try read(unsafe held.bytes, kernels, body)
    }
}
