/// Inner products of eight weight rows with four vectors at a time: the one hot loop of both searches.
enum RowProducts {
    /// The sums over `steps` of left[k][i] · right[k] for the four lanes i; each sum runs in ascending k in Float.
    ///
    /// Unchecked access is fenced in here: the preconditions cover every index that the loop forms.
    @inline(__always)
    static func sums(
        left: Span<SIMD4<Float>>, at leftStart: Int, right: Span<RowOctet>, at rightStart: Int, steps: Int
    ) -> FourSums {
        precondition(steps >= 0 && leftStart >= 0 && rightStart >= 0)
        precondition(steps <= left.count - leftStart && steps <= right.count - rightStart)
        var result = FourSums()
        for k in 0..<steps {
            let four = unsafe left[unchecked: leftStart &+ k]
            let rows = unsafe right[unchecked: rightStart &+ k]
            result.s0 += four[0] * rows
            result.s1 += four[1] * rows
            result.s2 += four[2] * rows
            result.s3 += four[3] * rows
        }
        return result
    }
}

/// Four inner products for each of eight rows.
struct FourSums {
    var s0 = RowOctet()
    var s1 = RowOctet()
    var s2 = RowOctet()
    var s3 = RowOctet()
}
