import Tensors

/// The grid of one group of columns, for sixteen rows at once.
struct LaneGrid: Sendable {
    /// What codes are multiplied by, as it is stored.
    var scale = Lanes(repeating: 1)
    /// The code of zero, 0...15, of an affine grid.
    var zero = Lanes.zero
    /// What weights are multiplied by to become codes; zero where that is the reciprocal of the scale.
    ///
    /// A scale that is refitted to codes makes the most of these codes; where columns go together, others are nearer to
    /// the weights and farther from the outputs.
    var density = Lanes.zero

    /// The lanes of `other` where `mask` says so.
    @inline(__always)
    mutating func replace(with other: LaneGrid, where mask: SIMDMask<SIMD16<Int32>>) {
        scale.replace(with: other.scale, where: mask)
        zero.replace(with: other.zero, where: mask)
        density.replace(with: other.density, where: mask)
    }

    /// What weights are multiplied by to become codes; finite, and zero where the scale is.
    @inline(__always)
    var inverse: Lanes {
        let inverse = (1 / scale).lesser(Lanes(repeating: .greatestFiniteMagnitude))
        return inverse.replacing(with: 0, where: scale .== 0).replacing(with: density, where: density .> 0)
    }
}

/// Turns weights of sixteen rows into codes and back, as a reader of the format does.
///
/// A code's unit is what the scale is multiplied by: an integer around zero, or a value of NF4's table.
struct LaneCoder: Sendable {
    let code: CalibratedCode
    /// The type in which a reader restores weights: what AutoAWQ's kernels do is float16.
    let type: RestoredType

    init(_ code: CalibratedCode, weight: ElementType) {
        self.code = code
        type = code == .affine ? .f16 : RestoredType(of: weight)
    }

    /// The lowest and the highest unit of integer codes.
    private var bounds: (low: Float, high: Float) {
        if case .symmetric(let bits) = code { return bits == 4 ? (-8, 7) : (-128, 127) }
        return (-1, 1)
    }

    /// The units of the nearest codes; `v` is the weight times the grid's inverse scale.
    @inline(__always)
    func units(_ v: Lanes, zero: Lanes) -> Lanes {
        switch code {
        case .affine: return v.greater(-zero).lesser(15 - zero).nearestIntegers
        case .symmetric:
            let (low, high) = bounds
            return v.greater(Lanes(repeating: low)).lesser(Lanes(repeating: high)).nearestIntegers
        case .nf4: return PortableNF4.nearest(v)
        }
    }

    /// What a reader makes of units.
    @inline(__always)
    func restored(_ units: Lanes, _ grid: LaneGrid) -> Lanes { HalfPrecision.rounded(units * grid.scale, to: type) }

    /// The codes of units as they are stored, one to a byte.
    func codes(_ units: Lanes, zero: Lanes) -> SIMD16<UInt8> {
        switch code {
        case .affine: Self.bytes(units + zero)
        case .symmetric: Self.bytes(units - bounds.low)
        case .nf4: SIMD16<UInt8>(truncatingIfNeeded: PortableNF4.codes(of: units))
        }
    }

    /// Integers of 0...255.
    private static func bytes(_ values: Lanes) -> SIMD16<UInt8> {
        SIMD16<UInt8>(truncatingIfNeeded: (values + 0x1p23).bitPattern)
    }

    /// The grid that spans weights as the library's does, zero always on it.
    func spanning(minimum: Lanes, maximum: Lanes) -> LaneGrid {
        var grid = LaneGrid()
        let (least, greatest) = (minimum.lesser(.zero), maximum.greater(.zero))
        let absmax = greatest.greater(-least)
        switch code {
        case .affine:
            let width = (greatest - least).greater(Lanes(repeating: 1e-5))
            grid.scale = HalfPrecision.roundedToFloat16(width / 15)
            grid.zero = (-least / grid.scale).lesser(Lanes(repeating: 15)).nearestIntegers
        case .symmetric(let bits):
            for lane in 0..<16 {
                let scale = GroupScale(symmetric: .packed(bits: bits), absmax: absmax[lane], type: type)
                grid.scale[lane] = scale.storedValue
            }
        case .nf4: grid.scale = absmax
        }
        return grid
    }

    /// `scale` as the format stores it, and where it does: elsewhere zero, infinite or no number.
    func stored(_ scale: Lanes) -> (value: Lanes, isUsable: SIMDMask<SIMD16<Int32>>) {
        let value = code == .nf4 ? scale : HalfPrecision.rounded(scale, to: type)
        // NF4's largest code restores the scale itself, the others' at most 128 times as much as a weight.
        let limit = Lanes(repeating: code == .nf4 ? type.largest : .greatestFiniteMagnitude)
        return (value, (value .> 0) .& (value .<= limit))
    }
}
