/// Restores AWQ weights: (code − zero) · scale in float16, divided by the kept `input_scales` in float32.
///
/// The restored weight is the one that multiplies the layer's original input: a file without `input_scales` either has
/// none, or they are folded into the layer before, which this file does not show.
/// Source: `WQLinear_GEMM` and `dequantize_gemm` of AutoAWQ 0.2.9. The words lie transposed: bands of rows are gathered
/// from all columns.
struct AWQDecoder: WeightDecoder {
    private let weight: QuantizedWeight
    private let coding: AWQCoding
    /// Bytes of words, zeros and scales that are held, or those of eight rows.
    private let bandBytes: Int
    private var inputScales: [Float] = []
    /// The octets of rows that are held.
    private var octets = 0..<0
    private var words: [UInt8] = []
    private var zeros: [UInt8] = []
    private var scales: [UInt8] = []
    /// The octet whose parts are gathered below.
    private var octet = -1
    private var octetWords: [UInt32]
    private var groupZeros: [UInt32]
    private var groupScales: [Float]

    init(_ weight: QuantizedWeight, _ coding: AWQCoding, bandBytes: Int) {
        self.bandBytes = bandBytes
        self.weight = weight
        self.coding = coding
        octetWords = [UInt32](repeating: 0, count: coding.columns)
        groupZeros = [UInt32](repeating: 0, count: coding.groups)
        groupScales = [Float](repeating: 0, count: coding.groups * 8)
    }

    mutating func restore(
        from start: Int, into band: inout RestoredBand, _ reader: ArtifactReader
    ) throws(QuantizationError) {
        let piece = RowPiece(start: start, columns: coding.columns, elementCount: weight.elementCount)
        for row in piece.rows {
            if row / 8 != octet { try gather(row / 8, reader) }
            let at = (row - piece.rows.lowerBound) * piece.columns.count
            fill(row % 8, piece.columns, into: &band.singles, at: at)
        }
        Narrowing.round(&band.singles, count: piece.count, to: .f16)
        if let part = coding.inputScales {
            if inputScales.isEmpty { try reader.read(0..<coding.columns, of: part, into: &inputScales) }
            for row in 0..<piece.rows.count {
                CodeLoops.divide(
                    &band.singles, at: row * piece.columns.count, by: inputScales, piece.columns)
            }
        }
        try band.narrow(piece.count, of: weight, from: start)
    }

    /// One row of the gathered octet.
    private func fill(_ lane: Int, _ columns: Range<Int>, into values: inout [Float], at position: Int) {
        let size = coding.columns / coding.groups
        let shift = AWQWord.shift(ofChannel: lane)
        var column = columns.lowerBound
        while column < columns.upperBound {
            let group = column / size
            let end = min(columns.upperBound, (group + 1) * size)
            let zero = Int32(groupZeros[group] >> shift & 15)
            CodeLoops.multiply(
                octetWords, column..<end, shift: shift, zero: zero, scale: groupScales[group * 8 + lane], into: &values,
                at: position + column - columns.lowerBound)
            column = end
        }
    }

    /// Takes the parts of an octet of rows out of the band that is held, reading the next band first where it ends.
    private mutating func gather(_ index: Int, _ reader: ArtifactReader) throws(QuantizationError) {
        if !octets.contains(index) { try readBand(from: index, reader) }
        let (width, lane) = (octets.count, index - octets.lowerBound)
        CodeLoops.gather(words, every: width, from: lane, into: &octetWords)
        CodeLoops.gather(zeros, every: width, from: lane, into: &groupZeros)
        for group in 0..<coding.groups {
            for channel in 0..<8 {
                let at = ((group * width + lane) * 8 + channel) * 2
                let value = HalfOctets.value(UInt16(scales[at]) | UInt16(scales[at + 1]) << 8)
                guard value.isFinite else {
                    throw .nonFinite(tensor: coding.scales.name, index: group * coding.rows + index * 8 + channel)
                }
                groupScales[group * 8 + channel] = value
            }
        }
        octet = index
    }

    private mutating func readBand(from first: Int, _ reader: ArtifactReader) throws(QuantizationError) {
        let octetBytes = coding.columns * 4 + coding.groups * (4 + 16)
        let count = max(1, min(coding.rows / 8 - first, bandBytes / octetBytes))
        octets = first..<first + count
        try read(coding.words, rows: coding.columns, octetBytes: 4, into: &words, reader)
        try read(coding.zeros, rows: coding.groups, octetBytes: 4, into: &zeros, reader)
        try read(coding.scales, rows: coding.groups, octetBytes: 16, into: &scales, reader)
    }

    /// The held octets of every row of a part, row by row.
    private func read(
        _ part: StoredPart, rows: Int, octetBytes: Int, into bytes: inout [UInt8], _ reader: ArtifactReader
    ) throws(QuantizationError) {
        let (width, rowBytes) = (octets.count * octetBytes, coding.rows / 8 * octetBytes)
        if width == rowBytes { return try reader.read(rows * width, at: part.offset, into: &bytes) }
        if bytes.count < rows * width { bytes = [UInt8](repeating: 0, count: rows * width) }
        var span = bytes.mutableSpan
        var all = unsafe span.mutableBytes
        for row in 0..<rows {
            var room = all._mutatingExtracting(row * width..<(row + 1) * width)
            try reader.read(into: &room, at: part.offset + row * rowBytes + octets.lowerBound * octetBytes)
        }
    }
}
