/// The mean of a stream of float32, summed in the order of torch on one thread.
///
/// bitsandbytes subtracts this mean from the block scales, so its last bit decides bytes. The order: elements are taken
/// in rows of 32 lanes (4 vectors of 8), and rows are summed by a cascade of 4 levels. Memory is constant.
/// Source: torch 2.15, `aten/src/ATen/native/cpu/SumKernel.cpp`, `multi_row_sum`; with several threads torch itself
/// differs from 32768 elements on.
struct TorchMean: Sendable {
    private let count: Int
    /// A level is carried into the next after `1 << power` additions.
    private let power: Int
    private var levels = [SIMD32<Float>](repeating: .zero, count: 4)
    private var rows = 0
    /// The row that is not full yet: its first `filled` lanes.
    private var pending = SIMD32<Float>.zero
    private var filled = 0

    /// Starts the mean of exactly `count` elements.
    init(count: Int) {
        self.count = count
        power = max(4, Self.ceilingOfLog2(count / 32) / 4)
    }

    /// Adds the next elements.
    mutating func add(_ span: Span<Float>) {
        for index in span.indices {
            pending[filled] = span[index]
            filled += 1
            if filled == 32 {
                filled = 0
                addRow()
            }
        }
    }

    private mutating func addRow() {
        levels[0] += pending
        rows += 1
        guard rows & (1 << power - 1) == 0 else { return }
        for level in 1..<4 {
            levels[level] += levels[level - 1]
            levels[level - 1] = .zero
            guard rows >> (level * power) & (1 << power - 1) == 0 else { return }
        }
    }

    /// Adds the sums and the row that is not full.
    func save(to state: inout StateWriter) {
        for level in levels {
            for lane in level.indices { state.add(level[lane]) }
        }
        for lane in 0..<filled { state.add(pending[lane]) }
    }

    /// Takes up the sums of the first `added` elements.
    mutating func restore(from state: inout StateReader, added: Int) throws(QuantizationError) {
        (rows, filled) = added.quotientAndRemainder(dividingBy: 32)
        for level in levels.indices {
            for lane in 0..<32 { levels[level][lane] = try state.float() }
        }
        for lane in 0..<filled { pending[lane] = try state.float() }
    }

    /// The mean; NaN of no elements.
    func finish() -> Float {
        let total = levels[0] + levels[1] + levels[2] + levels[3]
        var vectors = [
            total.lowHalf.lowHalf, total.lowHalf.highHalf, total.highHalf.lowHalf, total.highHalf.highHalf,
        ]
        for row in 0..<filled / 8 {
            for lane in 0..<8 { vectors[0][lane] += pending[row * 8 + lane] }
        }
        let lanes = vectors[0] + vectors[1] + vectors[2] + vectors[3]
        var sum: Float = 0
        for lane in filled / 8 * 8..<filled { sum += pending[lane] }
        for lane in 0..<8 { sum += lanes[lane] }
        return sum / Float(count)
    }

    /// torch's `CeilLog2`: 1 up to 2.
    private static func ceilingOfLog2(_ value: Int) -> Int {
        value <= 2 ? 1 : Int.bitWidth - (value - 1).leadingZeroBitCount
    }
}
