import COpenBLAS
import Synchronization

/// Cholesky factors and their inverses in tiles, a row or column of tiles a step: a large matrix keeps all threads at
/// work, and whoever calls may stop between two steps.
///
/// Tiles follow from the order of the matrix alone, and each is computed by one thread: the same bytes at any number.
extension OpenBLAS {
    /// Rows and columns of a tile; results depend on it.
    package static let factorTile = 256

    /// How many steps a matrix of this order takes to be factored, and as many to be inverted.
    package static func factorSteps(order: Int) -> Int { (order + factorTile - 1) / factorTile }

    /// Step `step` of replacing the lower triangle of a symmetric matrix, its diagonal included, by the Cholesky factor
    /// L with matrix = L · Lᵀ; the steps go from 0 up.
    ///
    /// What lies right of the diagonal is neither read nor written.
    package func factor(_ matrix: inout Matrix, step: Int, threads: Int) throws(LinearAlgebraError) {
        let tiles = Tiles(of: matrix, step: step)
        let failed = Atomic<Int>(0)
        unsafe matrix.elements.withUnsafeMutableBufferPointer { elements in
            guard let first = elements.baseAddress else { return }
            // Invariant: a call of the closure writes one tile, its own, and reads tiles that none of its round writes;
            // all have ended when the round does.
            nonisolated(unsafe) let base = unsafe first
            ParallelLoop.run(tiles.count - step, threads: threads) { index in
                let row = step + index
                guard row == step else { return unsafe subtract(tiles, row, base) }
                failed.store(unsafe factorDiagonal(tiles, base), ordering: .relaxed)
            }
            guard failed.load(ordering: .relaxed) == 0 else { return }
            ParallelLoop.run(tiles.count - step - 1, threads: threads) { index in
                unsafe solve(tiles, step + 1 + index, base)
            }
        }
        let order = failed.load(ordering: .relaxed)
        guard order == 0 else { throw .notPositive(order: order) }
    }

    /// Step `step` of replacing a lower triangle by its inverse; the steps go from 0 up.
    ///
    /// What lies right of the diagonal is neither read nor written.
    package func invert(lower matrix: inout Matrix, step: Int, threads: Int) throws(LinearAlgebraError) {
        let tiles = Tiles(of: matrix, step: step)
        let failed = unsafe matrix.elements.withUnsafeMutableBufferPointer { elements -> Int in
            guard let first = elements.baseAddress else { return 0 }
            // Invariant: as in `factor`; the row of tiles that is replaced is read from a copy.
            nonisolated(unsafe) let base = unsafe first
            let failed = unsafe invertDiagonal(tiles, base)
            guard failed == 0, step > 0 else { return failed }
            let row = unsafe (0..<tiles.height).flatMap { line in
                unsafe UnsafeBufferPointer(start: base + (tiles.top + line) * tiles.order, count: tiles.top)
            }
            ParallelLoop.run(step, threads: threads) { column in unsafe invert(tiles, column, row.span, base) }
            return 0
        }
        guard failed == 0 else { throw .notPositive(order: failed) }
    }
}

/// The tiles of a square matrix, and the row of them that a step is about.
private struct Tiles {
    let order: Int
    /// Rows of tiles.
    let count: Int
    /// The first row of the step's tiles, and how many rows they have.
    let top: Int
    let height: Int

    init(of matrix: borrowing Matrix, step: Int) {
        precondition(matrix.columns == matrix.rows && matrix.rows <= Int(Int32.max))
        order = matrix.rows
        count = OpenBLAS.factorSteps(order: order)
        precondition(step >= 0 && step < count)
        top = step * OpenBLAS.factorTile
        height = min(OpenBLAS.factorTile, order - top)
    }

    /// The rows of a row of tiles.
    func rows(_ tile: Int) -> Range<Int> {
        tile * OpenBLAS.factorTile..<min(order, (tile + 1) * OpenBLAS.factorTile)
    }
}

// MARK: - One tile

extension OpenBLAS {
    /// The tile on the diagonal: what the columns before it explain is taken away, the rest is factored. The order of
    /// the first minor that is not positive, or 0.
    private func factorDiagonal(_ tiles: Tiles, _ base: UnsafeMutablePointer<Float>) -> Int {
        let line = unsafe base + tiles.top * tiles.order
        let tile = unsafe line + tiles.top
        var (size, stride, information) = (Int32(tiles.height), Int32(tiles.order), Int32(0))
        if tiles.top > 0 {
            unsafe library.pointee.ssyrk(
                Self.rowMajor, Self.lower, Self.asStored, size, Int32(tiles.top), -1, line, stride, 1, tile, stride)
        }
        // LAPACK counts by columns: our lower triangle is its upper one.
        unsafe library.pointee.spotrf("U", &size, tile, &stride, &information)
        return information == 0 ? 0 : tiles.top + Int(information)
    }

    /// A tile below the diagonal: what the columns before it explain is taken away.
    private func subtract(_ tiles: Tiles, _ row: Int, _ base: UnsafeMutablePointer<Float>) {
        guard tiles.top > 0 else { return }
        let (rows, stride) = (tiles.rows(row), Int32(tiles.order))
        let line = unsafe base + rows.lowerBound * tiles.order
        unsafe library.pointee.sgemm(
            Self.rowMajor, Self.asStored, Self.transposed, Int32(rows.count), Int32(tiles.height), Int32(tiles.top), -1,
            line, stride, base + tiles.top * tiles.order, stride, 1, line + tiles.top, stride)
    }

    /// A tile below the diagonal, times the transposed inverse of the one on it.
    private func solve(_ tiles: Tiles, _ row: Int, _ base: UnsafeMutablePointer<Float>) {
        let (rows, stride) = (tiles.rows(row), Int32(tiles.order))
        unsafe library.pointee.strsm(
            Self.rowMajor, Self.right, Self.lower, Self.transposed, Self.anyDiagonal, Int32(rows.count),
            Int32(tiles.height), 1, base + tiles.top * (tiles.order + 1), stride,
            base + rows.lowerBound * tiles.order + tiles.top, stride)
    }

    /// The tile on the diagonal; the order of the first element of the diagonal that is 0, or 0.
    private func invertDiagonal(_ tiles: Tiles, _ base: UnsafeMutablePointer<Float>) -> Int {
        var (size, stride, information) = (Int32(tiles.height), Int32(tiles.order), Int32(0))
        unsafe library.pointee.strtri("U", "N", &size, base + tiles.top * (tiles.order + 1), &stride, &information)
        return information == 0 ? 0 : tiles.top + Int(information)
    }

    /// A tile left of the diagonal: X[i, c] = −X[i, i] · Σ L[i, k] · X[k, c] for c ≤ k < i; `row` holds L[i, ...].
    private func invert(_ tiles: Tiles, _ column: Int, _ row: Span<Float>, _ base: UnsafeMutablePointer<Float>) {
        let (columns, stride, height) = (tiles.rows(column), Int32(tiles.order), Int32(tiles.height))
        let width = Int32(columns.count)
        let tile = unsafe base + tiles.top * tiles.order + columns.lowerBound
        unsafe library.pointee.strmm(
            Self.rowMajor, Self.right, Self.lower, Self.asStored, Self.anyDiagonal, height, width, 1,
            base + columns.lowerBound * (tiles.order + 1), stride, tile, stride)
        let depth = tiles.top - columns.upperBound
        if depth > 0 {
            unsafe row.withUnsafeBufferPointer { row in
                guard let row = row.baseAddress else { return }
                unsafe library.pointee.sgemm(
                    Self.rowMajor, Self.asStored, Self.asStored, height, width, Int32(depth), 1,
                    row + columns.upperBound, Int32(tiles.top),
                    base + columns.upperBound * tiles.order + columns.lowerBound, stride, 1, tile, stride)
            }
        }
        unsafe library.pointee.strmm(
            Self.rowMajor, Self.left, Self.lower, Self.asStored, Self.anyDiagonal, height, width, -1,
            base + tiles.top * (tiles.order + 1), stride, tile, stride)
    }
}
