import LinearAlgebra

/// The part of a layer's second moments by which its grids are chosen: products of columns within pieces of a group.
///
/// The error of a row's group is dᵀHd, d being what coding changes; of a group wider than a piece it is the sum of the
/// pieces' errors.
struct GridMetric: Sendable {
    /// Columns of a piece; the last of a group may have less.
    let width: Int
    /// The mean square of each column where nothing else is known, else empty.
    var diagonal: [Float]
    /// Element [column · width + k]: the product of a column with column k of its piece.
    var products: [Float]

    /// Columns of the widest piece. More would cost more than they tell of each other.
    static let widest = 128

    /// Columns of the pieces of groups of `groupSize`.
    static func width(groupSize: Int) -> Int { min(widest, groupSize) }

    /// What `moments` says of the pieces of groups of `groupSize` columns.
    init(_ moments: InputMoments, groupSize: Int) {
        let columns = moments.columns
        let width = Self.width(groupSize: groupSize)
        self.width = width
        func gathered(_ value: (Int, Int) -> Float) -> [Float] {
            var products = [Float](repeating: 0, count: columns * width)
            for row in 0..<columns {
                let first = row / width * width
                for column in first..<min(columns, first + width) {
                    products[row * width + column - first] = value(row, column)
                }
            }
            return products
        }
        switch moments.hessian {
        case .diagonal(let values): (diagonal, products) = (values, [])
        case .blocks(let size, let values):
            diagonal = []
            products = gathered { row, column in
                row / size == column / size ? values[row * size + column % size] : 0
            }
        case .full(let matrix):
            diagonal = []
            products = gathered { row, column in matrix[row, column] }
        }
    }

    /// The pieces of a group, ascending.
    func pieces(of group: Range<Int>) -> [Range<Int>] {
        stride(from: group.lowerBound, to: group.upperBound, by: width).map {
            $0..<min(group.upperBound, $0 + width)
        }
    }

    /// The piece's products as an operand.
    func panel(_ piece: Range<Int>) -> Panel { Panel(at: piece.lowerBound * width, stride: width) }
}
