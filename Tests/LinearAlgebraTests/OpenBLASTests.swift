import Testing

@testable import LinearAlgebra

/// OpenBLAS against sums written out in Double.
struct OpenBLASTests {
    private let blas: OpenBLAS

    init() throws { blas = try OpenBLAS() }

    /// Numbers in -1...1 that look like noise.
    private static func noise(_ count: Int, seed: UInt64) -> [Float] {
        var state = seed
        return (0..<count).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Float(Double(state >> 11) * 0x1p-52 - 1)
        }
    }

    private static func positive(_ order: Int) -> Matrix {
        let x = noise(order * 2 * order, seed: 7)
        var matrix = Matrix(rows: order, columns: order)
        for i in 0..<order {
            for j in 0..<order {
                var sum = i == j ? 0.1 : 0.0
                for t in 0..<2 * order { sum += Double(x[t * order + i]) * Double(x[t * order + j]) }
                matrix[i, j] = Float(sum)
            }
        }
        return matrix
    }

    @Test("says which library and kernels compute")
    func name() {
        let words = blas.name.split(separator: " ")
        #expect(words.count == 3 && words[0] == "openblas" && words[1].contains("."))
    }

    @Test("multiplies inside larger matrices, transposed or not", arguments: [false, true], [false, true])
    func product(isLeftTransposed: Bool, isRightTransposed: Bool) {
        let (m, n, k) = (5, 7, 3)
        let a = Self.noise(100, seed: 1)
        let b = Self.noise(100, seed: 2)
        let left = Panel(at: 2, stride: 9, isTransposed: isLeftTransposed)
        let right = Panel(at: 4, stride: 8, isTransposed: isRightTransposed)
        var c = [Float](repeating: 1, count: 100)
        var span = c.mutableSpan
        blas.multiply(
            rows: m, columns: n, depth: k, a.span, left, b.span, right, factor: -2, adding: true, into: &span,
            Panel(at: 3, stride: 10))
        for index in 0..<100 {
            let (i, j) = ((index - 3) / 10, (index - 3) % 10)
            guard index >= 3, i < m, j < n else {
                #expect(c[index] == 1)
                continue
            }
            var sum = 0.0
            for p in 0..<k {
                let x = isLeftTransposed ? a[2 + p * 9 + i] : a[2 + i * 9 + p]
                let y = isRightTransposed ? b[4 + j * 8 + p] : b[4 + p * 8 + j]
                sum += Double(x) * Double(y)
            }
            #expect(abs(Double(c[index]) - (1 - 2 * sum)) < 1e-5)
        }
    }

    @Test("multiplies by a symmetric matrix of which it reads one triangle")
    func symmetric() {
        let order = 6
        let whole = Self.positive(order)
        var half = whole
        for i in 0..<order { for j in 0..<i { half[i, j] = .nan } }
        let b = Self.noise(order * 2, seed: 3)
        var c = [Float](repeating: 0, count: order * 2)
        var span = c.mutableSpan
        blas.multiply(
            symmetric: half, columns: 2, b.span, Panel(at: 0, stride: 2), into: &span, Panel(at: 0, stride: 2))
        for i in 0..<order {
            for j in 0..<2 {
                let sum = (0..<order).reduce(0.0) { $0 + Double(whole[i, $1]) * Double(b[$1 * 2 + j]) }
                #expect(abs(Double(c[i * 2 + j]) - sum) < 1e-4)
            }
        }
    }
}
