import Tensors
import Testing

@testable import Quantization

/// The same bytes, the same report and the same refusal at any number of threads.
@Suite struct ThreadCountTests {
    /// Groups and rows that end inside a piece, and pieces that end inside them.
    private static let pieces = [Int.max, 524_288, 300_001]
    private static let recipes: [[(String, String)]] = [
        [("method", "int4")], [("method", "int4"), ("mode", "reference"), ("group_size", "32")],
        [("method", "int4"), ("format", "mlx")], [("method", "int4"), ("format", "awq")], [("method", "fp8")],
        [("method", "int8"), ("format", "compressed-tensors")], [("method", "int8")], [("method", "nf4")],
        [("method", "nf4"), ("double_quant", "false"), ("block_size", "32")],
        [("method", "nf4"), ("mode", "reference")],
        [("method", "nf4"), ("mode", "reference"), ("double_quant", "false")],
    ]

    private func limits(_ threads: Int) -> SessionLimits {
        var limits = SessionLimits()
        limits.maximumThreads = threads
        return limits
    }

    /// Two weights that end inside a batch.
    private func input(_ type: ElementType, _ values: [Float]) -> [UInt8] {
        let stored =
            type == .bf16
            ? Array(bytes(of: values).enumerated().filter { $0.offset % 4 > 1 }.map(\.element)) : bytes(of: values)
        return safetensors([
            ("a.weight", type, [values.count / 1024, 1024], stored),
            ("b.weight", type, [values.count / 1024, 1024], stored),
        ])
    }

    @Test(arguments: recipes.indices, [ElementType.f32, .bf16])
    func artifactAndReportDoNotTell(_ index: Int, _ type: ElementType) throws {
        let input = input(type, gaussian(144 * 1024, seed: 70, scale: 0.02))
        let one = try SessionRun(input, Self.recipes[index], pieceBytes: Self.pieces[1], limits: limits(1))
        for (threads, piece) in zip([2, 3, 8, 8], Self.pieces + [70_000]) {
            let run = try SessionRun(input, Self.recipes[index], pieceBytes: piece, limits: limits(threads))
            #expect(run.output.bytes == one.output.bytes)
            let (report, expected) = (run.result.report, one.result.report)
            #expect(report.pooled == expected.pooled)
            #expect(report.errors == expected.errors)
            #expect(report.tensors.map(\.quality) == expected.tensors.map(\.quality))
        }
    }

    /// Two bad weights: the first is named, also where another thread meets the second before.
    @Test(arguments: recipes.indices)
    func theFirstRefusalIsTold(_ index: Int) throws {
        var values = gaussian(128 * 1024, seed: 71)
        for first in [31, 40_000, 65_535, 65_536, 100_000] {
            let kept = values
            defer { values = kept }
            values[first] = .nan
            values[131_071] = .infinity
            let input = input(.f32, values)
            for (threads, piece) in zip([1, 2, 3, 8], Self.pieces + [.max]) {
                #expect(throws: QuantizationError.nonFinite(tensor: "a.weight", index: first)) {
                    try SessionRun(input, Self.recipes[index], pieceBytes: piece, limits: limits(threads))
                }
            }
        }
    }
}
