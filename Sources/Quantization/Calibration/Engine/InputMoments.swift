import LinearAlgebra
import Tensors

/// Means over tokens of products of a Linear's inputs, as far as they are known.
enum Hessian: Sendable {
    /// Of each column with itself.
    case diagonal([Float])
    /// Of columns within blocks of `size` on the diagonal: element [(block · size + i) · size + j].
    case blocks(size: Int, [Float])
    /// Of all columns, symmetric.
    case full(Matrix)
}

/// What the inputs of a Linear are like.
struct InputMoments: Sendable {
    let columns: Int
    /// Tokens that the data was taken from; nil where nothing says it.
    let tokens: Int?
    var hessian: Hessian
    /// The share of what columns have in common that is chance in so few tokens, 0...1: multiplying the products of
    /// different columns by what is left makes the most of them.
    private(set) var shrinkage = 0.0
    /// The share of what tells the columns' mean squares apart that is chance; it is taken from `hessian`.
    private(set) var squareShare = 0.0

    /// Columns whose inputs were always zero count this share of the mean: their codes matter only to each other.
    static let share: Float = 0x1p-13

    /// Rows of the activations that are calibrated on: all but the last fifth, which is held out; all of less than 10.
    static func calibrationTokens(of count: Int) -> Int { count < 10 ? count : count - count / 5 }

    /// Reads what `calibration` holds, the inputs divided by `scales`.
    ///
    /// The moments are divided by the mean of their diagonal unless `isNormalized` is false.
    /// Products of all columns are formed where `isFull` and the data has them; else those within blocks of `size`.
    /// Throws `calibration.non_finite`, `calibration.not_positive` for means that no inputs can have,
    /// `calibration.range` for products that overflow, and what `progress` throws.
    init(
        _ calibration: LayerCalibration, isFull: Bool, blockSize size: Int, dividedBy scales: [Float]?, blas: OpenBLAS,
        threads: Int, isNormalized: Bool = true, progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        columns = calibration.columns
        tokens = try calibration.tokens()
        let reader = MomentReader(calibration: calibration, blas: blas, threads: threads)
        var scatter: TokenScatter?
        if let activations = calibration.activations {
            hessian = try reader.read(
                activations: activations, size: isFull ? nil : size, progress: progress)
            try check(calibration)
            scatter = try reader.scatter(of: activations, squares: diagonal, progress: progress)
        } else if let gram = calibration.gram {
            hessian = try reader.read(gram: gram, size: isFull ? nil : size)
        } else {
            hessian = .diagonal(try reader.readSquares())
        }
        if calibration.activations == nil, let tokens {
            scatter = TokenScatter(tokens: tokens, magnitudes: try calibration.magnitudes(), squares: diagonal)
        }
        divide(by: scales)
        try check(calibration)
        regularize(scatter)
        if isNormalized { try normalize(calibration) }
    }

    /// Every column as much as any other: nothing is known.
    init(unknown columns: Int) {
        self.columns = columns
        tokens = nil
        hessian = .diagonal([Float](repeating: 1, count: columns))
    }

    /// The mean square of each column.
    var diagonal: [Float] {
        switch hessian {
        case .diagonal(let values): values
        case .blocks(let size, let values):
            (0..<columns).map { values[$0 * size + $0 % size] }
        case .full(let matrix): (0..<columns).map { matrix[$0, $0] }
        }
    }

    /// The sum of the squares of the correlations of different columns, and how many there are.
    private var correlations: (sum: Double, count: Int) {
        let roots = diagonal.map { Double($0).squareRoot() }
        var (sum, count) = (0.0, 0)
        func add(_ row: Int, _ column: Int, _ value: Float) {
            let correlation = Double(value) / (roots[row] * roots[column])
            guard row != column, correlation.isFinite else { return }
            sum += correlation * correlation
            count += 1
        }
        switch hessian {
        case .diagonal: break
        case .blocks(let size, let values):
            for row in 0..<columns {
                let first = row / size * size
                for column in first..<min(columns, first + size) {
                    add(row, column, values[row * size + column - first])
                }
            }
        case .full(let matrix):
            for row in 0..<columns { for column in 0..<columns { add(row, column, matrix[row, column]) } }
        }
        return (sum, count)
    }

    /// Applies `body` to every element that is held, given its row and its column.
    private mutating func forEach(_ body: (Int, Int, inout Float) -> Void) {
        switch hessian {
        case .diagonal(var values):
            hessian = .diagonal([])
            for column in values.indices { body(column, column, &values[column]) }
            hessian = .diagonal(values)
        case .blocks(let size, var values):
            hessian = .diagonal([])
            for row in 0..<columns {
                let first = row / size * size
                for column in first..<min(columns, first + size) {
                    body(row, column, &values[row * size + column - first])
                }
            }
            hessian = .blocks(size: size, values)
        case .full(var matrix):
            hessian = .diagonal([])
            for row in 0..<columns {
                for column in 0..<columns { body(row, column, &matrix.elements[row * columns + column]) }
            }
            hessian = .full(matrix)
        }
    }

    private mutating func divide(by scales: [Float]?) {
        guard let scales else { return }
        forEach { $2 = $2 / scales[$0] / scales[$1] }
    }

    private func check(_ calibration: LayerCalibration) throws(QuantizationError) {
        for (column, square) in diagonal.enumerated() where !(square >= 0 && square.isFinite) {
            let problem = square.isFinite ? "not_positive" : "range"
            throw .calibration(
                code: "calibration.\(problem)",
                detail: "The mean square of input \(column) of '\(calibration.module)' is \(square).")
        }
    }

    /// Draws the mean squares together as far as they are apart by chance, and lets no column be without any.
    private mutating func regularize(_ scatter: TokenScatter?) {
        let squares = diagonal
        if let scatter {
            let correlations = correlations
            shrinkage = scatter.share(ofCorrelations: correlations.sum, count: correlations.count)
            squareShare = scatter.share(ofSquares: squares)
        }
        let mean = squares.reduce(0.0) { $0 + Double($1) } / Double(max(1, columns))
        let (kept, given, least) = (Float(1 - squareShare), Float(squareShare * mean), Self.share * Float(mean))
        guard squareShare > 0 || squares.contains(0) else { return }
        forEach { row, column, value in
            value *= kept
            guard row == column else { return }
            value += given
            if value == 0 { value = least }
        }
    }

    private mutating func normalize(_ calibration: LayerCalibration) throws(QuantizationError) {
        let mean = Float(diagonal.reduce(0.0) { $0 + Double($1) } / Double(max(1, columns)))
        // Where no column ever had an input, each counts as much as any other.
        let (unit, least): (Float, Float) = mean > 0 ? (1 / mean, Self.share) : (0, 1)
        guard unit.isFinite else {
            throw .calibration(
                code: "calibration.range", detail: "The inputs of '\(calibration.module)' are too small for float32.")
        }
        forEach { row, column, value in
            value *= unit
            if row == column, value == 0 { value = least }
        }
    }
}

/// Reads second moments from where they lie.
private struct MomentReader {
    let calibration: LayerCalibration
    let blas: OpenBLAS
    let threads: Int

    private var columns: Int { calibration.columns }

    /// The mean of xxᵀ over the tokens that are calibrated on; blocks of `size`, or all of it if nil.
    func read(
        activations: CalibrationTensor, size: Int?, progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> Hessian {
        var rows = activations.rows(count: activations.shape[0], columns: columns)
        let count = InputMoments.calibrationTokens(of: activations.shape[0])
        let step = AWQTiles.tokens(columns: columns)
        var x = [Float](repeating: 0, count: min(step, count) * columns)
        var gram = Matrix(rows: size == nil ? columns : 0, columns: size == nil ? columns : 0)
        var blocks = [Float](repeating: 0, count: size.map { ($0 + columns - 1) / $0 * $0 * $0 } ?? 0)
        for first in stride(from: 0, to: count, by: step) {
            let taken = min(step, count - first)
            try rows.read(first..<first + taken, into: &x)
            if let size {
                add(x, tokens: taken, size: size, to: &blocks)
            } else {
                blas.addGram(of: x, rows: taken, to: &gram, threads: threads)
            }
            try progress()
        }
        let unit = 1 / Float(count)
        if let size {
            for index in blocks.indices { blocks[index] *= unit }
            return .blocks(size: size, blocks)
        }
        for index in gram.elements.indices { gram.elements[index] *= unit }
        gram.mirrorLower()
        return .full(gram)
    }

    /// How far the moments scatter of the tokens that are calibrated on; `squares` are their mean squares.
    func scatter(
        of activations: CalibrationTensor, squares: [Float], progress: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) -> TokenScatter {
        var rows = activations.rows(count: activations.shape[0], columns: columns)
        let count = InputMoments.calibrationTokens(of: activations.shape[0])
        let step = AWQTiles.tokens(columns: columns)
        var x = [Float](repeating: 0, count: min(step, count) * columns)
        var scatter = TokenScatter(squares: squares)
        for first in stride(from: 0, to: count, by: step) {
            let taken = min(step, count - first)
            try rows.read(first..<first + taken, into: &x)
            scatter.add(x, tokens: taken)
            try progress()
        }
        return scatter
    }

    private func add(_ x: [Float], tokens: Int, size: Int, to blocks: inout [Float]) {
        var target = blocks.mutableSpan
        for first in stride(from: 0, to: columns, by: size) {
            let width = min(size, columns - first)
            blas.multiply(
                rows: width, columns: width, depth: tokens, x.span,
                Panel(at: first, stride: columns, isTransposed: true), x.span, Panel(at: first, stride: columns),
                adding: true, into: &target, Panel(at: first * size, stride: size))
        }
    }

    /// A stored mean of xxᵀ, whole or in blocks, as blocks of `size` or as it is.
    func read(gram: CalibrationTensor, size: Int?) throws(QuantizationError) -> Hessian {
        let stored = gram.shape[gram.shape.count - 1]
        var rows = gram.rows(count: columns, columns: stored)
        let isWhole = stored == columns
        if isWhole, size == nil {
            var matrix = Matrix(rows: columns, columns: columns)
            try rows.read(0..<columns, into: &matrix.elements)
            try check(gram, size: columns) { matrix[$0, $1] }
            matrix.mirrorLower()
            return .full(matrix)
        }
        let size = size ?? stored
        var line = [Float](repeating: 0, count: stored)
        var blocks = [Float](repeating: 0, count: (columns + size - 1) / size * size * size)
        for row in 0..<columns {
            try rows.read(row..<row + 1, into: &line)
            let (first, block) = (row / size * size, row / stored * stored)
            for column in max(first, block)..<min(first + size, block + stored, columns) {
                blocks[row * size + column - first] = line[column - block]
            }
        }
        try check(gram, size: size) { blocks[$0 * size + $1 - $0 / size * size] }
        return .blocks(size: size, blocks)
    }

    /// Refuses what no mean of xxᵀ is: negative squares, products beyond √(ii · jj), two values for one product.
    private func check(_ gram: CalibrationTensor, size: Int, _ value: (Int, Int) -> Float) throws(QuantizationError) {
        let roots = (0..<columns).map { Double(value($0, $0)).squareRoot() }
        for row in 0..<columns {
            for column in row / size * size..<row + 1 {
                let (one, other) = (Double(value(row, column)), Double(value(column, row)))
                let most = roots[row] * roots[column] * (1 + Self.tolerance) + Double(Float.leastNormalMagnitude)
                guard !(abs(one) <= most && abs(one - other) <= most * Self.tolerance) else { continue }
                throw .calibration(
                    code: "calibration.not_positive",
                    detail: "'\(gram.name)' is no mean of products: [\(row), \(column)] is \(one), its mirror image "
                        + "\(other), the squares \(value(row, row)) and \(value(column, column)).")
            }
        }
    }

    /// What bfloat16 keeps of a product, and rounding on the way.
    private static let tolerance = 0x1p-6

    /// The mean square of each column, from the squares or the magnitudes.
    func readSquares() throws(QuantizationError) -> [Float] {
        if let squares = calibration.squareMean { return try squares.vector(columns) }
        return try calibration.magnitudes()?.map { $0 * $0 } ?? []
    }
}

extension LayerCalibration {
    /// The mean magnitude of each column; nil where it is not given.
    func magnitudes() throws(QuantizationError) -> [Float]? {
        guard let absMean else { return nil }
        let means = try absMean.vector(columns)
        for (column, mean) in means.enumerated() where mean < 0 {
            throw .calibration(
                code: "calibration.not_positive",
                detail: "The mean magnitude of input \(column) in '\(absMean.name)' is \(mean).")
        }
        return means
    }

    /// Tokens that the data was taken from: those calibrated on of the activations, or what `count` says.
    func tokens() throws(QuantizationError) -> Int? {
        if let activations { return InputMoments.calibrationTokens(of: activations.shape[0]) }
        guard let count else { return nil }
        let value = try count.scalar()
        guard value >= 1, value <= 0x1p53 else {
            throw .calibration(code: "calibration.empty", detail: "'\(count.name)' says \(value) tokens.")
        }
        return Int(value)
    }
}

/// Rows of a calibration tensor; what is no number is refused as what it is.
struct CalibrationRows {
    private var rows: StagedRows

    init(_ rows: StagedRows) { self.rows = rows }

    /// Reads whole rows, one after the other from the start of `values`.
    mutating func read(_ range: Range<Int>, into values: inout [Float]) throws(QuantizationError) {
        do {
            try rows.read(rows: range, into: &values)
        } catch .nonFinite(let tensor, let index) {
            throw .calibration(
                code: "calibration.non_finite", detail: "Element \(index) of '\(tensor)' is NaN or infinite.")
        } catch .outOfRange(let tensor, let index, _, _) {
            throw .calibration(
                code: "calibration.range", detail: "Element \(index) of '\(tensor)' is too large for float32.")
        }
    }
}

extension CalibrationTensor {
    /// Its elements as rows of floats.
    func rows(count: Int, columns: Int) -> CalibrationRows {
        let staged = StagedTensor(type: type, rows: count, columns: columns, offset: offset)
        return CalibrationRows(StagedRows(staged, storage: storage, name: name))
    }

    /// All of its `count` elements.
    func vector(_ count: Int) throws(QuantizationError) -> [Float] {
        var values = [Float](repeating: 0, count: count)
        var rows = rows(count: 1, columns: count)
        try rows.read(0..<1, into: &values)
        return values
    }

    /// Its one element.
    func scalar() throws(QuantizationError) -> Double {
        switch type {
        case .i64: return Double(try integers(Int64.self))
        case .i32: return Double(try integers(Int32.self))
        default: return Double(try vector(1)[0])
        }
    }

    private func integers<Value: FixedWidthInteger & BitwiseCopyable>(
        _: Value.Type
    ) throws(QuantizationError) -> Value {
        var bytes = [UInt8](repeating: 0, count: Value.bitWidth / 8)
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        do { try storage.read(into: &raw, at: offset) } catch { throw .storage(error) }
        return bytes.reversed().reduce(0) { $0 << 8 | Value($1) }
    }
}
