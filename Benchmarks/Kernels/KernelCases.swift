import CKernels
import Quantization

/// The instruction sets of the C kernels, and plain Swift, which whole sessions alone can be run with.
struct Level {
    let name: String
    let session: KernelLevel
    let table: UnsafePointer<ck_table>?

    /// Those of this machine, plain Swift first.
    static var all: [Level] {
        [
            Level(name: "Swift", session: .portable, table: nil),
            Level(name: "AVX2", session: .avx2, table: ck_kernels(Int32(ck_level_avx2))),
            Level(name: "AVX-512", session: .avx512, table: ck_kernels(Int32(ck_level_avx512))),
        ].filter { level in level.session == .portable || level.table != nil }
    }

    /// Those with C kernels.
    static var available: [Level] { all.filter { $0.table != nil } }

    /// Reads all weights, and does next to nothing else.
    func read(_ weights: Weights) -> Int {
        weights.values.withUnsafeBytes { x in
            _ = table?.pointee.absmax(x.baseAddress, weights.values.count)
            return x.count
        }
    }
}

/// The kernels one by one, on 256 KiB of weights at a time as the encoders call them.
enum KernelCases {
    static let batch = 1 << 16
    private static let f32 = Int32(ck_stored_f32)

    /// Memory that the kernels write to; touched once, as an encoder's is.
    private final class Output {
        var codes = [UInt8](repeating: 0, count: KernelCases.batch)
        var floats = [Float](repeating: 0, count: KernelCases.batch)
        var sums = [Float](repeating: 0, count: KernelCases.batch)
        var histogram = [UInt32](repeating: 0, count: ck_bins)
        var widened = [Float](repeating: 0, count: KernelCases.batch)
    }

    /// What a kernel gets: a batch of weights, and the output's memory.
    private struct Call {
        let x: UnsafeRawPointer
        let codes: UnsafeMutablePointer<UInt8>
        let floats: UnsafeMutablePointer<Float>
        let sums: UnsafeMutablePointer<Float>
        let histogram: UnsafeMutablePointer<UInt32>
    }

    /// A kernel by its name, and how it is called; the table is where further kernels are added.
    private static var kernels: [(group: String, title: String, call: (ck_table, Call) -> Void)] {
        [
            ("NF4", "codes and scales", { $0.nf4($1.x, f32, batch / 64, 64, 0, 0, $1.codes, $1.floats, nil, nil) }),
            (
                "NF4", "codes, scales, errors, histogram",
                { $0.nf4($1.x, f32, batch / 64, 64, 0, 0, $1.codes, $1.floats, $1.sums, $1.histogram) }
            ),
            ("NF4 best", "search", { $0.nf4_search($1.x, f32, batch / 64, 64, 0, $1.sums) }),
            ("INT8 rows", "absmax and codes, errors", { int8($0, $1, nil) }),
            ("INT8 rows", "absmax and codes, errors, histogram", { int8($0, $1, $1.histogram) }),
            ("INT4 g128", "ranges", { $0.ranges($1.x, batch / 128, 128, $1.sums) }),
            ("INT4 g128", "codes, errors", { groups($0, $1, ck_packed4, nil) }),
            ("INT4 g128", "codes, errors, histogram", { groups($0, $1, ck_packed4, $1.histogram) }),
            ("MLX 4 bits g128", "codes, errors, histogram", { groups($0, $1, ck_affine4, $1.histogram) }),
            ("FP8 g128", "codes, errors, histogram", { groups($0, $1, ck_e4m3, $1.histogram) }),
            ("INT4 best", "7 candidates", { grids($0, $1, ck_packed4, 7) }),
            ("MLX 4 bits best", "10 candidates", { grids($0, $1, ck_affine4, 10) }),
            ("FP8 best", "8 candidates", { grids($0, $1, ck_e4m3, 8) }),
        ]
    }

    static func all(_ level: Level, _ weights: Weights) -> [Case] {
        guard let table = level.table?.pointee else { return [] }
        let output = Output()
        var cases = kernels.map { kernel in
            Case(kernel.group, kernel.title, level) {
                run(weights.values, output) { call, _ in kernel.call(table, call) }
                return weights.values.count * 4
            }
        }
        for (name, isMeasured) in [("codes and scales", false), ("codes, scales, errors, histogram", true)] {
            cases.append(
                Case("NF4 of bfloat16 (GB/s of bfloat16)", name, level) {
                    run(weights.halves, output) { call, _ in
                        table.nf4(
                            call.x, Int32(ck_stored_bf16), batch / 64, 64, Int32(ck_restored_bf16), 0, call.codes,
                            call.floats, isMeasured ? call.sums : nil, isMeasured ? call.histogram : nil)
                    }
                    return weights.halves.count * 2
                })
        }
        guard let restore = ck_restore_kernels(Int32(level.session.rawValue))?.pointee else { return cases }
        let map = (0..<16).map { Float($0 - 8) / 8 }
        for (name, stored, width) in [("float32", ck_restored_f32, 4), ("bfloat16", ck_restored_bf16, 2)] {
            cases.append(
                Case("NF4 restored, within the cache (GB/s of output)", name, level) {
                    run(weights.values, output) { call, wide in
                        let type = Int32(stored)
                        _ = restore.nibbles(call.codes, batch / 64, 64, map, call.floats, type, type, wide)
                    }
                    return weights.values.count * width
                })
        }
        return cases
    }

    /// Calls `body` for each batch of `elements`.
    private static func run<Element>(
        _ elements: [Element], _ output: Output, _ body: (Call, UnsafeMutablePointer<Float>) -> Void
    ) {
        elements.withUnsafeBufferPointer { x in
            output.codes.withUnsafeMutableBufferPointer { codes in
                output.floats.withUnsafeMutableBufferPointer { floats in
                    output.sums.withUnsafeMutableBufferPointer { sums in
                        output.histogram.withUnsafeMutableBufferPointer { histogram in
                            output.widened.withUnsafeMutableBufferPointer { widened in
                                guard let codes = codes.baseAddress, let floats = floats.baseAddress,
                                    let sums = sums.baseAddress, let histogram = histogram.baseAddress,
                                    let wide = widened.baseAddress, let start = x.baseAddress
                                else { return }
                                for first in stride(from: 0, to: x.count, by: batch) {
                                    let call = Call(
                                        x: UnsafeRawPointer(start + first), codes: codes, floats: floats, sums: sums,
                                        histogram: histogram)
                                    body(call, wide)
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    private static func int8(_ table: ck_table, _ call: Call, _ histogram: UnsafeMutablePointer<UInt32>?) {
        for row in 0..<batch / 4096 {
            let x = call.x + row * 4096 * 4
            let absmax = table.absmax(x, 4096)
            UnsafeMutableRawPointer(call.codes + row * 4096).withMemoryRebound(to: Int8.self, capacity: 4096) {
                table.int8(x, 4096, absmax, $0, call.sums, histogram)
            }
        }
    }

    private static func groups(
        _ table: ck_table, _ call: Call, _ code: Int, _ histogram: UnsafeMutablePointer<UInt32>?
    ) {
        let bytes = code == ck_e4m3 ? 128 : 64
        for group in 0..<batch / 128 {
            let (scale, bias): (Float, Float) = code == ck_affine4 ? (0.008, -0.06) : (code == ck_e4m3 ? 1e-4 : 8e-3, 0)
            (call.floats[group * 4], call.floats[group * 4 + 1]) = (scale, bias)
            (call.floats[group * 4 + 2], call.floats[group * 4 + 3]) = (scale, bias)
        }
        table.groups(
            call.x, batch / 128, 128, Int32(code), 0, call.floats, call.codes, bytes, call.sums, histogram)
    }

    private static func grids(_ table: ck_table, _ call: Call, _ code: Int, _ candidates: Int) {
        for grid in 0..<batch / 128 * candidates {
            let high: Float = code == ck_e4m3 ? 448 : 7
            (call.floats[grid * 4], call.floats[grid * 4 + 1]) = (high / 0.06, code == ck_affine4 ? -0.5 : 0)
            (call.floats[grid * 4 + 2], call.floats[grid * 4 + 3]) = (code == ck_e4m3 ? -448 : -8, high)
        }
        table.grids(call.x, batch / 128, 128, Int32(code), candidates, call.floats, call.sums)
    }
}
