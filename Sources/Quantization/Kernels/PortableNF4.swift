/// NF4 quantization in plain Swift: the formula, the tests' oracle and the level of processors without AVX2.
///
/// Source: bitsandbytes 0.50.2, `backends/default/ops.py`, `quantize_4bit`.
enum PortableNF4 {
    /// The smallest absmax that is divided by, as float32 a subnormal.
    static let tiny: Float = 1e-38

    /// Full blocks; see `Kernels.nf4`.
    static func quantize(
        _ x: UnsafeRawPointer, blocks: Int, blockSize: Int, restored: RestoredType, codeSums: Bool,
        packed: UnsafeMutablePointer<UInt8>, absmax: UnsafeMutablePointer<Float>,
        sums: UnsafeMutablePointer<NF4BlockSums>?, histogram: UnsafeMutablePointer<UInt32>?
    ) {
        for block in 0..<blocks {
            unsafe quantizeBlock(
                x + block * blockSize * 4, count: blockSize, restored: restored, codeSums: codeSums,
                packed: packed + block * blockSize / 2, absmax: absmax + block,
                sums: sums.map { unsafe $0 + block }, histogram: histogram)
        }
    }

    private static func quantizeBlock(
        _ x: UnsafeRawPointer, count: Int, restored: RestoredType, codeSums: Bool,
        packed: UnsafeMutablePointer<UInt8>, absmax: UnsafeMutablePointer<Float>,
        sums: UnsafeMutablePointer<NF4BlockSums>?, histogram: UnsafeMutablePointer<UInt32>?
    ) {
        let a = unsafe PortableINT8.absmax(x, count: count)
        unsafe absmax.pointee = a
        guard a.isFinite else {
            unsafe packed.update(repeating: 0, count: count / 2)
            unsafe sums?.pointee = NF4BlockSums()
            return
        }
        let scale = 1 / max(a, tiny)
        var measure = NF4Measure(absmax: a, restored: restored, codeSums: codeSums)
        for row in 0..<count / 16 {
            let v = unsafe Lanes(x, row: row)
            let codes = codes(of: v * scale)
            unsafe store(codes, at: packed + row * 8)
            if unsafe sums != nil { unsafe measure.add(v, codes: codes, count: 16, histogram: histogram) }
        }
        unsafe sums?.pointee = measure.sums
    }

    /// The short last block; see `Kernels.nf4Tail`.
    static func quantizeTail(
        _ x: UnsafeRawPointer, count: Int, restored: RestoredType, packed: UnsafeMutablePointer<UInt8>,
        absmax: UnsafeMutablePointer<Float>, sums: UnsafeMutablePointer<NF4BlockSums>?,
        histogram: UnsafeMutablePointer<UInt32>?
    ) {
        let largest = unsafe PortableINT8.absmax(x, count: count)
        // Only a number below `tiny` gives way to it: NaN stays.
        let a = largest < tiny ? tiny : largest
        unsafe absmax.pointee = a
        guard a.isFinite else {
            unsafe packed.update(repeating: 0, count: (count + 1) / 2)
            unsafe sums?.pointee = NF4BlockSums()
            return
        }
        var measure = NF4Measure(absmax: a, restored: restored)
        for row in 0..<(count + 15) / 16 {
            let taken = min(count - row * 16, 16)
            let v = unsafe Lanes(x, row: row, count: taken)
            // A lane past the end is zero and gets the code of zero.
            let codes = codes(of: v / a)
            for pair in 0..<(taken + 1) / 2 {
                unsafe packed[row * 8 + pair] = UInt8(
                    truncatingIfNeeded: codes[2 * pair] &<< 4 | codes[2 * pair + 1])
            }
            unsafe measure.add(v, codes: codes, count: taken, histogram: sums == nil ? nil : histogram)
        }
        unsafe sums?.pointee = measure.sums
    }

    /// The number of decision points strictly below each lane.
    @inline(__always)
    static func codes(of v: Lanes) -> SIMD16<UInt32> {
        let points = NF4Tables.decisionPoints
        var codes = SIMD16<UInt32>.zero
        // A difference of floats is negative exactly where the point is below v: subnormals let none vanish.
        for point in 0..<15 { codes &+= (points[point] - v).bitPattern &>> 31 }
        return codes
    }

    /// Sixteen codes as eight bytes, the even element in the high nibble.
    @inline(__always)
    static func store(_ codes: SIMD16<UInt32>, at packed: UnsafeMutablePointer<UInt8>) {
        let bytes = SIMD8<UInt8>(truncatingIfNeeded: codes.evenHalf &<< 4 | codes.oddHalf)
        unsafe UnsafeMutableRawPointer(packed).storeBytes(of: bytes, as: SIMD8<UInt8>.self)
    }
}

/// The error sums of one block while its rows go by.
struct NF4Measure {
    private let absmax: Float
    private let restored: RestoredType
    private let codeSums: Bool
    private var errors = ErrorLanes()
    private var errorTimesCode = Lanes.zero
    private var codeSquared = Lanes.zero
    private var absoluteCode = Lanes.zero

    /// Starts a block that is restored as c·absmax, rounded to `restored`.
    init(absmax: Float, restored: RestoredType, codeSums: Bool = true) {
        self.absmax = absmax
        self.codeSums = codeSums
        self.restored = restored
    }

    /// Adds a row of `count` weights and their codes; further lanes hold zeros and the code of zero.
    @inline(__always)
    mutating func add(
        _ x: Lanes, codes: SIMD16<UInt32>, count: Int, histogram: UnsafeMutablePointer<UInt32>?
    ) {
        var c = Lanes.zero
        for lane in 0..<16 { c[lane] = NF4Tables.values[Int(codes[lane])] }
        let back = HalfPrecision.rounded(c * absmax, to: restored)
        let e = unsafe errors.add(x, back, count: count, histogram: histogram)
        guard codeSums else { return }
        errorTimesCode += e * c
        codeSquared += c * c
        absoluteCode += c.magnitude
    }

    /// The sums so far.
    var sums: NF4BlockSums {
        let errors = errors.sums
        return NF4BlockSums(
            signal: errors.signal, squaredError: errors.squaredError, errorTimesCode: errorTimesCode.treeSum,
            codeSquared: codeSquared.treeSum, absoluteError: errors.absoluteError,
            absoluteCode: absoluteCode.treeSum, maximumError: errors.maximumError,
            restoredSquared: errors.restoredSquared)
    }
}

extension ErrorHistogram {
    /// Counts the first `count` lanes of `error`.
    @inline(__always)
    static func count(_ error: Lanes, count: Int, in histogram: UnsafeMutablePointer<UInt32>?) {
        guard let histogram = unsafe histogram else { return }
        for lane in 0..<count { unsafe histogram[bin(of: error[lane])] &+= 1 }
    }
}
