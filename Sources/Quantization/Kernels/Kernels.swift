// # The numeric floor
//
// Everything above this folder decides what is quantized and where the bytes go; here is the arithmetic that touches
// every weight. What it must not know: tensors, files, recipes, threads.
//
// Where to start: `PortableNF4`, `PortableINT8` and `PortableGroups` read like their formulas. They are the
// documentation, the oracle of the tests and the fallback of every processor. `CKernels` holds the same loops for AVX2
// and AVX-512, where NF4's search and the float16 rounding pay for intrinsics. `Kernels` picks one level, once.
//
// The promise: **all levels write identical bytes and identical error sums.** It holds because
// * every operation is one IEEE float32 operation, rounded to nearest even: no fused multiply-add, no reciprocal
//   approximation, no flush to zero (absmax below 1e-38 and above 2^126 need subnormals);
// * a sum has 16 float32 lanes, lane j takes elements j, j+16, …, and the lanes are reduced by the tree 8/4/2/1;
// * absmax is an integer maximum of the magnitude bits, which lets NaN and infinity through;
// * a code is found by comparing with float32 decision points, never by distance.
//
// Float32 sums hold for blocks of up to 4096 elements (relative error below 1e-5 against Double); the caller adds
// blocks in Double. Squares of magnitudes beyond about 1e18 overflow to infinity and below 1e-19 lose precision.
//
// Input pointers need no alignment (a tensor may start anywhere in its file) and are little-endian.
//
// The rest of the folder: `Widening` turns stored elements into float32, `NestedQuantizer` and `TorchMean` make double
// quantization's second level, `NF4Tables` and `DynamicMap` hold the tables as bit patterns.

import CKernels
import Tensors

/// An instruction set that the hot loops are written for.
package enum KernelLevel: Int, Sendable, CaseIterable {
    /// Plain Swift, on any processor.
    case portable = 0
    /// AVX2 with F16C.
    case avx2 = 1
    /// AVX-512 F, BW, DQ and VL.
    case avx512 = 2
}

/// The element type that a reader's dequantization returns: a restored weight is rounded to it, then compared.
enum RestoredType: Int, Sendable, CaseIterable {
    /// float32: no rounding.
    case f32 = 0
    /// float16, half to even; beyond 65504 infinity.
    case f16 = 1
    /// bfloat16, half to even.
    case bf16 = 2
}

/// Error sums of one NF4 block: x the weight, c the code's value, x̂ the restored weight, e = x − x̂.
///
/// With another scale a' in place of absmax, Σ(x − c·a')² = Σe² − 2(a' − a)Σe·c + (a' − a)²Σc² if `restored` was
/// `.f32`. All zero for a block that holds NaN or infinity.
struct NF4BlockSums: Sendable, Equatable {
    /// Σx².
    var signal: Float = 0
    /// Σe².
    var squaredError: Float = 0
    /// Σe·c.
    var errorTimesCode: Float = 0
    /// Σc².
    var codeSquared: Float = 0
    /// Σ|e|.
    var absoluteError: Float = 0
    /// Σ|c|.
    var absoluteCode: Float = 0
    /// max |e|.
    var maximumError: Float = 0
    /// Σx̂².
    var restoredSquared: Float = 0
}

/// Error sums of a piece of a row: x the weight, x̂ the restored weight, e = x − x̂.
struct ErrorSums: Sendable, Equatable {
    /// Σx².
    var signal: Float = 0
    /// Σe².
    var squaredError: Float = 0
    /// Σx̂².
    var restoredSquared: Float = 0
    /// Σ|e|.
    var absoluteError: Float = 0
    /// max |e|.
    var maximumError: Float = 0
}

/// A histogram of magnitudes |e|, 16 bins an octave: bin = bit pattern of |e| >> 19, so that zero falls in bin 0.
enum ErrorHistogram {
    /// The number of bins; enough for every magnitude, infinity included.
    static let bins = 4096

    /// The bin of an error.
    static func bin(of error: Float) -> Int { Int(error.magnitude.bitPattern >> 19) }

    /// The smallest magnitude that falls in `bin`.
    static func lowerBound(of bin: Int) -> Float { Float(bitPattern: UInt32(truncatingIfNeeded: bin) << 19) }
}

/// The hot loops at one level.
struct Kernels: Sendable {
    /// The fastest level of this processor.
    static let best =
        KernelLevel.allCases.reversed().lazy.compactMap { Kernels(level: $0) }.first ?? Kernels(portable: ())

    /// The instruction set in use.
    let level: KernelLevel

    /// Chooses a level; nil where the processor or the operating system lacks it.
    init?(level: KernelLevel) {
        guard unsafe level == .portable || Self.table(of: level) != nil else { return nil }
        self.level = level
    }

    private init(portable: Void) { level = .portable }

    static func table(of level: KernelLevel) -> UnsafePointer<ck_table>? {
        unsafe ck_kernels(Int32(truncatingIfNeeded: level.rawValue))
    }

    /// Widens `count` F16, BF16, F64 or F32 elements to float32.
    ///
    /// Exact; F64 rounds to nearest even and may become infinite. `bigEndian` reads the elements of a big-endian npy.
    /// Any other type is the caller's mistake: it traps in debug builds and writes zeros otherwise.
    func widen(
        _ source: UnsafeRawPointer, type: ElementType, count: Int, bigEndian: Bool = false,
        into destination: UnsafeMutablePointer<Float>
    ) {
        guard !bigEndian, let table = unsafe Self.table(of: level) else {
            return unsafe Widening.widen(source, type: type, count: count, bigEndian: bigEndian, into: destination)
        }
        switch type {
        case .f16: unsafe table.pointee.widen_f16(source, count, destination)
        case .bf16: unsafe table.pointee.widen_bf16(source, count, destination)
        default: unsafe Widening.widen(source, type: type, count: count, bigEndian: false, into: destination)
        }
    }

    /// Whether the NF4 loops read weights of `type` as they are stored; else the caller widens them to float32.
    func readsStored(_ type: ElementType) -> Bool {
        type == .f32 || level != .portable && (type == .f16 || type == .bf16)
    }

    /// Quantizes `blocks` full blocks of weights, stored as a type that `readsStored`, to NF4 as bitsandbytes does on a
    /// CPU, and measures the error.
    ///
    /// A block that holds NaN or infinity has a non-finite absmax, codes of 0, zero sums, and is not in the histogram:
    /// the caller refuses it. Source: bitsandbytes 0.50.2, `backends/default/ops.py`, `quantize_4bit`.
    /// - Parameters:
    ///   - blockSize: a power of two, 32 to 4096.
    ///   - codeSums: whether the sums that another scale needs are taken: Σe·c, Σc² and Σ|c|, else 0.
    ///   - packed: receives `blocks * blockSize / 2` bytes, the even element in the high nibble.
    ///   - absmax: receives one value a block.
    ///   - sums: receives one value a block; nil measures nothing, which is faster.
    ///   - histogram: `ErrorHistogram.bins` counts to add to; left alone where `sums` is nil.
    func nf4(
        _ x: UnsafeRawPointer, type: ElementType = .f32, blocks: Int, blockSize: Int, restored: RestoredType,
        codeSums: Bool = true, packed: UnsafeMutablePointer<UInt8>, absmax: UnsafeMutablePointer<Float>,
        sums: UnsafeMutablePointer<NF4BlockSums>?, histogram: UnsafeMutablePointer<UInt32>?
    ) {
        assert(blockSize >= 32 && blockSize <= 4096 && blockSize & (blockSize - 1) == 0)
        guard let table = unsafe Self.table(of: level) else {
            return unsafe PortableNF4.quantize(
                x, blocks: blocks, blockSize: blockSize, restored: restored, codeSums: codeSums, packed: packed,
                absmax: absmax, sums: sums, histogram: histogram)
        }
        // A block's sums are 8 floats in the order of the fields of `NF4BlockSums`.
        let lanes = unsafe UnsafeMutableRawPointer(sums)?.assumingMemoryBound(to: Float.self)
        unsafe table.pointee.nf4(
            x, type.kernelType, blocks, blockSize, Int32(truncatingIfNeeded: restored.rawValue), codeSums ? 1 : 0,
            packed, absmax, lanes, histogram)
    }

    /// Quantizes a tensor's short last block of `count` elements by the rules that bitsandbytes has for it.
    ///
    /// Division in place of the reciprocal, absmax of at least 1e-38, and 7 (zero) in the low nibble after an odd
    /// count. Writes `(count + 1) / 2` bytes; otherwise as `nf4`.
    func nf4Tail(
        _ x: UnsafeRawPointer, count: Int, restored: RestoredType, packed: UnsafeMutablePointer<UInt8>,
        absmax: UnsafeMutablePointer<Float>, sums: UnsafeMutablePointer<NF4BlockSums>?,
        histogram: UnsafeMutablePointer<UInt32>?
    ) {
        unsafe PortableNF4.quantizeTail(
            x, count: count, restored: restored, packed: packed, absmax: absmax, sums: sums, histogram: histogram)
    }

    /// The largest magnitude of `count` float32; not finite if and only if an element is not.
    func absmax(_ x: UnsafeRawPointer, count: Int) -> Float {
        guard let table = unsafe Self.table(of: level) else { return unsafe PortableINT8.absmax(x, count: count) }
        return unsafe table.pointee.absmax(x, count)
    }

    /// Quantizes `count` float32 of a row to INT8 as bitsandbytes' LLM.int8() does on a CPU, and measures the error.
    ///
    /// The weight is rounded to float16 first, as the library does; the error is that of the weight before it.
    /// Source: bitsandbytes 0.50.2, `Int8Params`.
    /// - Parameters:
    ///   - count: at most 4096 elements for the sums to stay precise; a longer row goes in pieces.
    ///   - absmax: the finite absmax of the whole row *of float16 weights* (`HalfPrecision.roundedToFloat16` of the
    ///     row's absmax, rounding being monotone), stored as SCB.
    ///   - codes: receives `count` codes, -127 to 127; zeros where absmax is 0.
    ///   - sums: receives the sums of this piece.
    ///   - histogram: `ErrorHistogram.bins` counts to add to, or nil.
    func int8(
        _ x: UnsafeRawPointer, count: Int, absmax: Float, codes: UnsafeMutablePointer<Int8>,
        sums: UnsafeMutablePointer<ErrorSums>, histogram: UnsafeMutablePointer<UInt32>?
    ) {
        guard let table = unsafe Self.table(of: level) else {
            return unsafe PortableINT8.quantize(
                x, count: count, absmax: absmax, codes: codes, sums: sums, histogram: histogram)
        }
        // The sums are 5 floats in the order of the fields of `ErrorSums`.
        let lanes = unsafe UnsafeMutableRawPointer(sums).assumingMemoryBound(to: Float.self)
        unsafe table.pointee.int8(x, count, absmax, codes, lanes, histogram)
    }

    /// The index of the first of `count` float32 that is NaN or infinite.
    func firstNonFinite(_ x: UnsafeRawPointer, count: Int) -> Int? {
        (0..<count).first { unsafe !x.loadUnaligned(fromByteOffset: $0 * 4, as: Float.self).isFinite }
    }
}

extension ElementType {
    /// The number by which the C kernels know a type of weights.
    var kernelType: Int32 {
        Int32(truncatingIfNeeded: self == .bf16 ? ck_stored_bf16 : self == .f16 ? ck_stored_f16 : ck_stored_f32)
    }
}
