import Tensors

/// The forms in which calibration data may come.
enum DataForm: String, CaseIterable {
    case channels, blocks, gram, activations

    typealias Part = (name: String, type: ElementType, shape: [Int], bytes: [UInt8])

    /// What is told of a module, whose name ends in a dot, that saw `inputs` [tokens, columns].
    func parts(_ module: String, _ inputs: [Float], columns: Int, block: Int = 32) -> [Part] {
        let tokens = inputs.count / columns
        func mean(_ value: (Int) -> Double) -> Float {
            Float((0..<tokens).reduce(0.0) { $0 + value($1) } / Double(tokens))
        }
        func product(_ i: Int, _ j: Int) -> Float {
            mean { Double(inputs[$0 * columns + i]) * Double(inputs[$0 * columns + j]) }
        }
        let count: Part = (
            module + "count", .i64, [1], (0..<8).map { UInt8(truncatingIfNeeded: tokens >> ($0 * 8)) }
        )
        switch self {
        case .activations: return [(module + "activations", .f32, [tokens, columns], bytes(of: inputs))]
        case .gram:
            let gram = (0..<columns * columns).map { product($0 / columns, $0 % columns) }
            return [(module + "gram", .f32, [columns, columns], bytes(of: gram)), count]
        case .blocks:
            let gram = (0..<columns).flatMap { i in (0..<block).map { product(i, i / block * block + $0) } }
            return [(module + "gram", .f32, [columns / block, block, block], bytes(of: gram)), count]
        case .channels:
            let squares = (0..<columns).map { product($0, $0) }
            let magnitudes = (0..<columns).map { column in mean { Double(abs(inputs[$0 * columns + column])) } }
            return [
                (module + "square_mean", .f32, [columns], bytes(of: squares)),
                (module + "abs_mean", .f32, [columns], bytes(of: magnitudes)), count,
            ]
        }
    }
}
