import Tensors

/// Codes some rows of a weight as LLM.int8: what one thread does for an `Int8Encoder`.
final class Int8Coder: UnitCoder, @unchecked Sendable {
    // Invariant: a `CoderCrew` gives each coder to one thread at a time, and all have ended when the encoder reads.

    /// Some rows' codes and scales, and the error sums of pieces of at most `pieceElements`.
    struct Made {
        fileprivate(set) var codes: [Int8]
        fileprivate(set) var scales: [Float] = []
        fileprivate(set) var pieces: [ErrorSums] = []

        /// Room for up to `rows` rows of `columns` weights.
        init(rows: Int, columns: Int) {
            codes = [Int8](repeating: 0, count: rows * columns)
        }
    }

    private let name: String
    private let columns: Int
    private var widened: WidenedElements
    var histogram = ErrorCounts()
    private(set) var maximumSignal = 0.0

    /// float16 holds no larger magnitude, and the library converts weights to float16 first.
    static let largestWeight: Float = 65504
    /// Error sums are taken over pieces of this many elements.
    private static let pieceElements = 4096

    /// A coder for rows of `entry`.
    init(entry: TensorEntry) {
        name = entry.name
        columns = entry.shape[1]
        widened = WidenedElements(of: entry.type)
    }

    func code(
        _ stored: RawSpan, units rows: Int, from first: Int, into made: inout Made, _ kernels: Kernels
    ) throws(QuantizationError) {
        made.scales.removeAll(keepingCapacity: true)
        made.pieces.removeAll(keepingCapacity: true)
        histogram.willCount(rows * columns)
        try widened.read(stored, kernels) { (x) throws(QuantizationError) in
            for row in 0..<rows {
                let part = x.extracting(row * columns * 4..<(row + 1) * columns * 4)
                let largest = kernels.absmax(part, count: columns)
                guard largest <= Self.largestWeight else { throw refusal(part, first + row, kernels) }
                maximumSignal = max(maximumSignal, Double(largest))
                encode(part, row, HalfPrecision.roundedToFloat16(largest), &made, kernels)
            }
        }
    }

    private func encode(_ x: RawSpan, _ row: Int, _ scale: Float, _ made: inout Made, _ kernels: Kernels) {
        made.scales.append(scale)
        for start in stride(from: 0, to: columns, by: Self.pieceElements) {
            let count = min(Self.pieceElements, columns - start)
            var piece = ErrorSums()
            kernels.int8(
                x.extracting(start * 4..<(start + count) * 4), count: count, absmax: scale, codes: &made.codes,
                at: row * columns + start, sums: &piece, histogram: &histogram.recent)
            made.pieces.append(piece)
        }
    }

    private func refusal(_ x: RawSpan, _ row: Int, _ kernels: Kernels) -> QuantizationError {
        if let index = kernels.firstNonFinite(x, count: columns) {
            return .nonFinite(tensor: name, index: row * columns + index)
        }
        let (index, value) = kernels.firstBeyond(x, count: columns, limit: Self.largestWeight)
        return .outOfRange(tensor: name, index: row * columns + index, value: value, limit: Self.largestWeight)
    }
}
