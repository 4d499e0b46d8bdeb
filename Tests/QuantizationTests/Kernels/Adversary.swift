@testable import Quantization

/// Input on which a wrong order of operations, a wrong tie, a flushed subnormal or a lost NaN shows.
enum Adversary: CaseIterable {
    /// Every decision point and its neighbours of 1 and 2 ulp, scaled by many absmax.
    case midpoints
    case subnormal
    /// About 1e-38, where the reciprocal is clamped.
    case tiny
    /// Up to the largest float, where the reciprocal is subnormal.
    case huge
    case zeros
    case everyBFloat16
    case randomBits
    case normal

    /// A few thousand float32, and a short block at the end.
    var values: [Float] {
        var random = SplitMix(state: 42)
        switch self {
        case .midpoints: return Self.midpointValues(&random)
        case .subnormal: return (0..<2001).map { _ in Float(bitPattern: random.next32() & 0x807f_ffff) }
        case .tiny: return (0..<2001).map { _ in (random.uniform() - 0.5) * 4e-38 }
        case .huge: return (0..<2001).map { _ in (random.uniform() * 2 - 1) * .greatestFiniteMagnitude }
        case .zeros: return (0..<200).map { $0 % 3 == 0 ? -0.0 : 0.0 }
        case .everyBFloat16: return (0..<65536).map { Float(bitPattern: UInt32($0) << 16) } + [1, 2, 3]
        case .randomBits: return (0..<8229).map { _ in Float(bitPattern: random.next32()) }
        case .normal: return (0..<16384).map { _ in random.normal() * 0.02 }
        }
    }

    private static func midpointValues(_ random: inout SplitMix) -> [Float] {
        var values: [Float] = []
        for trial in 0..<80 {
            let absmax = trial == 0 ? 1 : Float(bitPattern: random.next32() % 0x7f00_0000 + 0x0040_0000)
            var block: [Float] = [trial % 2 == 0 ? absmax : -absmax]
            for point in 0..<15 {
                let near = NF4Tables.decisionPoints[point] * absmax
                block += [-2, -1, 0, 1, 2].map { Float(bitPattern: near.bitPattern &+ UInt32(bitPattern: $0)) }
            }
            values += (block + block).prefix(128).map { abs($0) > absmax ? absmax : $0 }
        }
        return values + values.prefix(37)
    }
}

/// A small generator with a fixed sequence. Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number
/// generators".
struct SplitMix {
    var state: UInt64

    mutating func next32() -> UInt32 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return UInt32(truncatingIfNeeded: (z ^ (z >> 31)) >> 32)
    }

    /// From 0 up to 1.
    mutating func uniform() -> Float { Float(next32() >> 8) * 0x1p-24 }

    /// About normal: the sum of twelve uniforms.
    mutating func normal() -> Float { (0..<12).reduce(Float(-6)) { sum, _ in sum + uniform() } }
}
