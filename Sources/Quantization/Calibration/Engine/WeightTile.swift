import LinearAlgebra
import Tensors

/// Some rows of a weight, sixteen to a vector: element [column · blocks + block].
///
/// Rows that travel together as lanes take every step of the arithmetic at once, and a tile is a row-major matrix
/// [columns, 16 · blocks] to the products of `LinearAlgebra`. Lanes behind the last row are zero.
struct WeightTile: Sendable {
    /// The most rows of one tile. Sums depend on it, not on the number of threads.
    static let rows = 128

    let columns: Int
    /// Rows that are not padding.
    let count: Int
    /// Vectors to a column.
    let blocks: Int
    var lanes: [Lanes]

    /// Zeros for `count` rows.
    init(columns: Int, count: Int) {
        self.columns = columns
        self.count = count
        blocks = (count + 15) / 16
        lanes = [Lanes](repeating: .zero, count: columns * blocks)
    }

    /// Rows `range` of row-major `values`, which begin with row `range.lowerBound` - `first`.
    init(_ values: [Float], rows range: Range<Int>, columns: Int) {
        self.init(columns: columns, count: range.count)
        let values = values.span
        let blocks = blocks
        var target = lanes.mutableSpan
        for block in 0..<blocks {
            let top = range.lowerBound + block * 16
            let height = min(16, range.upperBound - top)
            for column in 0..<columns {
                var vector = Lanes.zero
                for lane in 0..<height { vector[lane] = values[(top + lane) * columns + column] }
                target[column * blocks + block] = vector
            }
        }
    }

    /// As an operand of a product: [columns, 16 · blocks].
    var panel: Panel { Panel(at: 0, stride: blocks * 16) }

    /// Floats in one column of the tile.
    var width: Int { blocks * 16 }

    /// Multiplies each column by its scale and divides each row by its divisor; `firstRow` is the tile's first.
    mutating func scale(columns scales: [Float]?, rows divisors: [Float]?, firstRow: Int) {
        if let scales {
            for column in 0..<columns {
                for block in 0..<blocks { lanes[column * blocks + block] *= scales[column] }
            }
        }
        guard let divisors else { return }
        let vectors = self.vectors(of: divisors, from: firstRow, padding: 1)
        for column in 0..<columns {
            for block in 0..<blocks { lanes[column * blocks + block] /= vectors[block] }
        }
    }

    /// One number a row, sixteen to a vector.
    func vectors(of values: [Float], from firstRow: Int, padding: Float) -> [Lanes] {
        (0..<blocks).map { block in
            var vector = Lanes(repeating: padding)
            for lane in 0..<min(16, count - block * 16) { vector[lane] = values[firstRow + block * 16 + lane] }
            return vector
        }
    }

    /// The columns in another order: column i is what `order[i]` was.
    func reordered(_ order: [Int]) -> WeightTile {
        var tile = WeightTile(columns: columns, count: count)
        for (column, source) in order.enumerated() {
            for block in 0..<blocks { tile.lanes[column * blocks + block] = lanes[source * blocks + block] }
        }
        return tile
    }
}

extension Lanes {
    /// The lesser of each two lanes.
    @inline(__always)
    func lesser(_ other: Self) -> Self { replacing(with: other, where: other .< self) }

    /// The greater of each two lanes.
    @inline(__always)
    func greater(_ other: Self) -> Self { replacing(with: other, where: other .> self) }

    /// The nearest integers, ties to even; exact up to 2^22, beyond that the caller's bounds hold them.
    @inline(__always)
    var nearestIntegers: Self { (self + 0x1.8p23) - 0x1.8p23 }

    /// The lanes added in order, in Double.
    var orderedSum: Double {
        var sum = 0.0
        for lane in 0..<16 { sum += Double(self[lane]) }
        return sum
    }
}
