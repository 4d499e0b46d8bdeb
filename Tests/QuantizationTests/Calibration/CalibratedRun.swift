import Tensors
import Testing

@testable import Quantization

/// A Linear and its inputs, made for a test: columns go together, some are loud.
struct LinearFixture {
    let rows: Int
    let columns: Int
    let tokens: Int
    var weights: [Float]
    var inputs: [Float]

    init(rows: Int, columns: Int, tokens: Int, seed: UInt64 = 1) {
        (self.rows, self.columns, self.tokens) = (rows, columns, tokens)
        weights = gaussian(rows * columns, seed: seed, scale: 0.02)
        let rank = 8
        let hidden = gaussian(tokens * rank, seed: seed + 1)
        let factors = gaussian(rank * columns, seed: seed + 2)
        var inputs = gaussian(tokens * columns, seed: seed + 3, scale: 0.5)
        for token in 0..<tokens {
            for column in 0..<columns {
                let at = token * columns + column
                for index in 0..<rank { inputs[at] += hidden[token * rank + index] * factors[index * columns + column] }
                if column % 29 == 3 { inputs[at] *= 6 }
            }
        }
        self.inputs = inputs
    }

    /// Tokens that are calibrated on: all but the last fifth.
    var calibrated: Int { tokens - tokens / 5 }

    typealias Part = (name: String, type: ElementType, shape: [Int], bytes: [UInt8])

    var weightPart: Part { ("l.weight", .f32, [rows, columns], bytes(of: weights)) }

    /// The weight and its activations.
    var file: [UInt8] {
        safetensors([weightPart, ("l.activations", .f32, [tokens, columns], bytes(of: inputs))])
    }

    /// The mean of xxᵀ over the tokens that are calibrated on, in Double.
    var gram: [Double] {
        var gram = [Double](repeating: 0, count: columns * columns)
        for token in 0..<calibrated {
            for i in 0..<columns {
                let x = Double(inputs[token * columns + i])
                for j in 0..<columns { gram[i * columns + j] += x * Double(inputs[token * columns + j]) }
            }
        }
        return gram.map { $0 / Double(calibrated) }
    }

    /// The weight, the Gram matrix, and how many tokens it was taken from.
    var gramFile: [UInt8] {
        let count = (0..<8).map { UInt8(truncatingIfNeeded: calibrated >> ($0 * 8)) }
        return safetensors([
            weightPart, ("l.gram", .f32, [columns, columns], bytes(of: gram.map { Float($0) })),
            ("l.count", .i64, [1], count),
        ])
    }

    /// ‖X(W − Ŵ)ᵀ‖² / ‖XWᵀ‖² over some tokens, in Double.
    func outputError(of restored: [Float], tokens range: Range<Int>) -> Double {
        var (error, signal) = (0.0, 0.0)
        for token in range {
            for row in 0..<rows {
                var (change, output) = (0.0, 0.0)
                for column in 0..<columns {
                    let x = Double(inputs[token * columns + column])
                    let weight = Double(weights[row * columns + column])
                    output += x * weight
                    change += x * (weight - Double(restored[row * columns + column]))
                }
                error += change * change
                signal += output * output
            }
        }
        return error / signal
    }
}

/// A layer that went through a session, and what a reader restores of it.
struct CalibratedRun {
    let session: SessionRun
    let restored: [Float]
    let report: TensorReport

    init(_ file: [UInt8], _ options: [(String, String)], threads: Int = 1) throws {
        var limits = SessionLimits()
        limits.maximumThreads = threads
        session = try SessionRun(file, options, limits: limits)
        let tensors = try RestoreRun(session.output.bytes).tensors()
        restored = try #require(tensors["l.weight"]).bytes.floats
        report = try #require(session.result.report.tensors.first { $0.entry.name == "l.weight" })
    }
}

extension [UInt8] {
    /// Little-endian float32 values.
    var floats: [Float] {
        stride(from: 0, to: count, by: 4).map { at in
            Float(bitPattern: (0..<4).reduce(UInt32(0)) { $0 | UInt32(self[at + $1]) << UInt32(8 * $1) })
        }
    }
}

/// Every code, with GPTQ and without.
let calibratedRecipes: [[(String, String)]] = [
    [("method", "awq"), ("group_size", "32"), ("scaling", "none")],
    [("method", "awq"), ("group_size", "32"), ("scaling", "none"), ("rounding", "nearest")],
    [("method", "int4"), ("group_size", "32"), ("calibration", "data")],
    [("method", "int8"), ("format", "compressed-tensors"), ("group_size", "32"), ("calibration", "data")],
    [("method", "int4"), ("group_size", "-1"), ("calibration", "data"), ("rounding", "nearest")],
    [("method", "nf4"), ("block_size", "32"), ("calibration", "data")],
    [("method", "nf4"), ("block_size", "32"), ("calibration", "data"), ("double_quant", "false")],
    [("method", "nf4"), ("block_size", "32"), ("calibration", "data"), ("rounding", "nearest")],
]
