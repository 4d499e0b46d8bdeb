/// How much of a layer is in memory at once.
///
/// With K columns up to 16384 a run holds at most about 24 MiB: a tile of weights as read and as scaled (4 MiB each), a
/// block of tokens (8 MiB in a search, 4 MiB for the output error), a band of second moments (1 MiB) or all candidates
/// of eight rows that are one group each (5 MiB), and the buffers of each thread (1 MiB).
/// Sizes depend on the shape alone, so that the order of every sum does.
enum AWQTiles {
    /// The most elements of one tile of weight rows.
    static let rowElements = 1 << 20
    /// The most elements of one tile of rows that are coded as they arrive: its codes stay in a core's L2 cache.
    static let codeElements = 1 << 19
    /// The most elements of one block of activation rows.
    static let tokenElements = 1 << 21
    /// The most columns of one band of groups in the clip search.
    static let bandColumns = 2048
    /// Columns for which the differences of all candidates are held at once.
    static let sliceColumns = 512
    /// The most tokens of one block.
    static let tokens = 512
    /// The most tokens over which the output error is measured.
    static let outputTokens = 256
    /// The most bytes gathered at once when words are transposed.
    static let gatheredBytes = 512 << 10

    /// Rows of a tile of up to `elements`: a multiple of 8, at most 512.
    static func rows(columns: Int, elements: Int = rowElements) -> Int {
        min(512, max(8, elements / max(1, columns) / 8 * 8))
    }

    /// Tokens of a block: a multiple of 4.
    static func tokens(columns: Int) -> Int { min(tokens, max(4, tokenElements / max(1, columns) / 4 * 4)) }

    /// The columns of eight consecutive rows of a row-major tile.
    static func octet(of values: [Float], firstRow: Int, columns: Int) -> [RowOctet] {
        let span = values.span
        let start = firstRow * columns
        var octet = [RowOctet](repeating: RowOctet(), count: columns)
        for k in 0..<columns {
            let at = start + k
            octet[k] = RowOctet(
                span[at], span[at + columns], span[at + 2 * columns], span[at + 3 * columns],
                span[at + 4 * columns], span[at + 5 * columns], span[at + 6 * columns], span[at + 7 * columns])
        }
        return octet
    }
}

/// A block of tokens, four together: element [panel · columns + k] holds column k of four tokens, zeros after the last.
struct TokenBlock: Sendable {
    let columns: Int
    /// Tokens that are not padding.
    let count: Int
    let panels: [SIMD4<Float>]

    /// How many groups of four tokens there are.
    var panelCount: Int { (count + 3) / 4 }

    /// Reads tokens, dividing each column by its scale.
    init(_ rows: inout StagedRows, tokens: [Int], dividedBy scales: [Float]?) throws(QuantizationError) {
        columns = rows.tensor.columns
        count = tokens.count
        var panels = [SIMD4<Float>](repeating: SIMD4(), count: (count + 3) / 4 * columns)
        var row = [Float](repeating: 0, count: columns)
        for (index, token) in tokens.enumerated() {
            try rows.read(row: token, columns: 0..<columns, into: &row, at: 0)
            if let scales { for k in 0..<columns { row[k] /= scales[k] } }
            let start = index / 4 * columns
            let lane = index % 4
            for k in 0..<columns { panels[start + k][lane] = row[k] }
        }
        self.panels = panels
    }
}
