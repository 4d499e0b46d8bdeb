/// What the search for a block's scale found, and what it competes with.
struct NF4Choice: Sendable, Equatable {
    /// The block's absmax; not finite if a weight is not.
    var absmax: Float = 0
    /// The scale of least error among the candidates, never negative; absmax itself where absmax is below 1e-38.
    var scale: Float = 0
    /// Σe² with absmax as the scale.
    var squaredError: Float = 0
    /// Σe·c with absmax as the scale.
    var errorTimesCode: Float = 0
    /// Σc² with absmax as the scale.
    var codeSquared: Float = 0
    /// Σc² of the chosen candidate: what a change of the scale by δ costs is δ²·Σc².
    var chosenCodeSquared: Float = 0
}

extension PortableNF4 {
    /// What absmax is divided by for each candidate; the first is absmax itself.
    ///
    /// Three more beside it, chosen by exhaustive search over 41 divisors on Gaussian weights: 21.36 dB where absmax
    /// alone gives 20.73; eight candidates give 21.40.
    static let stretches: [Float] = [1, 1.0546875, 1.125, 0.9375]

    /// The scale of one block of `count` float32; see `Kernels.nf4Search`.
    ///
    /// In units of absmax: for each candidate the nearest codes c, of which the least-squares scale is Σvc / Σc² and
    /// explains (Σvc)² / Σc² of Σv². No term is negative, for a nearest code has the sign of its weight.
    static func search(_ x: UnsafeRawPointer, count: Int, restored: RestoredType) -> NF4Choice {
        let a = unsafe PortableINT8.absmax(x, count: count)
        var choice = NF4Choice(absmax: a, scale: a)
        guard a.isFinite, a >= tiny else { return choice }
        let scale = 1 / a
        var first = Explained()
        var (squaredError, errorTimesCode) = (Lanes.zero, Lanes.zero)
        for row in 0..<(count + 15) / 16 {
            let x = unsafe weights(x, row, count)
            let c = nearest(x * scale)
            let e = x - HalfPrecision.rounded(c * a, to: restored)
            first.add(x * scale, c)
            squaredError += e * e
            errorTimesCode += e * c
        }
        var best = first.sums
        choice.codeSquared = best.codeSquared
        for stretch in stretches.dropFirst() {
            var candidate = Explained()
            for row in 0..<(count + 15) / 16 {
                let v = unsafe weights(x, row, count) * scale
                candidate.add(v, nearest(v * stretch))
            }
            let sums = candidate.sums
            if sums.explained > best.explained { best = sums }
        }
        let refit = a * (best.product / best.codeSquared)
        if refit.isFinite { choice.scale = refit }
        choice.squaredError = squaredError.treeSum
        choice.errorTimesCode = errorTimesCode.treeSum
        choice.chosenCodeSquared = best.codeSquared
        return choice
    }

    /// Row `row` of `count` weights; past the end zeros.
    @inline(__always)
    private static func weights(_ x: UnsafeRawPointer, _ row: Int, _ count: Int) -> Lanes {
        let taken = count - row * 16
        return unsafe taken >= 16 ? Lanes(x, row: row) : Lanes(x, row: row, count: taken)
    }

    /// What codes c explain of weights v.
    private struct Explained {
        private var products = Lanes.zero
        private var squares = Lanes.zero

        @inline(__always)
        mutating func add(_ v: Lanes, _ c: Lanes) {
            products += v * c
            squares += c * c
        }

        /// Σvc, Σc² and (Σvc)² / Σc².
        var sums: (product: Float, codeSquared: Float, explained: Float) {
            let (product, square) = (products.treeSum, squares.treeSum)
            return (product, square, product * product / square)
        }
    }

    /// The value of each lane's code, without the code: what neighbouring values differ in, flipped at each decision
    /// point that lies below the lane.
    @inline(__always)
    static func nearest(_ v: Lanes) -> Lanes {
        let (points, values) = (NF4Tables.decisionPoints, NF4Tables.values.bitPattern)
        var bits = SIMD16<UInt32>(repeating: values[0])
        for point in 0..<15 {
            // All ones where the difference is negative: exactly where the point is below v.
            let above = 0 &- ((points[point] - v).bitPattern &>> 31)
            bits ^= above & (values[point] ^ values[point + 1])
        }
        return Lanes(bitPattern: bits)
    }

    /// Codes of one block of `count` float32 with the given scale; see `Kernels.nf4Assign`.
    static func assign(
        _ x: UnsafeRawPointer, count: Int, scale: Float, restored: RestoredType, packed: UnsafeMutablePointer<UInt8>,
        sums: UnsafeMutablePointer<NF4BlockSums>, histogram: UnsafeMutablePointer<UInt32>
    ) {
        let reciprocal = min(1 / scale, .greatestFiniteMagnitude)
        var measure = NF4Measure(absmax: scale, restored: restored, codeSums: false)
        for row in 0..<(count + 15) / 16 {
            let taken = min(count - row * 16, 16)
            let v = unsafe weights(x, row, count)
            // A lane past the end is zero and gets the code of zero.
            let codes = codes(of: v * reciprocal)
            if taken == 16 {
                unsafe store(codes, at: packed + row * 8)
            } else {
                for pair in 0..<(taken + 1) / 2 {
                    unsafe packed[row * 8 + pair] = UInt8(
                        truncatingIfNeeded: codes[2 * pair] &<< 4 | codes[2 * pair + 1])
                }
            }
            unsafe measure.add(v, codes: codes, count: taken, histogram: histogram)
        }
        unsafe sums.pointee = measure.sums
    }
}
