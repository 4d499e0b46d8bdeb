import Foundation
import Tensors
import Testing

@testable import Quantization

/// What a reader makes of a weight with grouped scales, written from the format's description alone, in scalar Swift.
struct RestoredGroups {
    let values: [Float]

    /// Restores tensor `weight` [rows, columns] of the given type from the artifact of `recipe`.
    init(_ run: SessionRun, _ recipe: Recipe, rows: Int, columns: Int, type: ElementType) throws {
        try self.init(run.tensors(), recipe, rows: rows, columns: columns, type: type)
    }

    /// The same from an artifact's tensors; `module` is empty or ends in a dot.
    init(
        _ tensors: [String: [UInt8]], module: String = "", _ recipe: Recipe, rows: Int, columns: Int, type: ElementType
    ) throws {
        func bytes(_ name: String) throws -> [UInt8] { try #require(tensors[module + name], "\(module)\(name)") }
        let group = recipe.groupSize == -1 ? columns : recipe.groupSize
        func index(_ row: Int, _ column: Int) -> Int { row * (columns / group) + column / group }
        var values = [Float](repeating: 0, count: rows * columns)
        func each(_ body: (Int, Int) -> Float) {
            for row in 0..<rows { for column in 0..<columns { values[row * columns + column] = body(row, column) } }
        }
        func round(_ value: Float) -> Float { Self.rounded(value, type) }
        switch (recipe.method, recipe.format) {
        case (.fp8, _):
            let (codes, scales) = (try bytes("weight"), Self.floats(try bytes("weight_scale"), type))
            each { row, column in round(Self.e4m3(codes[row * columns + column]) * scales[row]) }
        case (_, .mlx):
            let (codes, scales) = (try bytes("weight"), Self.floats(try bytes("scales"), type))
            let biases = Self.floats(try bytes("biases"), type)
            each { row, column in
                let place = index(row, column)
                let code = Self.nibble(codes, row * columns + column)
                return round(round(Float(code) * scales[place]) + biases[place])
            }
        case (_, .awq):
            let (words, zeros) = (try bytes("qweight"), try bytes("qzeros"))
            let scales = Self.floats(try bytes("scales"), .f16)
            each { row, column in
                let order = [0, 4, 1, 5, 2, 6, 3, 7]
                let nibble = row / 8 * 8 + order[row % 8]
                let code = Self.nibble(words, column * rows + nibble)
                let zero = Self.nibble(zeros, column / group * rows + nibble)
                return Self.rounded(Float(code - zero) * scales[column / group * rows + row], .f16)
            }
        default:
            let (codes, scales) = (try bytes("weight_packed"), Self.floats(try bytes("weight_scale"), type))
            let rowNibbles = (columns + 7) / 8 * 8
            each { row, column in
                round(Float(Self.nibble(codes, row * rowNibbles + column) - 8) * scales[index(row, column)])
            }
        }
        self.values = values
    }

    /// Σ(x − x̂)² in Double.
    func squaredError(_ x: [Float]) -> Double {
        zip(x, values).reduce(0) { $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1)) }
    }

    private static func nibble(_ bytes: [UInt8], _ index: Int) -> Int { Int(bytes[index / 2] >> (index % 2 * 4)) & 15 }

    private static func e4m3(_ code: UInt8) -> Float {
        let (exponent, fraction) = (Int(code >> 3 & 15), Float(code & 7))
        let magnitude = exponent == 0 ? fraction * 0x1p-9 : (1 + fraction / 8) * Float(pow(2.0, Double(exponent - 7)))
        return code & 0x80 == 0 ? magnitude : -magnitude
    }

    static func floats(_ bytes: [UInt8], _ type: ElementType) -> [Float] {
        let width = type == .f32 ? 4 : 2
        return stride(from: 0, to: bytes.count, by: width).map { start in
            let bits = (0..<width).reduce(UInt32(0)) { $0 | UInt32(bytes[start + $1]) << (8 * $1) }
            switch type {
            case .f16: return Float(Float16(bitPattern: UInt16(bits)))
            case .bf16: return Float(bitPattern: bits << 16)
            default: return Float(bitPattern: bits)
            }
        }
    }

    /// `value` as `type` holds it.
    static func rounded(_ value: Float, _ type: ElementType) -> Float {
        switch type {
        case .f16: return Float(Float16(value))
        case .bf16:
            let bits = value.bitPattern
            return Float(bitPattern: (bits &+ 0x7fff &+ (bits >> 16 & 1)) & 0xffff_0000)
        default: return value
        }
    }
}
