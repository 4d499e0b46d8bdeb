import Tensors

@testable import Quantization

/// The levels that this machine can run.
let availableLevels = KernelLevel.allCases.filter { Kernels(level: $0) != nil }

/// Weights of 16 bits as they lie in a file.
struct StoredHalves {
    let type: ElementType
    let bytes: [UInt8]

    /// All patterns, each block a mixture of magnitudes.
    init(everyPatternOf type: ElementType) {
        self.type = type
        bytes = (0..<1 << 16).flatMap { index in
            let pattern = index * 40_503 & 0xffff
            return [UInt8(truncatingIfNeeded: pattern), UInt8(truncatingIfNeeded: pattern >> 8)]
        }
    }

    /// The weights as float32.
    func widened() throws -> [Float] {
        try QuantizationTests.widened(bytes, type: type, count: bytes.count / 2, level: .portable)
    }
}

/// Four bytes each as they lie.
private func floats(of bytes: [UInt8]) -> [Float] {
    stride(from: 0, to: bytes.count, by: 4).map { start in
        Float(bitPattern: (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[start + $1]) << UInt32(8 * $1) })
    }
}

/// What `nf4` and `nf4Tail` wrote for a whole tensor.
struct NF4Run: Equatable {
    var packed: [UInt8]
    var absmax: [UInt32]
    var sums: [[UInt32]]
    var histogram: [UInt32]

    /// Quantizes `x`, which begins `misalignment` bytes after a multiple of 16, at `level`.
    init(
        _ x: [Float], blockSize: Int = 64, restored: RestoredType = .f32, level: KernelLevel, misalignment: Int = 0,
        measured: Bool = true, halves: StoredHalves? = nil
    ) throws {
        let kernels = try requireKernels(level)
        let blocks = x.count / blockSize
        let tail = x.count % blockSize
        var packed = [UInt8](repeating: 0xa5, count: (x.count + 1) / 2)
        var absmax = [Float](repeating: .nan, count: blocks + (tail > 0 ? 1 : 0))
        var sums = [NF4BlockSums](repeating: NF4BlockSums(), count: absmax.count)
        var histogram = [UInt32](repeating: 0, count: ErrorHistogram.bins)
        let stored = halves.map { floats(of: $0.bytes) } ?? x
        unsafe withBytes(of: stored, misalignment: misalignment) { source in
            unsafe packed.withUnsafeMutableBufferPointer { packed in
                unsafe absmax.withUnsafeMutableBufferPointer { absmax in
                    unsafe sums.withUnsafeMutableBufferPointer { sums in
                        unsafe histogram.withUnsafeMutableBufferPointer { histogram in
                            guard let packed = packed.baseAddress, let absmax = absmax.baseAddress,
                                let sums = sums.baseAddress
                            else { return }
                            let sumsOrNil = unsafe measured ? sums : nil
                            let counts = measured ? histogram.baseAddress : nil
                            unsafe kernels.nf4(
                                source, type: halves?.type ?? .f32, blocks: blocks, blockSize: blockSize,
                                restored: restored, packed: packed, absmax: absmax, sums: sumsOrNil, histogram: counts)
                            guard tail > 0 else { return }
                            let done = blocks * blockSize
                            unsafe kernels.nf4Tail(
                                source + done * 4, count: tail, restored: restored, packed: packed + done / 2,
                                absmax: absmax + blocks, sums: sumsOrNil.map { unsafe $0 + blocks }, histogram: counts)
                        }
                    }
                }
            }
        }
        self.packed = packed
        self.absmax = absmax.map(\.bitPattern)
        self.sums = sums.map(\.bits)
        self.histogram = histogram
    }

    /// The codes, one an element.
    var codes: [UInt8] { packed.flatMap { [$0 >> 4, $0 & 15] } }
}

/// What `absmax` and `int8` wrote for one row in pieces.
struct INT8Run: Equatable {
    var absmax: UInt32
    var codes: [Int8]
    var sums: [[UInt32]]
    var histogram: [UInt32]

    init(_ row: [Float], level: KernelLevel, piece: Int = 4096, misalignment: Int = 0) throws {
        let kernels = try requireKernels(level)
        var absmax: Float = .nan
        var codes = [Int8](repeating: 99, count: row.count)
        var pieces: [ErrorSums] = []
        var histogram = [UInt32](repeating: 0, count: ErrorHistogram.bins)
        unsafe withBytes(of: row, misalignment: misalignment) { source in
            absmax = HalfPrecision.roundedToFloat16(unsafe kernels.absmax(source, count: row.count))
            unsafe codes.withUnsafeMutableBufferPointer { codes in
                unsafe histogram.withUnsafeMutableBufferPointer { histogram in
                    guard let codes = codes.baseAddress else { return }
                    for start in stride(from: 0, to: row.count, by: piece) {
                        var sums = ErrorSums()
                        unsafe kernels.int8(
                            source + start * 4, count: min(piece, row.count - start), absmax: absmax,
                            codes: codes + start, sums: &sums, histogram: histogram.baseAddress)
                        pieces.append(sums)
                    }
                }
            }
        }
        self.absmax = absmax.bitPattern
        self.codes = codes
        self.sums = pieces.map(\.bits)
        self.histogram = histogram
    }
}

/// Widens `bytes` at `level` from an odd address.
func widened(
    _ bytes: [UInt8], type: ElementType, count: Int, bigEndian: Bool = false, level: KernelLevel
) throws -> [Float] {
    let kernels = try requireKernels(level)
    let shifted = [0] + bytes
    return unsafe [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
        unsafe shifted.withUnsafeBytes { source in
            if let from = source.baseAddress, let into = buffer.baseAddress {
                unsafe kernels.widen(from + 1, type: type, count: count, bigEndian: bigEndian, into: into)
            }
        }
        initialized = count
    }
}

/// The absmax of the first `count` of `x`, from an odd address.
func absmax(of x: [Float], count: Int, _ kernels: Kernels) -> Float {
    var result: Float = .nan
    unsafe withBytes(of: x, misalignment: 1) { result = unsafe kernels.absmax($0, count: count) }
    return result
}

/// The first NaN or infinity of the first `count` of `x`, from an odd address.
func firstNonFinite(of x: [Float], count: Int, _ kernels: Kernels) -> Int? {
    var result: Int?
    unsafe withBytes(of: x, misalignment: 1) { result = unsafe kernels.firstNonFinite($0, count: count) }
    return result
}

extension NF4BlockSums {
    var bits: [UInt32] {
        [
            signal, squaredError, errorTimesCode, codeSquared, absoluteError, absoluteCode, maximumError,
            restoredSquared,
        ].map(\.bitPattern)
    }
}

extension ErrorSums {
    var bits: [UInt32] {
        [signal, squaredError, restoredSquared, absoluteError, maximumError].map(\.bitPattern)
    }
}

/// The level was listed as available but does not start.
struct MissingLevel: Error {
    let level: KernelLevel
}

private func requireKernels(_ level: KernelLevel) throws -> Kernels {
    guard let kernels = Kernels(level: level) else { throw MissingLevel(level: level) }
    return kernels
}

private func withBytes(of x: [Float], misalignment: Int, _ body: (UnsafeRawPointer) -> Void) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: x.count * 4 + 16 + misalignment, alignment: 16)
    defer { unsafe buffer.deallocate() }
    guard let start = buffer.baseAddress else { return }
    for (index, value) in x.enumerated() {
        unsafe start.storeBytes(of: value, toByteOffset: misalignment + index * 4, as: Float.self)
    }
    unsafe body(UnsafeRawPointer(start) + misalignment)
}
