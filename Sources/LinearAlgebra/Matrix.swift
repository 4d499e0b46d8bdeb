/// A dense matrix of float32, row after row.
package struct Matrix: Sendable, Equatable {
    /// Number of rows.
    package let rows: Int
    /// Number of columns.
    package let columns: Int
    /// Element [row · columns + column].
    package var elements: [Float]

    /// Zeros.
    package init(rows: Int, columns: Int) {
        self.rows = rows
        self.columns = columns
        elements = [Float](repeating: 0, count: rows * columns)
    }

    /// The element in a row and a column.
    package subscript(row: Int, column: Int) -> Float {
        get { elements[row * columns + column] }
        set { elements[row * columns + column] = newValue }
    }

    /// All elements as the operand of a product.
    package var panel: Panel { Panel(at: 0, stride: columns) }
}

/// Where a matrix lies in a run of floats: its first element, and how far apart its rows begin.
package struct Panel: Sendable, Equatable {
    /// Index of the first element.
    package let start: Int
    /// From the start of one row to that of the next.
    package let stride: Int
    /// Whether the product takes the columns of what is stored for rows.
    package let isTransposed: Bool

    /// Rows that begin `stride` apart from `start` on.
    package init(at start: Int, stride: Int, isTransposed: Bool = false) {
        self.start = start
        self.stride = stride
        self.isTransposed = isTransposed
    }

    /// One behind the last float that a stored matrix of this shape touches; nil where the panel cannot hold it.
    func end(rows: Int, columns: Int) -> Int? {
        let (height, width) = isTransposed ? (columns, rows) : (rows, columns)
        guard start >= 0, stride >= width, height > 0, width > 0 else { return nil }
        return start + (height - 1) * stride + width
    }
}

/// Why a computation has no result.
package enum LinearAlgebraError: Error, Sendable, Equatable {
    /// OpenBLAS is not installed, or not the one that is expected.
    case unavailable
    /// The leading minor of this order is not positive: there is no Cholesky factor.
    case notPositive(order: Int)
}

/// What a run of floats consists of: single ones, or vectors without gaps between them.
package protocol FloatRun: BitwiseCopyable {
    /// Floats in one element; its size is four times as many bytes.
    static var floats: Int { get }
}

extension Float: FloatRun {
    package static var floats: Int { 1 }
}

extension SIMD16<Float>: FloatRun {
    package static var floats: Int { 16 }
}
