import LinearAlgebra

/// The order in which columns are rounded, and how what one column loses moves on to the others.
///
/// Columns go by descending mean square; groups and scales stay those of the columns as they lie ("static groups"), so
/// that the format does not change. With H = U⁻¹U⁻ᵀ, U upper, what rounding column j loses, divided by U_jj, times row
/// j of U is what the columns behind it give up. U is the inverse of a triangular factor of H itself: both matrices
/// are kept the other way round, so that it is a lower one and the columns go from the last to the first.
/// Source: GPTQ, Frantar et al. 2023, with `desc_act` and `static_groups` of AutoGPTQ.
struct GPTQFactor: Sendable {
    /// Left of the diagonal the factor, on it and right of it the second moments; what is rounded first comes last.
    let gram: OrderedGram
    /// The reciprocals of the factor's diagonal.
    let reciprocals: [Float]
    /// What was added to the moments' diagonal, a share of its mean, 1.
    let damping: Double
    /// What was taken from the products of different columns.
    let shrinkage: Double

    /// What is tried next where so little damping leaves a matrix that is not positive definite.
    private static func next(_ damping: Double) -> Double { max(0.01, damping * 4) }

    /// Factors `moments`, a symmetric matrix with a mean of 1 on its diagonal, other elements times 1 − `shrinkage`;
    /// `name` is what errors call it. `progress` is called between steps and may end the work.
    init(
        _ moments: consuming Matrix, shrinkage: Double = 0, damping wanted: Double, blas: OpenBLAS, threads: Int,
        name: String, progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        let columns = moments.rows
        let squares = (0..<columns).map { moments[$0, $0] }
        let order = (0..<columns).sorted { (squares[$0], $1) < (squares[$1], $0) }
        var matrix = moments
        matrix.permute(by: order)
        var damping = wanted
        while true {
            for (place, column) in order.enumerated() { matrix[place, place] = squares[column] + Float(damping) }
            matrix.scaleLower(by: Float(1 - shrinkage))
            guard let problem = try Self.invert(&matrix, blas, threads: threads, progress) else { break }
            damping = Self.next(damping)
            guard damping <= 1 else {
                throw .calibration(
                    code: "calibration.not_positive",
                    detail: "The products of the inputs of '\(name)' are no second moments: \(problem).")
            }
            matrix.mirrorUpper()
        }
        reciprocals = (0..<columns).map { 1 / matrix[$0, $0] }
        for (place, column) in order.enumerated() { matrix[place, place] = squares[column] }
        self.damping = damping
        self.shrinkage = shrinkage
        gram = OrderedGram(matrix: matrix, order: order)
    }

    /// Replaces the lower triangle by the inverse of its factor, or says why there is none.
    private static func invert(
        _ matrix: inout Matrix, _ blas: OpenBLAS, threads: Int, _ progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> LinearAlgebraError? {
        let steps = OpenBLAS.factorSteps(order: matrix.rows)
        for step in 0..<steps {
            try progress()
            do { try blas.factor(&matrix, step: step, threads: threads) } catch { return error }
        }
        for step in 0..<steps {
            try progress()
            do { try blas.invert(lower: &matrix, step: step, threads: threads) } catch { return error }
        }
        return nil
    }
}

/// Rounds tiles of a layer column after column.
struct GPTQRounding {
    let factor: GPTQFactor
    let coder: LaneCoder
    let blas: OpenBLAS

    /// Columns that are rounded before what they lost moves on to all others.
    private static let step = 128

    /// A tile as it was rounded: units in the order of the weight's columns, and for each row dᵀ(H + λ)d.
    func round(_ tile: WeightTile, _ grids: TileGrids) -> (units: [Lanes], errors: [Lanes]) {
        let (blocks, order) = (tile.blocks, factor.gram.order ?? Array(0..<tile.columns))
        var rest = tile.reordered(order)
        var units = [Lanes](repeating: .zero, count: tile.lanes.count)
        var errors = [Lanes](repeating: .zero, count: blocks)
        var lost = [Lanes](repeating: .zero, count: Self.step * blocks)
        var piece = [Lanes](repeating: .zero, count: Self.step)
        let inverses = grids.grids.map(\.inverse)
        for end in stride(from: tile.columns, to: 0, by: -Self.step) {
            let start = max(0, end - Self.step)
            for block in 0..<blocks {
                for place in start..<end { piece[place - start] = rest.lanes[place * blocks + block] }
                for place in (start..<end).reversed() {
                    let column = order[place]
                    let at = column / grids.groupSize * blocks + block
                    let weight = piece[place - start]
                    let unit = coder.units(weight * inverses[at], zero: grids.grids[at].zero)
                    let error =
                        (weight - coder.restored(unit, grids.grids[at])) * factor.reciprocals[place]
                    units[column * blocks + block] = unit
                    errors[block] += error * error
                    lost[(place - start) * blocks + block] = error
                    spread(error, from: place, start: start, over: &piece)
                }
            }
            guard start > 0 else { break }
            var target = rest.lanes.mutableSpan
            blas.multiply(
                rows: start, columns: tile.width, depth: end - start, factor.gram.matrix.elements.span,
                Panel(at: start * tile.columns, stride: tile.columns, isTransposed: true), lost.span, tile.panel,
                factor: -1, adding: true, into: &target, tile.panel)
        }
        return (units, errors)
    }

    /// For each row what `round` says of its own codes, for other changes.
    func errors(of changes: WeightTile) -> [Lanes] {
        factor.gram.errors(of: changes, shrinkage: factor.shrinkage, damping: factor.damping, blas: blas)
    }

    /// Takes from the columns of a piece in front of `place` what it lost.
    @inline(__always)
    private func spread(_ error: Lanes, from place: Int, start: Int, over piece: inout [Lanes]) {
        let row = place * factor.gram.matrix.columns + start
        let factors = factor.gram.matrix.elements.span
        var target = piece.mutableSpan
        for column in 0..<place - start { target[column] -= error * factors[row + column] }
    }
}

/// Second moments of a layer's columns in an order of their own; only what is on and right of the diagonal counts.
struct OrderedGram: Sendable {
    let matrix: Matrix
    /// The column that lies at each place; nil where they lie as in the weight.
    let order: [Int]?

    /// dᵀHd of each row for the changes of a tile; H with products of different columns times 1 − `shrinkage` and
    /// `damping` added to its diagonal.
    func errors(of changes: WeightTile, shrinkage: Double = 0, damping: Double = 0, blas: OpenBLAS) -> [Lanes] {
        let ordered = order.map { changes.reordered($0) } ?? changes
        var products = [Lanes](repeating: .zero, count: ordered.lanes.count)
        var target = products.mutableSpan
        blas.multiply(
            symmetric: matrix, columns: ordered.width, ordered.lanes.span, ordered.panel, into: &target,
            ordered.panel)
        var errors = [Lanes](repeating: .zero, count: changes.blocks)
        let kept = Float(1 - shrinkage)
        for column in 0..<changes.columns {
            let own = matrix[column, column] * Float(shrinkage) + Float(damping)
            for block in 0..<changes.blocks {
                let at = column * changes.blocks + block
                errors[block] += ordered.lanes[at] * (products[at] * kept + ordered.lanes[at] * own)
            }
        }
        return errors
    }
}
