import CKernels

/// Where vectors of SIMD lanes lie in a span: the first one's first element, how many there are, and how far apart.
struct StridedVectors {
    let start: Int
    let count: Int
    let stride: Int

    /// Whether `steps` elements of each lie within `limit` elements.
    func fit(_ limit: Int, steps: Int) -> Bool {
        start >= 0 && count >= 0 && stride >= 0 && steps >= 0
            && (count == 0 || start + (count - 1) * stride <= limit - steps)
    }
}

/// Inner products of weight rows in eights with vectors in fours: the one hot loop of both searches.
///
/// Each product is summed from zero in ascending order in Float, a multiplication and an addition a step, at every
/// level the same bits.
struct RowProducts: Sendable {
    private let level: KernelLevel

    /// In the instruction set of `kernels`.
    init(_ kernels: Kernels = .best) { level = kernels.level }

    /// Adds the products over `steps` elements: element [eight · `stride` + four · 4 + lane of the four] of `sums`.
    ///
    /// Unchecked access is fenced in here: the preconditions cover every index that the loops form.
    func add(
        left: Span<SIMD4<Float>>, _ fours: StridedVectors, right: Span<RowOctet>, _ eights: StridedVectors, steps: Int,
        to sums: inout MutableSpan<RowOctet>, stride: Int
    ) {
        precondition(fours.fit(left.count, steps: steps) && eights.fit(right.count, steps: steps))
        let places = StridedVectors(start: 0, count: eights.count, stride: stride)
        precondition(places.fit(sums.count, steps: fours.count * 4))
        guard fours.count > 0, eights.count > 0, steps > 0 else { return }
        guard let form = unsafe ck_products(Int32(truncatingIfNeeded: level.rawValue)) else {
            for eight in 0..<eights.count {
                for four in 0..<fours.count {
                    let products = Self.sums(
                        left, at: fours.start + four * fours.stride, right, at: eights.start + eight * eights.stride,
                        steps: steps)
                    for lane in 0..<4 { sums[eight * stride + four * 4 + lane] += products[lane] }
                }
            }
            return
        }
        unsafe left.withUnsafeBufferPointer { left in
            unsafe right.withUnsafeBufferPointer { right in
                unsafe sums.withUnsafeMutableBufferPointer { sums in
                    guard let left = left.baseAddress, let right = right.baseAddress, let sums = sums.baseAddress
                    else { return }
                    unsafe form(
                        UnsafeRawPointer(left + fours.start).assumingMemoryBound(to: Float.self), fours.stride * 4,
                        fours.count, UnsafeRawPointer(right + eights.start).assumingMemoryBound(to: Float.self),
                        eights.stride * 8, eights.count, steps,
                        UnsafeMutableRawPointer(sums).assumingMemoryBound(to: Float.self), stride * 8)
                }
            }
        }
    }

    /// Plain Swift, four vectors with eight.
    @inline(__always)
    private static func sums(
        _ left: Span<SIMD4<Float>>, at leftStart: Int, _ right: Span<RowOctet>, at rightStart: Int, steps: Int
    ) -> InlineArray<4, RowOctet> {
        var result = InlineArray<4, RowOctet>(repeating: RowOctet())
        for k in 0..<steps {
            let four = unsafe left[unchecked: leftStart &+ k]
            let rows = unsafe right[unchecked: rightStart &+ k]
            for lane in 0..<4 { result[lane] += four[lane] * rows }
        }
        return result
    }
}
