import Tensors

/// Hands a column-major tensor that lies on scratch storage to an encoder row by row.
///
/// `numpy` calls this Fortran order. A band of rows is gathered at a time: one short read for each column.
struct FortranPass {
    let entry: TensorEntry
    /// Where the staged tensor begins in scratch.
    let offset: Int

    /// Bytes of one band; the working memory of the pass is twice that.
    static let bandBytes = 4 << 20

    /// Feeds `encoder` with all rows in order. `entry.shape` is [rows, columns].
    func run(_ encoder: inout any TensorEncoder, _ workplace: Workplace) throws(QuantizationError) {
        let (rows, columns) = (entry.shape[0], entry.shape[1])
        let width = entry.type.bitWidth / 8
        let bandRows = max(1, min(rows, Self.bandBytes / (columns * width)))
        var column = [UInt8](repeating: 0, count: bandRows * width)
        var band = [UInt8](repeating: 0, count: bandRows * columns * width)
        for first in stride(from: 0, to: rows, by: bandRows) {
            let count = min(bandRows, rows - first)
            for index in 0..<columns {
                try workplace.unstage(
                    into: &column, count: count * width, at: offset + (index * rows + first) * width)
                for row in 0..<count {
                    let target = (row * columns + index) * width
                    for byte in 0..<width { band[target + byte] = column[row * width + byte] }
                }
            }
            try encoder.consume(unsafe band.span.extracting(first: count * columns * width).bytes, workplace)
        }
    }
}
