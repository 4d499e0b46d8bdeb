import Foundation
import Testing

@testable import Quantization

/// What a reader makes of an artifact's weight: quant_map[code] · absmax in float32, then the cast to its dtype.
///
/// Written from the format's description alone, in scalar Swift.
struct RestoredWeight {
    let values: [Float]
    let scales: [Float]

    init(_ run: SessionRun, name: String = "weight") throws {
        let tensors = try run.tensors()
        func floats(_ key: String) throws -> [Float] {
            let bytes = try #require(tensors[key], "\(key)")
            return stride(from: 0, to: bytes.count, by: 4).map { start in
                Float(bitPattern: (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[start + $1]) << (8 * $1) })
            }
        }
        let text = try #require(tensors["\(name).quant_state.bitsandbytes__nf4"])
        let state = try #require(try JSONSerialization.jsonObject(with: Data(text)) as? [String: Any])
        let blockSize = try #require(state["blocksize"] as? Int)
        let shape = try #require(state["shape"] as? [Int])
        if let offset = state["nested_offset"] as? Double {
            let map = try floats("\(name).nested_quant_map")
            let nested = try floats("\(name).nested_absmax")
            let codes = try #require(tensors["\(name).absmax"])
            scales = codes.enumerated().map { map[Int($1)] * nested[$0 / 256] + Float(offset) }
        } else {
            scales = try floats("\(name).absmax")
        }
        let map = try floats("\(name).quant_map")
        let packed = try #require(tensors[name])
        let dtype = state["dtype"] as? String
        let scales = scales
        values = (0..<shape[0] * shape[1]).map { index in
            let code = index % 2 == 0 ? packed[index / 2] >> 4 : packed[index / 2] & 15
            let value = map[Int(code)] * scales[index / blockSize]
            switch dtype {
            case "float16": return Float(Float16(value))
            case "bfloat16":
                let bits = value.bitPattern
                return Float(bitPattern: (bits &+ 0x7fff &+ (bits >> 16 & 1)) & 0xffff_0000)
            default: return value
            }
        }
    }

    /// Σ(x − x̂)² in Double.
    func squaredError(_ x: [Float]) -> Double {
        zip(x, values).reduce(0) { $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1)) }
    }
}

/// Weights of many shapes, small enough to quantize often.
enum Weights: String, CaseIterable {
    case gaussian, studentT5, uniform, spiky, zeros, constant, signs, tiny, subnormal, huge, nearLimit
    case grid, gridOfManyScales, sparse, zeroBlocks, growing, mixedScales, relu
    case firstGroupLarge, firstGroupSmall, firstGroupZero

    /// At least `count` values, rounded up to whole rows of `columns`.
    func values(_ count: Int, seed: UInt32 = 1) -> [Float] {
        let normal = normals(count, seed: UInt64(seed))
        var random = SplitMix(state: UInt64(seed) &* 77)
        switch self {
        case .gaussian: return normal
        case .studentT5:
            let chi = (0..<5).map { normals(count, seed: UInt64(seed) + 10 + UInt64($0)) }
            return normal.indices.map { index in
                normal[index] / (chi.reduce(Float(0)) { $0 + $1[index] * $1[index] } / 5).squareRoot()
            }
        case .uniform: return normal.map { _ in random.uniform() * 2 - 1 }
        case .spiky: return normal.map { random.uniform() < 0.002 ? $0 * 100 : $0 * 0.01 }
        case .zeros: return normal.map { _ in 0 }
        case .constant: return normal.map { _ in 0.37 }
        case .signs: return normal.map { $0 < 0 ? -0.02 : 0.02 }
        case .tiny: return normal.map { $0 * 1e-18 }
        case .subnormal: return normal.map { $0 * 0x1p-130 }
        case .huge: return normal.map { $0 * 1e17 }
        case .nearLimit: return normal.map { max(-1, min(1, $0 / 3)) * .greatestFiniteMagnitude }
        case .grid: return normal.map { _ in NF4Tables.values[Int(random.next32() >> 28)] * 0.03125 }
        case .gridOfManyScales:
            // A weight that was NF4 before: all that is lost is the precision of the scales.
            let scales = normals(count / 64 + 1, seed: UInt64(seed) + 5).map { 1 + $0 * 0.2 }
            return normal.indices.map { index in
                scales[index / 64] * (index % 64 == 0 ? 1 : NF4Tables.values[Int(random.next32() >> 28)])
            }
        case .sparse: return normal.map { random.uniform() < 0.03 ? $0 : 0 }
        case .zeroBlocks: return normal.enumerated().map { $0 / 640 % 2 == 0 ? 0 : $1 }
        case .firstGroupLarge: return normal.enumerated().map { $0 < 8192 ? $1 * 30 : $1 }
        case .firstGroupSmall: return normal.enumerated().map { $0 < 16384 ? $1 * 1e-3 : $1 }
        case .firstGroupZero: return normal.enumerated().map { $0 < 16384 ? 0 : $1 }
        case .growing: return normal.enumerated().map { $1 * Float($0 / 4096 + 1) }
        case .mixedScales: return normal.enumerated().map { $1 * Float([1, 0.01, 3, 0.3][$0 / 64 % 4]) }
        case .relu: return normal.map { max(0, $0) }
        }
    }
}

/// Under a name that the case does not hide.
private func normals(_ count: Int, seed: UInt64) -> [Float] { gaussian(count, seed: seed) }
