/// Rounding to nearest with a scale for each group of weights, in plain Swift: compressed-tensors, MLX and AutoAWQ.
///
/// Sources: compressed-tensors 0.20.0, `calculate_qparams`, `quantize` and `pack_to_int32`; MLX 0.32.4,
/// `mlx/backend/cpu/quantized.cpp`. compressed-tensors works in the weight's own type, so every operation is one in
/// float32 followed by a rounding to that type; MLX works in float32 and rounds what it stores; AutoAWQ works in
/// float16 (`AWQGrid`).
enum PortableGroups {
    /// Sixteen weights as stored codes, in the low bits of each lane, and as the reader restores them.
    protocol Coding {
        func code(_ v: Lanes) -> (stored: SIMD16<UInt32>, restored: Lanes)
    }

    /// Leaves a number of up to 2^22 in magnitude as an integer in the low bits, rounded half to even.
    private static let magic: Float = 0x1.8p23

    /// Integers from `low` to `high`, stored with `offset` added.
    struct Symmetric: Coding {
        let scale: Float
        let low: Float
        let high: Float
        let offset: UInt32
        let restored: RestoredType

        init(bits: Int, offset: UInt32, scale: Float, restored: RestoredType) {
            self.scale = scale
            low = bits == 4 ? -8 : -128
            high = bits == 4 ? 7 : 127
            self.offset = offset
            self.restored = restored
        }

        @inline(__always)
        func code(_ v: Lanes) -> (stored: SIMD16<UInt32>, restored: Lanes) {
            let ratio = HalfPrecision.rounded(v / scale, to: restored)
            let shifted = ratio.held(from: low, to: high) + magic
            let back = HalfPrecision.rounded((shifted - magic) * scale, to: restored)
            return (shifted.bitPattern &+ offset, back)
        }
    }

    /// 8-bit floats E4M3 without infinities, at most 448 in magnitude (OCP 8-bit floating point specification 1.0).
    struct E4M3: Coding {
        let scale: Float
        let restored: RestoredType

        @inline(__always)
        func code(_ v: Lanes) -> (stored: SIMD16<UInt32>, restored: Lanes) {
            // The library adds a zero point of 0, which makes a ratio of −0 a 0.
            let ratio = (HalfPrecision.rounded(v / scale, to: restored) + Lanes.zero).held(from: -448, to: 448)
            let (value, stored) = Self.nearest(ratio)
            return (stored, HalfPrecision.rounded(value * scale, to: restored))
        }

        /// The nearest value to each lane, ties to the even fraction, and its code.
        @inline(__always)
        static func nearest(_ ratio: Lanes) -> (value: Lanes, stored: SIMD16<UInt32>) {
            let sign = ratio.bitPattern & 0x8000_0000
            let magnitude = ratio.magnitude
            let bits = magnitude.bitPattern
            // Normal: keep 3 of the 23 fraction bits. Below 2^-6 the step is 2^-9, the last place of [2^14, 2^15).
            let kept = (bits &+ 0x7_ffff &+ (bits &>> 20 & 1)) & 0xfff0_0000
            let shifted = magnitude + 0x1p14
            let isSmall = magnitude .< Lanes(repeating: 0x1p-6)
            let value = Lanes(bitPattern: kept).replacing(with: shifted - 0x1p14, where: isSmall)
            let code = (kept &>> 20 &- 120 * 8).replacing(with: shifted.bitPattern & 0xf, where: isSmall)
            return (Lanes(bitPattern: value.bitPattern | sign), code | sign &>> 24)
        }
    }

    /// Integers from 0 to `high`, restored as code · scale + bias.
    struct Affine: Coding {
        let scale: GroupScale
        let high: Float
        let restored: RestoredType

        @inline(__always)
        func code(_ v: Lanes) -> (stored: SIMD16<UInt32>, restored: Lanes) {
            let shifted = ((v - scale.bias) / scale.value).held(from: 0, to: high) + magic
            let product = HalfPrecision.rounded((shifted - magic) * scale.storedValue, to: restored)
            let back = HalfPrecision.rounded(product + scale.storedBias, to: restored)
            return (shifted.bitPattern, back)
        }
    }

    /// Integers from 0 to 15, restored as (code − zero point) · scale, all in float16 (`AWQGrid.halfCodes`).
    struct ZeroPoint: Coding {
        let scale: Float
        let low: Float
        let high: Float
        let zero: UInt32

        init(_ scale: GroupScale) {
            self.scale = scale.value
            low = -scale.bias
            high = 15 - scale.bias
            zero = (scale.bias + 0x1p23).bitPattern & 15
        }

        @inline(__always)
        func code(_ v: Lanes) -> (stored: SIMD16<UInt32>, restored: Lanes) {
            let ratio = HalfPrecision.roundedToFloat16(HalfPrecision.roundedToFloat16(v) / scale)
            let shifted = ratio.held(from: low, to: high) + magic
            let back = HalfPrecision.roundedToFloat16((shifted - magic) * scale)
            return (shifted.bitPattern &+ zero, back)
        }
    }

    /// Codes `groups` groups of `elements` weights, each with its scale; see `Kernels.groups`.
    static func quantize(
        _ x: UnsafeRawPointer, groups: Int, elements: Int, code: GroupedCode, scales: UnsafePointer<GroupScale>,
        restored: RestoredType, codes: UnsafeMutablePointer<UInt8>, groupBytes: Int,
        sums: UnsafeMutablePointer<ErrorSums>, histogram: UnsafeMutablePointer<UInt32>?
    ) {
        let nibbles = code.bits == 4
        let target = UnsafeMutableRawPointer(codes)
        /// One loop for each coding, so that nothing is decided inside.
        @inline(__always)
        func run<Choice: Coding>(_ coding: (GroupScale) -> Choice) {
            for group in 0..<groups {
                var measure = ErrorLanes()
                defer { unsafe sums[group] = measure.sums }
                let choice = coding(unsafe scales[group])
                let from = unsafe x + group * elements * 4
                let to = unsafe target + group * groupBytes
                for row in 0..<elements / 16 {
                    let v = unsafe Lanes(from, row: row)
                    let (stored, back) = choice.code(v)
                    unsafe measure.add(v, back, count: 16, histogram: histogram)
                    unsafe store(stored, nibbles: nibbles, at: to, row: row)
                }
                guard elements % 16 > 0 else { continue }
                let (row, count) = (elements / 16, elements % 16)
                let v = unsafe Lanes(from, row: row, count: count)
                let (stored, back) = choice.code(v)
                unsafe measure.add(v, back, count: count, histogram: histogram)
                unsafe storeTail(stored, count: count, nibbles: nibbles, at: to, row: row, groupBytes: groupBytes)
            }
        }
        switch code {
        case .packed(let bits):
            let offset: UInt32 = bits == 4 ? 8 : 128
            run { Symmetric(bits: bits, offset: offset, scale: $0.value, restored: restored) }
        case .int8: run { Symmetric(bits: 8, offset: 0, scale: $0.value, restored: restored) }
        case .e4m3: run { E4M3(scale: $0.value, restored: restored) }
        case .zeroPoint: run { ZeroPoint($0) }
        case .affine(let bits): run { Affine(scale: $0, high: bits == 4 ? 15 : 255, restored: restored) }
        }
    }

    /// Sixteen codes as 16 bytes, or as 8 with the even one in the low nibble: little-endian words, low bits first.
    @inline(__always)
    private static func store(
        _ stored: SIMD16<UInt32>, nibbles: Bool, at target: UnsafeMutableRawPointer, row: Int
    ) {
        if nibbles {
            let bytes = SIMD8<UInt8>(truncatingIfNeeded: stored.evenHalf & 15 | (stored.oddHalf & 15) &<< 4)
            unsafe target.storeBytes(of: bytes, toByteOffset: row * 8, as: SIMD8<UInt8>.self)
        } else {
            let bytes = SIMD16<UInt8>(truncatingIfNeeded: stored)
            unsafe target.storeBytes(of: bytes, toByteOffset: row * 16, as: SIMD16<UInt8>.self)
        }
    }

    /// The last `count` codes of a group; the unused bits of its last word are 0.
    private static func storeTail(
        _ stored: SIMD16<UInt32>, count: Int, nibbles: Bool, at target: UnsafeMutableRawPointer, row: Int,
        groupBytes: Int
    ) {
        func code(_ lane: Int) -> UInt32 { lane < count ? stored[lane] : 0 }
        let start = row * (nibbles ? 8 : 16)
        for byte in 0..<groupBytes - start {
            let bits = nibbles ? code(2 * byte) & 15 | (code(2 * byte + 1) & 15) &<< 4 : code(byte)
            unsafe target.storeBytes(
                of: UInt8(truncatingIfNeeded: bits), toByteOffset: start + byte, as: UInt8.self)
        }
    }

    /// See `Kernels.ranges`; for one group.
    static func range(_ x: UnsafeRawPointer, count: Int) -> GroupRange {
        let (rows, rest) = (count / 16, count % 16)
        var least = unsafe rest > 0 ? shortRow(x, row: rows, count: rest) : Lanes(x, row: 0)
        var greatest = least
        var largest = least.magnitude.bitPattern
        for row in 0..<rows {
            let v = unsafe Lanes(x, row: row)
            least = least.replacing(with: v, where: v .< least)
            greatest = greatest.replacing(with: v, where: v .> greatest)
            largest = largest.larger(v.magnitude.bitPattern)
        }
        return GroupRange(absmax: Float(bitPattern: largest.max()), least: least.min(), greatest: greatest.max())
    }

    /// The first `count` weights of a row, followed by the first of all.
    @inline(never)
    private static func shortRow(_ x: UnsafeRawPointer, row: Int, count: Int) -> Lanes {
        var lanes = unsafe Lanes(repeating: x.loadUnaligned(as: Float.self))
        for lane in 0..<count {
            lanes[lane] = unsafe x.loadUnaligned(fromByteOffset: row * 64 + lane * 4, as: Float.self)
        }
        return lanes
    }

    /// See `Kernels.grids`; for one grid of one group.
    static func explain(_ x: UnsafeRawPointer, count: Int, code: GroupedCode, grid: CodeGrid) -> GridSums {
        var (products, squares, codes, weights) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
        for row in 0..<(count + 15) / 16 {
            let taken = min(count - row * 16, 16)
            let x = unsafe taken == 16 ? Lanes(x, row: row) : Lanes(x, row: row, count: taken)
            let v = x * grid.inverse
            let c: Lanes
            switch code {
            case .e4m3: c = E4M3.nearest(v.held(from: grid.low, to: grid.high)).value
            case .affine: c = ((v + grid.shift).held(from: grid.low, to: grid.high) + magic) - magic
            case .packed, .int8, .zeroPoint: c = (v.held(from: grid.low, to: grid.high) + magic) - magic
            }
            products += v * c
            squares += c * c
            guard case .affine = code else { continue }
            codes += c
            weights += v
        }
        return GridSums(
            product: products.treeSum, codeSquared: squares.treeSum, code: codes.treeSum, weight: weights.treeSum)
    }
}

extension SIMD16<Float> {
    /// Each lane within the bounds; NaN becomes the lower one.
    @inline(__always)
    fileprivate func held(from lower: Float, to upper: Float) -> Self {
        let low = Self(repeating: lower)
        let raised = low.replacing(with: self, where: self .> low)
        return raised.replacing(with: Self(repeating: upper), where: raised .> Self(repeating: upper))
    }
}
