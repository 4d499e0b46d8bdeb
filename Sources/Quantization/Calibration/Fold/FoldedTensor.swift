import Tensors

/// A tensor that is written in its own type with scales folded into it: a norm, a bias, a router, a Linear that is not
/// coded.
///
/// Arithmetic is in float64 from the float32 value of each element, then rounded to float32 and to the type, each time
/// half to even.
struct FoldedTensor {
    /// The tensor's name, for errors.
    let name: String
    /// The type that is written: the tensor's own, F16 for the bias of a Linear that AWQ codes.
    let type: ElementType
    /// Each column's factor; nil for none.
    var columnScales: [Float]?
    /// What the last rows are divided by, as many as these; of a norm or a bias each element is a row.
    var rowDivisors: [Float]?
    /// Whether the model adds 1 to the stored element before it uses it.
    var addsOne = false

    /// Rows of `count` elements in their stored form, changed in place: row `first` of `rows` is the first of them.
    func scale(_ values: inout [Float], columns: Int, first: Int, rows: Int) {
        let one = addsOne ? 1.0 : 0
        for index in values.indices {
            let (row, column) = (first + index / columns, index % columns)
            var value = Double(values[index]) + one
            if let columnScales { value *= Double(columnScales[column]) }
            if let rowDivisors, row >= rows - rowDivisors.count {
                value /= Double(rowDivisors[row - (rows - rowDivisors.count)])
            }
            values[index] = Float(value - one)
        }
    }

    /// Reads the tensor from `source`, a vector as its only row, and writes it at `offset` of the artifact.
    ///
    /// Throws `nonFinite` for an element that is none, `outOfRange` for one that the type cannot hold any more.
    func write(
        _ source: inout StagedRows, isVector: Bool, at offset: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        let (rows, columns) = (source.tensor.rows, source.tensor.columns)
        let piece = max(1, Self.pieceElements / max(1, columns))
        for first in stride(from: 0, to: rows, by: piece) {
            let range = first..<min(rows, first + piece)
            var values = [Float](repeating: 0, count: range.count * columns)
            try source.read(rows: range, into: &values)
            scale(&values, columns: isVector ? 1 : columns, first: first, rows: isVector ? columns : rows)
            let place = offset + first * columns * type.bitWidth / 8
            try write(values, firstElement: first * columns, at: place, workplace)
        }
    }

    /// Elements that are held at a time, or one row.
    private static let pieceElements = 64 << 10

    /// Bytes that writing a tensor holds: a piece as read and as written, and its scales.
    static func workingBytes(of entry: TensorEntry) -> Int {
        (max(pieceElements, entry.shape.last ?? 1) + entry.elementCount / max(1, entry.shape.last ?? 1)) * 24
    }

    private func write(
        _ values: [Float], firstElement: Int, at offset: Int, _ workplace: Workplace
    ) throws(QuantizationError) {
        let restored = RestoredType(of: type)
        if let index = Narrowing.firstOverflow(values, count: values.count, in: restored) {
            throw .outOfRange(
                tensor: name, index: firstElement + index, value: values[index],
                limit: restored == .f16 ? 65504 : .greatestFiniteMagnitude)
        }
        switch type {
        case .f64:
            let doubles = values.map { Double($0) }
            try workplace.write(doubles.span, at: offset)
        case .f32: try workplace.write(values.span, at: offset)
        default:
            var halves = [UInt16](repeating: 0, count: values.count)
            Narrowing.narrow(values, count: values.count, to: restored, into: &halves)
            try workplace.write(halves.span, at: offset)
        }
    }
}

/// Scales as the operation in front of the Linears can hold them.
enum FoldedNorm {
    /// The scales that are in the weight of a norm once it is stored, instead of those that were searched: the norm's
    /// rounding to its type then costs nothing, for the Linears behind it are multiplied by what it really was divided
    /// by. A scale that would make a weight vanish or overflow becomes 1.
    static func scales(_ wanted: [Float], weight: [Float], type: ElementType, addsOne: Bool) -> [Float] {
        let divided = FoldedTensor(name: "", type: type, rowDivisors: wanted, addsOne: addsOne)
        var stored = weight
        divided.scale(&stored, columns: 1, first: 0, rows: weight.count)
        Narrowing.round(&stored, count: stored.count, to: RestoredType(of: type))
        let one = addsOne ? 1.0 : 0
        return weight.indices.map { index in
            let (before, after) = (Double(weight[index]) + one, Double(stored[index]) + one)
            if before == 0 { return wanted[index] }
            let scale = Float(before / after)
            return scale.isNormal && scale > 0 && after.isFinite ? scale : 1
        }
    }
}
