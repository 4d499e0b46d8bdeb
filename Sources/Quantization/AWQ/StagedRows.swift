import Tensors

/// Reads rows of a stored matrix as Float, a piece at a time.
struct StagedRows {
    let tensor: StagedTensor
    let storage: any StoredBytes
    /// The name that errors give the tensor.
    let name: String
    /// The largest magnitude allowed.
    let limit: Float

    private var singles: [Float] = []
    private var halves: [UInt16] = []
    private var doubles: [Double] = []

    /// Rows of `tensor`, each refused if it holds NaN, an infinity or a magnitude above `limit`.
    init(_ tensor: StagedTensor, storage: any StoredBytes, name: String, limit: Float = .greatestFiniteMagnitude) {
        self.tensor = tensor
        self.storage = storage
        self.name = name
        self.limit = limit
    }

    /// Fills `values` from `start` with the given columns of one row.
    mutating func read(
        row: Int, columns: Range<Int>, into values: inout [Float], at start: Int
    ) throws(QuantizationError) {
        let width = tensor.type.bitWidth / 8
        let offset = tensor.offset + (row * tensor.columns + columns.lowerBound) * width
        let end = start + columns.count
        switch tensor.type {
        case .f32:
            try Self.fill(&singles, count: columns.count, from: storage, at: offset)
            for i in 0..<columns.count { values[start + i] = singles[i] }
        case .f64:
            try readDoubles(row: row, columns: columns, at: offset, into: &values, from: start)
        default:
            try readHalves(columns.count, at: offset, into: &values, from: start)
        }
        try check(values.span.extracting(start..<end), row: row, firstColumn: columns.lowerBound)
    }

    /// Reads whole rows, one after the other from the start of `values`.
    mutating func read(rows: Range<Int>, into values: inout [Float]) throws(QuantizationError) {
        for row in rows {
            let start = (row - rows.lowerBound) * tensor.columns
            try read(row: row, columns: 0..<tensor.columns, into: &values, at: start)
        }
    }

    /// Makes `buffer` hold the `count` elements at `offset`.
    ///
    /// The bytes of an array of numbers may take any value, which is what makes writing them raw safe.
    private static func fill<Number: BitwiseCopyable & ExpressibleByIntegerLiteral>(
        _ buffer: inout [Number], count: Int, from storage: any StoredBytes, at offset: Int
    ) throws(QuantizationError) {
        if buffer.count != count { buffer = Array(repeating: 0, count: count) }
        var span = buffer.mutableSpan
        var bytes = unsafe span.mutableBytes
        do { try storage.read(into: &bytes, at: offset) } catch { throw .storage(error) }
    }

    private mutating func readHalves(
        _ count: Int, at offset: Int, into values: inout [Float], from start: Int
    ) throws(QuantizationError) {
        try Self.fill(&halves, count: count, from: storage, at: offset)
        if tensor.type == .bf16 {
            for i in 0..<count { values[start + i] = Float(bitPattern: UInt32(halves[i]) << 16) }
        } else {
            for i in 0..<count { values[start + i] = HalfOctets.value(halves[i]) }
        }
    }

    private mutating func readDoubles(
        row: Int, columns: Range<Int>, at offset: Int, into values: inout [Float], from start: Int
    ) throws(QuantizationError) {
        try Self.fill(&doubles, count: columns.count, from: storage, at: offset)
        for i in doubles.indices {
            let narrowed = Float(doubles[i])
            if narrowed.isInfinite && doubles[i].isFinite {
                let index = row * tensor.columns + columns.lowerBound + i
                let held = narrowed > 0 ? Float.greatestFiniteMagnitude : -.greatestFiniteMagnitude
                throw .outOfRange(tensor: name, index: index, value: held, limit: limit)
            }
            values[start + i] = narrowed
        }
    }

    private func check(_ values: Span<Float>, row: Int, firstColumn: Int) throws(QuantizationError) {
        var greatest: UInt32 = 0
        for i in values.indices { greatest = max(greatest, values[i].bitPattern & 0x7FFF_FFFF) }
        if greatest <= limit.bitPattern { return }
        for i in values.indices where !(values[i].magnitude <= limit) {
            let index = row * tensor.columns + firstColumn + i
            if !values[i].isFinite { throw .nonFinite(tensor: name, index: index) }
            throw .outOfRange(tensor: name, index: index, value: values[i], limit: limit)
        }
    }
}
