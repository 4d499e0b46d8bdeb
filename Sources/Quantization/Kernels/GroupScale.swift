/// What a group's codes are multiplied by, and what is added: as computed and as stored.
struct GroupScale: Sendable, Equatable {
    /// The scale that codes are computed with.
    var value: Float = 1
    /// The value of code 0 of an affine group; the code of zero where the code is `zeroPoint`.
    var bias: Float = 0
    /// The scale as its stored type holds it.
    var storedValue: Float = 1
    /// The bias as its stored type holds it.
    var storedBias: Float = 0

    /// One stored value for each group, to begin with.
    init() {}

    /// What the libraries compute for a group of weights of `type`.
    init(_ code: GroupedCode, _ range: GroupRange, type: RestoredType) {
        switch code {
        case .affine(let bits): self.init(affine: bits, least: range.least, greatest: range.greatest, type: type)
        case .zeroPoint:
            let grid = Self.grid(RowOctet(repeating: range.least), RowOctet(repeating: range.greatest))
            self.init(scale: grid.scale[0], zero: grid.zero[0])
        case .packed, .int8, .e4m3: self.init(symmetric: code, absmax: range.absmax, type: type)
        }
    }

    /// AutoAWQ's grids for eight groups of weights, which are rounded to float16 before.
    @inline(__always)
    private static func grid(_ least: RowOctet, _ greatest: RowOctet) -> AWQGrid {
        AWQGrid(halfMinimum: HalfOctets.rounded(least), maximum: HalfOctets.rounded(greatest))
    }

    /// AutoAWQ's scales of the first `count` groups, eight at a time.
    static func zeroPoints(_ ranges: [GroupRange], count: Int, into scales: inout [GroupScale]) {
        for first in stride(from: 0, to: count, by: 8) {
            let lanes = min(8, count - first)
            var (least, greatest) = (RowOctet(), RowOctet())
            for lane in 0..<lanes {
                (least[lane], greatest[lane]) = (ranges[first + lane].least, ranges[first + lane].greatest)
            }
            let grid = grid(least, greatest)
            for lane in 0..<lanes { scales[first + lane] = GroupScale(scale: grid.scale[lane], zero: grid.zero[lane]) }
        }
    }

    /// A scale in float16 and the code of zero, 0...15.
    init(scale: Float, zero: Float) {
        (value, bias) = (scale, zero)
        (storedValue, storedBias) = (scale, zero)
    }

    /// A scale, and a bias, that codes are computed with as they are stored; nil where the type does not hold them.
    init?(stored scale: Float, bias: Float = 0, type: RestoredType) {
        value = HalfPrecision.rounded(scale, to: type)
        self.bias = HalfPrecision.rounded(bias, to: type)
        guard value > 0, value.isFinite, self.bias.isFinite else { return nil }
        (storedValue, storedBias) = (value, self.bias)
    }

    /// The scale of integers or E4M3 floats around zero, in the arithmetic of `type`: absmax over half the range of
    /// the codes, or the type's epsilon where that is zero.
    ///
    /// Source: compressed-tensors 0.20.0, `calculate_qparams` with `symmetric=True`.
    init(symmetric code: GroupedCode, absmax: Float, type: RestoredType) {
        let half: Float
        switch code {
        case .packed(let bits): half = bits == 4 ? 7.5 : 127.5
        case .int8: half = 127.5
        case .e4m3: half = 448
        case .affine, .zeroPoint: half = 1
        }
        let rounded = HalfPrecision.rounded(absmax / half, to: type)
        value = rounded == 0 ? type.epsilon : rounded
        storedValue = value
    }

    /// Scale and bias of integers from 0 to 2^`bits` − 1: the end of the range that is larger in magnitude is a code's
    /// exact value, and so is zero.
    ///
    /// Source: MLX 0.32.4, `quantize` in `mlx/backend/cpu/quantized.cpp`.
    init(affine bits: Int, least: Float, greatest: Float, type: RestoredType) {
        let isLeast = least.magnitude > greatest.magnitude
        let step = max((greatest - least) / (bits == 4 ? 15 : 255), 1e-7)
        value = isLeast ? step : -step
        let edge = isLeast ? least : greatest
        let code = (edge / value).rounded(.toNearestOrEven)
        if code != 0 {
            value = edge / code
            bias = edge
        }
        storedValue = HalfPrecision.rounded(value, to: type)
        storedBias = HalfPrecision.rounded(bias, to: type)
    }
}

extension RestoredType {
    /// The distance from 1 to the next larger value of the type.
    var epsilon: Float {
        switch self {
        case .f32: 0x1p-23
        case .f16: 0x1p-10
        case .bf16: 0x1p-7
        }
    }

    /// The largest finite value of the type.
    var largest: Float {
        switch self {
        case .f32: .greatestFiniteMagnitude
        case .f16: 65504
        case .bf16: 0x1.fep127
        }
    }

    /// Bytes of one element.
    var width: Int { self == .f32 ? 4 : 2 }
}

extension HalfPrecision {
    /// `v` as `type` holds it.
    static func rounded(_ v: Float, to type: RestoredType) -> Float { rounded(Lanes(repeating: v), to: type)[0] }
}
