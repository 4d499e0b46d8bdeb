/// Sixteen float32 lanes, the unit in which every level sums.
typealias Lanes = SIMD16<Float>

extension SIMD16<Float> {
    /// Sixteen floats with these bits.
    init(bitPattern bits: SIMD16<UInt32>) { self = unsafe unsafeBitCast(bits, to: SIMD16<Float>.self) }

    /// The bits of the sixteen floats.
    var bitPattern: SIMD16<UInt32> { unsafe unsafeBitCast(self, to: SIMD16<UInt32>.self) }

    /// Row `row` of sixteen floats from `x`, which need not be aligned.
    init(_ x: UnsafeRawPointer, row: Int) {
        self = unsafe x.loadUnaligned(fromByteOffset: row * 64, as: SIMD16<Float>.self)
    }

    /// The first `count` floats of row `row` from `x`, followed by zeros.
    init(_ x: UnsafeRawPointer, row: Int, count: Int) {
        self = .zero
        for lane in 0..<count {
            self[lane] = unsafe x.loadUnaligned(fromByteOffset: row * 64 + lane * 4, as: Float.self)
        }
    }

    /// The lanes without their signs.
    var magnitude: SIMD16<Float> { SIMD16(bitPattern: bitPattern & 0x7fff_ffff) }

    /// The sum of the lanes by the tree 8/4/2/1: lane j with lane j + 8, then j + 4, j + 2, j + 1.
    var treeSum: Float {
        let eight = lowHalf + highHalf
        let four = eight.lowHalf + eight.highHalf
        let two = four.lowHalf + four.highHalf
        return two[0] + two[1]
    }
}

extension SIMD16<UInt32> {
    /// The larger of each two lanes.
    func larger(_ other: Self) -> Self { replacing(with: other, where: other .> self) }
}

/// The error sums of a row, a group or a block while its rows of sixteen go by.
struct ErrorLanes {
    private var signal = Lanes.zero
    private var squaredError = Lanes.zero
    private var restoredSquared = Lanes.zero
    private var absoluteError = Lanes.zero
    private var maximumError = SIMD16<UInt32>.zero

    /// Adds `count` weights and what they are restored to, counts their errors, and returns them; further lanes hold
    /// zeros that are restored exactly.
    @inline(__always) @discardableResult
    mutating func add(_ v: Lanes, _ back: Lanes, count: Int, histogram: UnsafeMutablePointer<UInt32>?) -> Lanes {
        let e = v - back
        signal += v * v
        squaredError += e * e
        restoredSquared += back * back
        absoluteError += e.magnitude
        maximumError = maximumError.larger(e.magnitude.bitPattern)
        unsafe ErrorHistogram.count(e, count: count, in: histogram)
        return e
    }

    /// The sums so far.
    var sums: ErrorSums {
        ErrorSums(
            signal: signal.treeSum, squaredError: squaredError.treeSum, restoredSquared: restoredSquared.treeSum,
            absoluteError: absoluteError.treeSum, maximumError: Float(bitPattern: maximumError.max()))
    }
}
