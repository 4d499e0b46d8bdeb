/// Float32 values on their way into a narrower type, half to even, the same on every processor.
///
/// Pointers are into arrays that the call holds; bounds are checked once.
enum Narrowing {
    /// The least magnitude, as bits of a float, that a type holds as infinity: half a step above its largest value.
    static func overflowBits(of type: RestoredType) -> UInt32 {
        switch type {
        case .f32: 0x7f80_0000
        case .f16: 0x477f_f000
        case .bf16: 0x7f7f_8000
        }
    }

    /// The index of the first of `count` values that `type` does not hold as a finite number.
    static func firstOverflow(_ values: [Float], count: Int, in type: RestoredType) -> Int? {
        precondition(values.count >= count)
        let limit = overflowBits(of: type)
        let largest = unsafe values.withUnsafeBufferPointer { values in
            var largest: UInt32 = 0
            for index in 0..<count { largest = max(largest, unsafe values[index].bitPattern & 0x7fff_ffff) }
            return largest
        }
        guard largest >= limit else { return nil }
        return values[..<count].firstIndex { $0.bitPattern & 0x7fff_ffff >= limit }
    }

    /// Rounds the first `count` values to `type` and leaves them as float32.
    static func round(_ values: inout [Float], count: Int, to type: RestoredType) {
        precondition(values.count >= count)
        unsafe values.withUnsafeMutableBytes { values in
            guard let start = values.baseAddress else { return }
            let rows = count / 16
            for row in 0..<rows {
                let rounded = HalfPrecision.rounded(unsafe Lanes(start, row: row), to: type)
                unsafe start.storeBytes(of: rounded, toByteOffset: row * 64, as: Lanes.self)
            }
            let rest = count - rows * 16
            let rounded = HalfPrecision.rounded(unsafe Lanes(start, row: rows, count: rest), to: type)
            for lane in 0..<rest {
                unsafe start.storeBytes(of: rounded[lane], toByteOffset: rows * 64 + lane * 4, as: Float.self)
            }
        }
    }

    /// The bits of the first `count` values rounded to `type`, which is not float32.
    static func narrow(_ values: [Float], count: Int, to type: RestoredType, into halves: inout [UInt16]) {
        precondition(values.count >= count && halves.count >= count && type != .f32)
        unsafe values.withUnsafeBytes { values in
            unsafe halves.withUnsafeMutableBytes { halves in
                guard let from = values.baseAddress, let to = halves.baseAddress else { return }
                let rows = count / 16
                for row in 0..<rows {
                    let bits = bits(unsafe Lanes(from, row: row), type)
                    unsafe to.storeBytes(of: bits, toByteOffset: row * 32, as: SIMD16<UInt16>.self)
                }
                let rest = count - rows * 16
                let bits = bits(unsafe Lanes(from, row: rows, count: rest), type)
                for lane in 0..<rest {
                    unsafe to.storeBytes(of: bits[lane], toByteOffset: rows * 32 + lane * 2, as: UInt16.self)
                }
            }
        }
    }

    /// The bits of sixteen finite values rounded to a 16-bit type.
    static func bits(_ v: Lanes, _ type: RestoredType) -> SIMD16<UInt16> {
        let rounded = HalfPrecision.rounded(v, to: type).bitPattern
        guard type == .f16 else { return SIMD16(truncatingIfNeeded: rounded &>> 16) }
        let magnitude = rounded & 0x7fff_ffff
        // The exponents' biases differ by 112. Below 2^-14 a float16 counts steps of 2^-24, which 0.5 + x has as its
        // last places; infinity, which is beyond every normal value, keeps its exponent of ones.
        let normal = (magnitude &- 0x3800_0000) &>> 13
        let steps = (Lanes(bitPattern: magnitude) + 0.5).bitPattern & 0x7f_ffff
        let isSmall = magnitude .< SIMD16(repeating: 0x3880_0000)
        let infinite = magnitude .>= SIMD16(repeating: 0x7f80_0000)
        let half = normal.replacing(with: steps, where: isSmall)
            .replacing(with: SIMD16(repeating: 0x7c00), where: infinite)
        return SIMD16(truncatingIfNeeded: half | rounded &>> 16 & 0x8000)
    }
}

extension MutableRawSpan {
    /// Copies all of `source` to the start; the bounds of both spans are checked.
    mutating func copy(_ source: RawSpan) {
        precondition(source.byteCount <= byteCount)
        unsafe withUnsafeMutableBytes { target in
            unsafe source.withUnsafeBytes { bytes in
                unsafe target.copyMemory(from: bytes)
            }
        }
    }
}
