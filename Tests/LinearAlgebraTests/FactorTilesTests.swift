import Testing

@testable import LinearAlgebra

/// Factors and inverses in tiles, multiplied out again.
struct FactorTilesTests {
    private let blas: OpenBLAS

    init() throws { blas = try OpenBLAS(threads: 3) }

    /// A symmetric positive definite matrix: x · xᵀ and some of the identity.
    private func positive(_ order: Int) -> Matrix {
        var state: UInt64 = 7
        let x = (0..<order * order).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Float(Double(state >> 11) * 0x1p-52 - 1)
        }
        var matrix = Matrix(rows: order, columns: order)
        var span = matrix.elements.mutableSpan
        let panel = Panel(at: 0, stride: order)
        blas.multiply(
            rows: order, columns: order, depth: order, x.span, panel, x.span,
            Panel(at: 0, stride: order, isTransposed: true), factor: 1 / Float(order), into: &span, panel)
        for i in 0..<order { matrix[i, i] += 0.5 }
        return matrix
    }

    private func factor(_ matrix: inout Matrix, threads: Int = 1) throws {
        for step in 0..<OpenBLAS.factorSteps(order: matrix.rows) {
            try blas.factor(&matrix, step: step, threads: threads)
        }
    }

    private func invert(_ matrix: inout Matrix, threads: Int = 1) throws {
        for step in 0..<OpenBLAS.factorSteps(order: matrix.rows) {
            try blas.invert(lower: &matrix, step: step, threads: threads)
        }
    }

    /// a · b of the lower triangles, or a · bᵀ.
    private func product(_ a: Matrix, _ b: Matrix, isTransposed: Bool) -> Matrix {
        var (left, right) = (a, b)
        for i in 0..<a.rows { for j in i + 1..<max(i + 1, a.rows) { (left[i, j], right[i, j]) = (0, 0) } }
        var result = Matrix(rows: a.rows, columns: a.rows)
        var span = result.elements.mutableSpan
        blas.multiply(
            rows: a.rows, columns: a.rows, depth: a.rows, left.elements.span, left.panel, right.elements.span,
            Panel(at: 0, stride: a.rows, isTransposed: isTransposed), into: &span, Panel(at: 0, stride: a.rows))
        return result
    }

    @Test(
        "the factor times itself is the matrix, its inverse times it the identity; the upper triangle is as it was",
        arguments: [1, 2, 33, 256, 257, 600])
    func multiplied(order: Int) throws {
        let matrix = positive(order)
        var lower = matrix
        for i in 0..<order { for j in i + 1..<max(i + 1, order) { lower[i, j] = .nan } }
        try factor(&lower)
        var inverse = lower
        try invert(&inverse)
        let (square, identity) = (
            product(lower, lower, isTransposed: true), product(lower, inverse, isTransposed: false)
        )
        var (worst, farthest): (Float, Float) = (0, 0)
        for i in 0..<order {
            for j in 0..<order {
                worst = max(worst, abs(square[i, j] - matrix[i, j]))
                farthest = max(farthest, abs(identity[i, j] - (i == j ? 1 : 0)))
                if j > i { #expect(lower[i, j].isNaN && inverse[i, j].isNaN) }
            }
        }
        #expect(worst < 1e-5)
        #expect(farthest < 1e-4)
    }

    @Test("the same bytes at any number of threads")
    func threads() throws {
        let matrix = positive(900)
        let made = try [1, 2, 3].map { threads in
            var copy = matrix
            try factor(&copy, threads: threads)
            let factored = copy
            try invert(&copy, threads: threads)
            return [factored, copy]
        }
        #expect(made[1] == made[0])
        #expect(made[2] == made[0])
    }

    @Test("a matrix that is not positive definite is refused by the order of its minor", arguments: [0, 2, 255, 290])
    func notPositive(place: Int) {
        var matrix = Matrix(rows: 300, columns: 300)
        for i in 0..<300 { matrix[i, i] = i == place ? -1 : 1 }
        #expect(throws: LinearAlgebraError.notPositive(order: place + 1)) { try factor(&matrix, threads: 2) }
        var singular = Matrix(rows: 300, columns: 300)
        for i in 0..<300 { singular[i, i] = i == place ? 0 : 1 }
        #expect(throws: LinearAlgebraError.notPositive(order: place + 1)) { try invert(&singular, threads: 2) }
    }
}
