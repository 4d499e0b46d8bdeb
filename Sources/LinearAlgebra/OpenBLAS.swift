// # Linear algebra
//
// Products and Cholesky factors of dense float32 matrices, for calibrated coding; the only importer of `COpenBLAS`.
// What it must not know: tensors, files, quantization.
//
// OpenBLAS computes each call on the calling thread alone, and its result depends on the shape of the call and on the
// processor's kernels, not on who else is calling. Work is therefore cut into tiles whose shape follows from the
// problem alone, and tiles are spread over threads: the same bytes at any number of threads.

import COpenBLAS

/// The loaded library: products of float32 matrices, and Cholesky factors.
///
/// Bounds are checked once for each call; spans are viewed as pointers only while it lasts.
@safe
package struct OpenBLAS: Sendable {
    // Invariant: the table lives as long as the process, and nobody writes it after `co_load` has returned.
    nonisolated(unsafe) let library: UnsafePointer<co_library>

    /// Address space that each thread inside a product takes from RLIMIT_DATA; of that about 5 MiB become resident.
    ///
    /// `BUFFER_SIZE` of OpenBLAS 0.3 on x86-64 and arm64.
    package static let addressSpacePerThread = 128 << 20
    /// The most threads that may compute at once; its table of packing buffers ends at twice as many.
    package static let maximumThreads = 32
    /// What a thread's packing buffers hold resident.
    package static let residentBytesPerThread = 8 << 20

    /// Loads the library where that has not happened, for up to `threads` threads at once.
    package init(threads: Int = 1) throws(LinearAlgebraError) {
        guard let library = unsafe co_load() else { throw .unavailable }
        let threads = min(max(1, threads), Self.maximumThreads)
        guard co_reserve(Int32(threads), UInt(Self.addressSpacePerThread)) != 0 else {
            throw .noRoom(bytes: threads * Self.addressSpacePerThread)
        }
        unsafe self.library = library
    }

    /// What computes: library, version and the processor whose kernels run, such as `openblas 0.3.21 Haswell`.
    ///
    /// Results may differ in their last bits between two of these, and codes that are chosen by them with it.
    package var name: String {
        let words = unsafe String(cString: library.pointee.config).split(separator: " ")
        let version = words.count > 1 ? words[1] : "unknown"
        return unsafe "openblas \(version) \(String(cString: library.pointee.core))"
    }

    /// c = factor · a · b, or c + factor · a · b when `adding`; a is [rows, depth], b [depth, columns].
    ///
    /// Panels count in floats, whatever the elements of the spans are.
    package func multiply<A: FloatRun, B: FloatRun, C: FloatRun>(
        rows: Int, columns: Int, depth: Int, _ a: Span<A>, _ left: Panel, _ b: Span<B>, _ right: Panel,
        factor: Float = 1, adding: Bool = false, into c: inout MutableSpan<C>, _ target: Panel
    ) {
        guard rows > 0, columns > 0, depth > 0 else { return }
        Self.check(left, rows, depth, in: a.count * A.floats)
        Self.check(right, depth, columns, in: b.count * B.floats)
        Self.check(target, rows, columns, in: c.count * C.floats)
        precondition(!target.isTransposed)
        unsafe a.withUnsafeBufferPointer { a in
            unsafe b.withUnsafeBufferPointer { b in
                unsafe c.withUnsafeMutableBufferPointer { c in
                    guard let a = unsafe Self.floats(a), let b = unsafe Self.floats(b),
                        let c = unsafe Self.floats(c)
                    else { return }
                    unsafe library.pointee.sgemm(
                        Self.rowMajor, left.transposition, right.transposition, Int32(rows), Int32(columns),
                        Int32(depth), factor, a + left.start, Int32(left.stride), b + right.start, Int32(right.stride),
                        adding ? 1 : 0, c + target.start, Int32(target.stride))
                }
            }
        }
    }

    /// c = s · b for a symmetric s [rows, rows] of which the diagonal and what lies right of it are read; b is
    /// [rows, columns].
    package func multiply<B: FloatRun, C: FloatRun>(
        symmetric s: borrowing Matrix, columns: Int, _ b: Span<B>, _ right: Panel, into c: inout MutableSpan<C>,
        _ target: Panel
    ) {
        let rows = s.rows
        guard rows > 0, columns > 0 else { return }
        precondition(s.columns == rows && !target.isTransposed && !right.isTransposed)
        Self.check(right, rows, columns, in: b.count * B.floats)
        Self.check(target, rows, columns, in: c.count * C.floats)
        unsafe s.elements.withUnsafeBufferPointer { s in
            unsafe b.withUnsafeBufferPointer { b in
                unsafe c.withUnsafeMutableBufferPointer { c in
                    guard let s = s.baseAddress, let b = unsafe Self.floats(b), let c = unsafe Self.floats(c)
                    else { return }
                    unsafe library.pointee.ssymm(
                        Self.rowMajor, Self.left, Self.upper, Int32(rows), Int32(columns), 1, s, Int32(rows),
                        b + right.start, Int32(right.stride), 0, c + target.start, Int32(target.stride))
                }
            }
        }
    }

    /// Vectors without gaps as the floats that they consist of; the caller has checked how many.
    private static func floats<Run: FloatRun>(_ run: UnsafeBufferPointer<Run>) -> UnsafePointer<Float>? {
        unsafe UnsafeRawPointer(run.baseAddress)?.assumingMemoryBound(to: Float.self)
    }

    private static func floats<Run: FloatRun>(
        _ run: UnsafeMutableBufferPointer<Run>
    ) -> UnsafeMutablePointer<Float>? {
        unsafe UnsafeMutableRawPointer(run.baseAddress)?.assumingMemoryBound(to: Float.self)
    }

    private static func check(_ panel: Panel, _ rows: Int, _ columns: Int, in count: Int) {
        let holds = panel.end(rows: rows, columns: columns).map { $0 <= count } ?? false
        precondition(holds, "a panel holds its matrix")
        precondition(panel.stride <= Int(Int32.max) && max(rows, columns) <= Int(Int32.max))
    }

    // Values of cblas.h.
    static let rowMajor: Int32 = 101
    static let asStored: Int32 = 111
    static let transposed: Int32 = 112
    static let upper: Int32 = 121
    static let lower: Int32 = 122
    static let anyDiagonal: Int32 = 131
    static let left: Int32 = 141
    static let right: Int32 = 142
}

extension Panel {
    fileprivate var transposition: Int32 { isTransposed ? OpenBLAS.transposed : OpenBLAS.asStored }
}
