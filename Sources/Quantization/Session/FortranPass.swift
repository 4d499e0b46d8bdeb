import Tensors

/// Hands a column-major tensor that lies on scratch storage to an encoder row by row.
///
/// `numpy` calls this Fortran order. A tile is gathered at a time: whole rows where they fit, else a piece of one row.
struct FortranPass {
    let entry: TensorEntry
    /// Where the staged tensor begins in scratch.
    let offset: Int
    /// Bytes of one tile; the working memory of the pass is twice that.
    var tileBytes = 4 << 20

    /// Columns up to this many bytes are read several at once: a read costs as much as this many bytes.
    private static let shortColumn = 4096

    /// Rows and columns: the two dimensions of `entry` that are more than 1; all others do not move an element.
    private var extents: (rows: Int, columns: Int) {
        let extents = entry.shape.filter { $0 > 1 }
        return extents.count == 2 ? (extents[0], extents[1]) : (entry.elementCount, 1)
    }

    /// Feeds `encoder` with all rows in order.
    func run(_ encoder: inout any TensorEncoder, _ workplace: Workplace) throws(QuantizationError) {
        let (rows, columns) = extents
        let width = entry.type.bitWidth / 8
        let tileRows = max(1, min(rows, tileBytes / (columns * width)))
        let tileColumns = max(1, min(columns, tileBytes / (tileRows * width)))
        var tile = [UInt8](repeating: 0, count: tileRows * tileColumns * width)
        var read: [UInt8] = []
        for row in stride(from: 0, to: rows, by: tileRows) {
            let taken = row..<min(rows, row + tileRows)
            for column in stride(from: 0, to: columns, by: tileColumns) {
                let count = min(tileColumns, columns - column)
                try gather(taken, column..<column + count, into: &tile, through: &read, workplace)
                try encoder.consume(unsafe tile.span.extracting(first: taken.count * count * width).bytes, workplace)
            }
        }
    }

    private func gather(
        _ taken: Range<Int>, _ columns: Range<Int>, into tile: inout [UInt8], through read: inout [UInt8],
        _ workplace: Workplace
    ) throws(QuantizationError) {
        let rows = extents.rows
        let width = entry.type.bitWidth / 8
        // Short columns are read whole, rows that are not wanted included, as many at once as fit.
        let isShort = rows * width <= Self.shortColumn
        let step = isShort ? max(1, tileBytes / (rows * width)) : 1
        let first = isShort ? 0 : taken.lowerBound
        let stored = isShort ? rows : taken.count
        for column in stride(from: columns.lowerBound, to: columns.upperBound, by: step) {
            let count = min(step, columns.upperBound - column)
            if read.count < count * stored * width { read = [UInt8](repeating: 0, count: count * stored * width) }
            try workplace.unstage(
                into: &read, count: count * stored * width, at: offset + (column * rows + first) * width)
            for index in 0..<count {
                for row in taken {
                    let source = (index * stored + row - first) * width
                    let line = (row - taken.lowerBound) * columns.count
                    let target = (line + column - columns.lowerBound + index) * width
                    for byte in 0..<width { tile[target + byte] = read[source + byte] }
                }
            }
        }
    }
}
