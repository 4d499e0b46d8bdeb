extension OpenBLAS {
    /// Columns of the tiles in which a Gram matrix grows; the result depends on it, not on the number of threads.
    package static let gramTile = 512

    /// Adds xᵀx to what lies on and left of the diagonal of `gram`; x is [rows, columns], row after row.
    package func addGram(of x: [Float], rows: Int, to gram: inout Matrix, threads: Int) {
        let columns = gram.columns
        precondition(gram.rows == columns && x.count >= rows * columns)
        let tiles = (columns + Self.gramTile - 1) / Self.gramTile
        let pairs = (0..<tiles).flatMap { row in (0...row).map { (row, $0) } }
        unsafe gram.elements.withUnsafeMutableBufferPointer { elements in
            // Invariant: each pair is a rectangle of its own of the matrix, written by one thread, and all have ended
            // when the closure does.
            nonisolated(unsafe) let elements = unsafe elements
            ParallelLoop.run(pairs.count, threads: threads) { index in
                let (top, left) = (pairs[index].0 * Self.gramTile, pairs[index].1 * Self.gramTile)
                let start = top * columns + left
                let (height, width) = (min(Self.gramTile, columns - top), min(Self.gramTile, columns - left))
                let part = unsafe UnsafeMutableBufferPointer(
                    rebasing: elements[start..<start + (height - 1) * columns + width])
                var span = unsafe part.mutableSpan
                multiply(
                    rows: height, columns: width, depth: rows, x.span,
                    Panel(at: top, stride: columns, isTransposed: true), x.span, Panel(at: left, stride: columns),
                    adding: true, into: &span, Panel(at: 0, stride: columns))
            }
        }
    }
}

extension Matrix {
    /// Makes a square matrix symmetric by what lies left of its diagonal.
    package mutating func mirrorLower() { mirror { ($0, $1) } }

    /// Makes a square matrix symmetric by what lies right of its diagonal.
    package mutating func mirrorUpper() { mirror { ($1, $0) } }

    /// Multiplies what lies left of the diagonal.
    package mutating func scaleLower(by factor: Float) {
        guard factor != 1 else { return }
        let (rows, columns) = (rows, columns)
        var span = elements.mutableSpan
        for row in 0..<rows { for column in 0..<row { span[row * columns + column] *= factor } }
    }

    /// Copies what lies on one side of the diagonal to the other, in squares that the first cache holds; `source` picks
    /// one of two mirror images by their indices.
    @inline(__always)
    private mutating func mirror(_ source: (Int, Int) -> (Int, Int)) {
        let (order, tile) = (rows, 64)
        var span = elements.mutableSpan
        for top in stride(from: 0, to: order, by: tile) {
            for left in stride(from: 0, through: top, by: tile) {
                for row in top..<min(order, top + tile) {
                    for column in left..<max(left, min(row, left + tile)) {
                        let (from, to) = source(row * order + column, column * order + row)
                        span[to] = span[from]
                    }
                }
            }
        }
    }

    /// Moves row and column `order[i]` of a square matrix to row and column i.
    package mutating func permute(by order: [Int]) {
        precondition(rows == columns && order.count == rows)
        var line = [Float](repeating: 0, count: columns)
        for row in 0..<rows {
            let start = row * columns
            for column in 0..<columns { line[column] = elements[start + order[column]] }
            for column in 0..<columns { elements[start + column] = line[column] }
        }
        // Rows follow the cycles of the permutation, one row held aside.
        var isPlaced = [Bool](repeating: false, count: rows)
        for first in 0..<rows where !isPlaced[first] {
            for column in 0..<columns { line[column] = elements[first * columns + column] }
            var row = first
            while order[row] != first {
                let source = order[row]
                for column in 0..<columns { elements[row * columns + column] = elements[source * columns + column] }
                isPlaced[row] = true
                row = source
            }
            for column in 0..<columns { elements[row * columns + column] = line[column] }
            isPlaced[row] = true
        }
    }
}
