/// Restores codes row by row with a scale for each group of columns: LLM.int8(), compressed-tensors and MLX.
///
/// Sources: bitsandbytes 0.50.2, `int8_vectorwise_dequant`; compressed-tensors 0.20.0, `dequantize`; MLX 0.32.4,
/// `affine_dequantize`. Every operation is one in float32, rounded to the weight's own type.
struct GroupDecoder: WeightDecoder {
    private let weight: QuantizedWeight
    private let coding: GroupCoding
    private var codes: [UInt8] = []
    private var unpacked: [UInt8]
    private var scales: [Float] = []
    private var biases: [Float] = []
    private var zeros: [UInt8] = []

    init(_ weight: QuantizedWeight, _ coding: GroupCoding) {
        self.weight = weight
        self.coding = coding
        unpacked = [UInt8](repeating: 0, count: RestoredBand.capacity)
    }

    mutating func restore(
        from start: Int, into band: inout RestoredBand, _ reader: ArtifactReader
    ) throws(QuantizationError) {
        let piece = RowPiece(start: start, columns: coding.columns, elementCount: weight.elementCount)
        try readCodes(piece, reader)
        let groups = piece.groups(of: coding)
        try reader.read(groups, of: coding.scales, into: &scales)
        if let part = coding.biases { try reader.read(groups, of: part, into: &biases) }
        try readZeros(piece, reader)
        let firstGroup = piece.columns.lowerBound / coding.groupSize
        piece.forEachGroup(of: coding) { group, row, range in
            let zero = zero(row: row, group: firstGroup + group, piece)
            multiply(range, scale: scales[group], zero: zero, into: &band.singles)
        }
        if weight.returned != .f32 { Narrowing.round(&band.singles, count: piece.count, to: weight.returned) }
        if coding.biases != nil {
            piece.forEachGroup(of: coding) { group, _, range in
                CodeLoops.add(biases[group], to: &band.singles, range)
            }
            if weight.returned != .f32 { Narrowing.round(&band.singles, count: piece.count, to: weight.returned) }
        }
        try band.narrow(piece.count, of: weight, from: start)
    }

    /// The codes of a piece, a byte each.
    private mutating func readCodes(_ piece: RowPiece, _ reader: ArtifactReader) throws(QuantizationError) {
        let rowBytes = coding.rowBytes
        let first = piece.rows.lowerBound * rowBytes + piece.columns.lowerBound * coding.bits / 8
        let pieceBytes = (piece.columns.count * coding.bits + 7) / 8
        let bytes = (piece.rows.count - 1) * rowBytes + pieceBytes
        try reader.read(bytes, at: coding.codes.offset + first, into: &codes)
        for row in 0..<piece.rows.count {
            CodeLoops.unpack(
                codes, at: row * rowBytes, bits: coding.bits, count: piece.columns.count, into: &unpacked,
                at: row * piece.columns.count)
        }
    }

    /// The words that hold the zero points of a piece, whole rows of words.
    private mutating func readZeros(_ piece: RowPiece, _ reader: ArtifactReader) throws(QuantizationError) {
        guard let part = coding.zeros else { return }
        let words = piece.zeroWords(of: coding)
        try reader.read(
            words.count * coding.groups * 4, at: part.offset + words.lowerBound * coding.groups * 4, into: &zeros)
    }

    /// What is subtracted from a code: the middle of its range and the group's zero point.
    private func zero(row: Int, group: Int, _ piece: RowPiece) -> Int32 {
        guard case .packed(let bits) = coding.code else { return 0 }
        let middle = Int32(1) << Int32(bits - 1)
        guard coding.zeros != nil else { return middle }
        let perWord = 32 / bits
        let word = (row / perWord - piece.zeroWords(of: coding).lowerBound) * coding.groups + group % coding.groups
        let bit = row % perWord * bits
        let stored = zeros[word * 4 + bit / 8] >> UInt8(bit % 8) & UInt8(truncatingIfNeeded: (1 << bits) - 1)
        // The zero point is stored like a code: both middles cancel out.
        return Int32(stored)
    }

    private func multiply(_ range: Range<Int>, scale: Float, zero: Int32, into values: inout [Float]) {
        switch coding.code {
        case .packed, .affine:
            CodeLoops.multiply(unpacked, range, zero: zero, scale: scale, into: &values)
        case .int8: CodeLoops.multiplySigned(unpacked, range, scale: scale, into: &values)
        case .llmInt8:
            CodeLoops.multiplySigned(unpacked, range, scale: scale, into: &values)
            CodeLoops.scale(&values, range, by: 7.874_015_718_698_502e-3)
        case .e4m3:
            for index in range { values[index] = E4M3.values[Int(unpacked[index])] * scale }
        }
    }
}

/// What of a weight is restored at once: some whole rows, or a part of one that is longer than a band.
struct RowPiece {
    let rows: Range<Int>
    let columns: Range<Int>

    /// The piece that begins at element `start`, which begins a row or an earlier piece's end.
    init(start: Int, columns: Int, elementCount: Int) {
        let row = start / columns
        if columns <= RestoredBand.capacity {
            let rest = elementCount / columns - row
            rows = row..<row + min(rest, RestoredBand.capacity / columns)
            self.columns = 0..<columns
        } else {
            let column = start % columns
            rows = row..<row + 1
            self.columns = column..<min(columns, column + RestoredBand.capacity)
        }
    }

    /// Elements of the piece.
    var count: Int { rows.count * columns.count }

    /// Calls `body` for every group of the piece in order: its number, its row of the weight, its place in the piece.
    func forEachGroup(of coding: GroupCoding, _ body: (Int, Int, Range<Int>) -> Void) {
        var group = 0
        for row in 0..<rows.count {
            var column = columns.lowerBound
            while column < columns.upperBound {
                let end = min(columns.upperBound, (column / coding.groupSize + 1) * coding.groupSize)
                let at = row * columns.count + column - columns.lowerBound
                body(group, rows.lowerBound + row, at..<at + end - column)
                group += 1
                column = end
            }
        }
    }

    /// Its scales among all of the weight's.
    func groups(of coding: GroupCoding) -> Range<Int> {
        guard rows.count == 1 else { return rows.lowerBound * coding.groups..<rows.upperBound * coding.groups }
        let first = rows.lowerBound * coding.groups
        let size = coding.groupSize
        return first + columns.lowerBound / size..<first + (columns.upperBound + size - 1) / size
    }

    /// The rows of words that hold its zero points.
    func zeroWords(of coding: GroupCoding) -> Range<Int> {
        let perWord = 32 / coding.bits
        return rows.lowerBound / perWord..<(rows.upperBound + perWord - 1) / perWord
    }
}

/// 8-bit floats with 4 exponent and 3 fraction bits, without infinities (OCP 8-bit floating point specification 1.0).
enum E4M3 {
    /// The values of all codes; 0x7f and 0xff are NaN.
    static let values: [Float] = (0..<256).map { code in
        let (exponent, fraction) = (code >> 3 & 15, Float(code & 7))
        let magnitude: Float =
            if code & 0x7f == 0x7f {
                .nan
            } else if exponent == 0 {
                fraction * 0x1p-9
            } else {
                Float(sign: .plus, exponent: exponent - 7, significand: 1 + fraction / 8)
            }
        return code >= 128 ? -magnitude : magnitude
    }
}
