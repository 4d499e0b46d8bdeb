import LinearAlgebra
import Tensors
import Testing

@testable import Quantization

/// GPTQ against the textbook: the inverse of what is left, one column taken out of it after the other.
struct GPTQTests {
    /// Gauss-Jordan inversion in Double.
    private static func inverse(_ matrix: [[Double]]) -> [[Double]] {
        let n = matrix.count
        var a = matrix
        var b = (0..<n).map { i in (0..<n).map { $0 == i ? 1.0 : 0.0 } }
        for i in 0..<n {
            let pivot = (i..<n).max { abs(a[$0][i]) < abs(a[$1][i]) } ?? i
            a.swapAt(i, pivot)
            b.swapAt(i, pivot)
            let d = a[i][i]
            for j in 0..<n { (a[i][j], b[i][j]) = (a[i][j] / d, b[i][j] / d) }
            for k in 0..<n where k != i {
                let f = a[k][i]
                for j in 0..<n { (a[k][j], b[k][j]) = (a[k][j] - f * a[i][j], b[k][j] - f * b[i][j]) }
            }
        }
        return b
    }

    /// Optimal brain quantization of one row (Frantar and Alistarh 2022) in a fixed order of columns.
    private static func textbook(
        _ row: [Double], _ hessian: [[Double]], order: [Int], quantize: (Double, Int) -> Double
    ) -> [Double] {
        var (weights, result) = (row, row)
        var left = inverse(hessian)
        for column in order {
            result[column] = quantize(weights[column], column)
            let (line, pivot) = (left[column], left[column][column])
            let error = (weights[column] - result[column]) / pivot
            for other in weights.indices {
                weights[other] -= error * line[other]
                let share = left[other][column] / pivot
                for index in line.indices { left[other][index] -= share * line[index] }
            }
        }
        return result
    }

    @Test("rounds as the textbook does", arguments: [24, 140])
    func rounding(columns: Int) throws {
        let rows = columns == 24 ? 20 : 1
        let fixture = LinearFixture(rows: rows, columns: columns, tokens: 3 * columns)
        let blas = try OpenBLAS()
        let gram = fixture.gram
        let mean = (0..<columns).reduce(0.0) { $0 + gram[$1 * (columns + 1)] } / Double(columns)
        var matrix = Matrix(rows: columns, columns: columns)
        for index in gram.indices { matrix.elements[index] = Float(gram[index] / mean) }
        let factor = try GPTQFactor(matrix, damping: 0.1, blas: blas, threads: 2, name: "l") {}
        #expect(factor.damping == 0.1)
        let coder = LaneCoder(.affine, weight: .f32)
        let tile = WeightTile(fixture.weights, rows: 0..<rows, columns: columns)
        let grids = TileGrids(spanning: tile, groupSize: columns, coder: coder)
        let rounded = GPTQRounding(factor: factor, coder: coder, blas: blas).round(tile, grids)

        let hessian = (0..<columns).map { i in
            (0..<columns).map { gram[i * columns + $0] / mean + (i == $0 ? 0.1 : 0) }
        }
        let order = (0..<columns).sorted { (hessian[$0][$0], $1) > (hessian[$1][$1], $0) }
        var differing = 0
        for row in 0..<rows {
            let grid = grids.grids[row / 16]
            let (scale, zero) = (Double(grid.scale[row % 16]), Double(grid.zero[row % 16]))
            let weights = (0..<columns).map { Double(fixture.weights[row * columns + $0]) }
            let expected = Self.textbook(weights, hessian, order: order) { weight, _ in
                let unit = min(max((weight / scale).rounded(.toNearestOrEven), -zero), 15 - zero)
                return Double(HalfPrecision.roundedToFloat16(Float(unit * scale)))
            }
            var error = 0.0
            for column in 0..<columns {
                let unit = Double(rounded.units[column * tile.blocks + row / 16][row % 16])
                if (expected[column] / scale).rounded() != unit { differing += 1 }
            }
            let d = (0..<columns).map { column in
                weights[column]
                    - Double(
                        HalfPrecision.roundedToFloat16(
                            rounded.units[column * tile.blocks + row / 16][row % 16] * Float(scale)))
            }
            for i in 0..<columns { for j in 0..<columns { error += d[i] * hessian[i][j] * d[j] } }
            #expect(abs(Double(rounded.errors[row / 16][row % 16]) / error - 1) < 1e-3)
        }
        // A weight within a rounding error of a code's border may fall on its other side, and take others with it.
        #expect(differing <= (columns == 24 ? 0 : 4))
    }

    /// A job that is cancelled waits for one step, not for the factor.
    @Test("work on a wide layer can end between any two steps")
    func interrupted() throws {
        var matrix = Matrix(rows: 520, columns: 520)
        for index in 0..<520 { matrix[index, index] = 1 }
        let blas = try OpenBLAS()
        for allowed in 0..<6 {
            var steps = 0
            #expect(throws: QuantizationError.self) {
                _ = try GPTQFactor(matrix, damping: 0.1, blas: blas, threads: 1, name: "l") {
                    () throws(QuantizationError) in
                    guard steps < allowed else { throw .recipe(code: "test.ended", detail: "") }
                    steps += 1
                }
            }
            #expect(steps == allowed)
        }
        var steps = 0
        _ = try GPTQFactor(matrix, damping: 0.1, blas: blas, threads: 1, name: "l") { steps += 1 }
        #expect(steps == 6)
    }

    @Test("damping grows where the moments have no inverse")
    func singular() throws {
        var matrix = Matrix(rows: 8, columns: 8)
        for index in matrix.elements.indices { matrix.elements[index] = 1 }
        let factor = try GPTQFactor(matrix, damping: 0, blas: OpenBLAS(), threads: 1, name: "l") {}
        #expect(factor.damping > 0 && factor.damping <= 0.04)
        #expect(!factor.reciprocals.contains { !$0.isFinite })
    }
}

/// Grids against what they are chosen by.
struct GridSearchTests {
    /// dᵀHd of a row's group for the codes that a grid gives, in Double.
    private static func error(
        _ weights: [Float], _ h: [Double], _ grid: LaneGrid, lane: Int, _ coder: LaneCoder
    ) -> Double {
        let d = weights.map { weight in
            let unit = coder.units(Lanes(repeating: weight * grid.inverse[lane]), zero: grid.zero)[lane]
            return Double(weight) - Double(HalfPrecision.rounded(unit * grid.scale[lane], to: coder.type))
        }
        var error = 0.0
        for i in d.indices { for j in d.indices { error += d[i] * h[i * d.count + j] * d[j] } }
        return error
    }

    @Test(
        "no group is worse than rounded to nearest, and most are better",
        arguments: [CalibratedCode.affine, .symmetric(bits: 4), .symmetric(bits: 8), .nf4], [true, false])
    func neverWorse(code: CalibratedCode, isDiagonal: Bool) throws {
        let fixture = LinearFixture(rows: 16, columns: 64, tokens: 300)
        let gram = fixture.gram
        var moments = InputMoments(unknown: 64)
        if isDiagonal {
            moments.hessian = .diagonal((0..<64).map { Float(gram[$0 * 65]) })
        } else {
            var matrix = Matrix(rows: 64, columns: 64)
            matrix.elements = gram.map { Float($0) }
            moments.hessian = .full(matrix)
        }
        let coder = LaneCoder(code, weight: .f16)
        let tile = WeightTile(fixture.weights, rows: 0..<16, columns: 64)
        var search = GridSearch(
            coder: coder, metric: GridMetric(moments, groupSize: 32), groupSize: 32, clip: true, blas: try OpenBLAS())
        let found = search.grids(of: tile).grids
        let spanning = TileGrids(spanning: tile, groupSize: 32, coder: coder)
        var better = 0
        for group in 0..<2 {
            let h = (0..<32 * 32).map { index in
                let (i, j) = (index / 32 + group * 32, index % 32 + group * 32)
                return isDiagonal && i != j ? 0 : gram[i * 64 + j]
            }
            for lane in 0..<16 {
                let weights = Array(fixture.weights[lane * 64 + group * 32..<lane * 64 + group * 32 + 32])
                let ours = Self.error(weights, h, found.grids[group], lane: lane, coder)
                let theirs = Self.error(weights, h, spanning.grids[group], lane: lane, coder)
                #expect(ours <= theirs * 1.0001)
                if ours < theirs * 0.999 { better += 1 }
            }
        }
        #expect(better > 20)
    }

    @Test("zero is on every grid", arguments: [CalibratedCode.affine, .symmetric(bits: 4), .nf4])
    func zero(code: CalibratedCode) throws {
        var fixture = LinearFixture(rows: 16, columns: 32, tokens: 10)
        for index in fixture.weights.indices { fixture.weights[index] = 0.3 + abs(fixture.weights[index]) }
        for row in 0..<16 { fixture.weights[row * 32] = 0 }
        let coder = LaneCoder(code, weight: .f32)
        let tile = WeightTile(fixture.weights, rows: 0..<16, columns: 32)
        var search = GridSearch(
            coder: coder, metric: GridMetric(InputMoments(unknown: 32), groupSize: 32), groupSize: 32, clip: true,
            blas: try OpenBLAS())
        let grid = search.grids(of: tile).grids.grids[0]
        #expect(coder.restored(coder.units(Lanes.zero * grid.inverse, zero: grid.zero), grid) == Lanes.zero)
    }
}
