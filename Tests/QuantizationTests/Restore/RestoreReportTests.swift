import Tensors
import Testing

@testable import Quantization

/// What a report says is lost is what is lost: the squared error of the restored file equals the report's.
@Suite struct RestoreReportTests {
    /// One recipe, and the shape of the weight it is tried on.
    struct Trial: CustomTestStringConvertible, Sendable {
        let options: [String]
        let rows: Int
        let columns: Int

        var testDescription: String { "\(options.joined(separator: "&")) \(rows)x\(columns)" }
        var pairs: [(String, String)] {
            options.map { option in
                let parts = option.split(separator: "=")
                return (String(parts[0]), String(parts[1]))
            }
        }
    }

    /// Every method in every format. The sizes go beyond a band, a nested group, a word and a block.
    static let trials: [Trial] = [
        Trial(options: ["method=nf4"], rows: 300, columns: 301),
        Trial(options: ["method=nf4", "double_quant=false"], rows: 31, columns: 301),
        Trial(options: ["method=nf4", "mode=reference"], rows: 300, columns: 301),
        Trial(options: ["method=nf4", "mode=reference", "double_quant=false"], rows: 31, columns: 301),
        Trial(options: ["method=nf4", "block_size=4096"], rows: 16, columns: 1100),
        Trial(options: ["method=nf4", "block_size=32"], rows: 7, columns: 9),
        Trial(options: ["method=int8"], rows: 31, columns: 301),
        Trial(options: ["method=int8", "format=compressed-tensors"], rows: 31, columns: 301),
        Trial(options: ["method=int8", "format=compressed-tensors"], rows: 1, columns: 70_001),
        Trial(options: ["method=int8", "format=compressed-tensors", "group_size=32"], rows: 31, columns: 320),
        Trial(options: ["method=int8", "format=compressed-tensors", "group_size=64"], rows: 1, columns: 70_016),
        Trial(options: ["method=int8", "format=compressed-tensors", "scheme=W8A8"], rows: 31, columns: 301),
        Trial(options: ["method=int8", "format=mlx"], rows: 31, columns: 320),
        Trial(options: ["method=int8", "format=mlx", "group_size=32"], rows: 31, columns: 320),
        Trial(options: ["method=int4"], rows: 31, columns: 384),
        Trial(options: ["method=int4", "group_size=-1"], rows: 31, columns: 301),
        Trial(options: ["method=int4", "group_size=-1"], rows: 2, columns: 70_001),
        Trial(options: ["method=int4", "format=mlx"], rows: 31, columns: 320),
        Trial(options: ["method=int4", "format=mlx", "group_size=32"], rows: 2, columns: 70_016),
        Trial(options: ["method=int4", "format=mlx", "group_size=128"], rows: 30, columns: 384),
        Trial(options: ["method=int4", "format=awq"], rows: 96, columns: 128),
        Trial(options: ["method=int4", "format=awq", "group_size=-1"], rows: 16, columns: 4128),
        Trial(options: ["method=fp8"], rows: 31, columns: 301),
        Trial(options: ["method=awq", "calibration=none"], rows: 320, columns: 256),
        Trial(options: ["method=awq"], rows: 64, columns: 128),
        Trial(options: ["method=awq", "mode=reference"], rows: 64, columns: 128),
        Trial(options: ["method=awq", "scaling=keep"], rows: 64, columns: 128),
        Trial(options: ["method=awq", "scaling=keep", "mode=reference"], rows: 64, columns: 128),
        Trial(options: ["method=nf4", "calibration=data"], rows: 64, columns: 128),
        Trial(options: ["method=nf4", "calibration=data", "double_quant=false"], rows: 64, columns: 128),
        Trial(options: ["method=int4", "calibration=data", "group_size=64"], rows: 64, columns: 128),
        Trial(options: ["method=int4", "calibration=data", "format=awq"], rows: 64, columns: 128),
        Trial(options: ["method=awq", "scaling=keep", "group_size=32"], rows: 32, columns: 64),
    ]

    /// Enough for every trial: made once.
    private static let weights = Weights.spiky.values(150_000, seed: 5)

    @Test(arguments: trials, [ElementType.f32, .bf16])
    func theErrorOfTheRestoredFileIsTheReports(_ trial: Trial, _ type: ElementType) throws {
        let x = Self.weights.prefix(trial.rows * trial.columns).map {
            type == .f32 ? $0 : HalfPrecision.rounded($0, to: .bf16)
        }
        let stored =
            type == .f32
            ? bytes(of: x)
            : x.flatMap { value in
                [UInt8(truncatingIfNeeded: value.bitPattern >> 16), UInt8(truncatingIfNeeded: value.bitPattern >> 24)]
            }
        var tensors = [(name: "m.weight", type: type, shape: [trial.rows, trial.columns], bytes: stored)]
        let isAWQ = trial.options[0] == "method=awq"
        if trial.options.contains("calibration=data") || isAWQ && !trial.options.contains("calibration=none") {
            tensors.append(
                ("m.activations", .f32, [24, trial.columns], bytes(of: gaussian(24 * trial.columns, seed: 9))))
        }
        let run = try SessionRun(safetensors(tensors), trial.pairs)
        var limits = RestoreLimits()
        limits.maximumBandBytes = 40_000
        let restored = try RestoreRun(run.output.bytes, limits: limits)
        let tensor = try #require(try restored.tensors()["m.weight"])
        #expect(tensor.entry.shape == [trial.rows, trial.columns])
        #expect(tensor.entry.type == .f32)
        let measured = squaredError(x, floats(tensor))
        let quality = try #require(run.result.report.tensors.first?.quality)
        // The reference's double quantization leaves out the last cast, as its report says.
        let tolerance = quality.excludesCast ? 2e-3 : 1e-6
        #expect((measured - quality.sums.squaredError).magnitude <= tolerance * measured)
        #expect(measured > 0)
        if !quality.absoluteErrorsAreBounds {
            // AWQ measures in another order of float32 operations: an error at an edge may lie on its other side.
            let recounted = quality.errors.recounted(zip(x, floats(tensor)).map { ($0 - $1).magnitude })
            let moved = zip(recounted, quality.errors.counts).reduce(0) { $0 + ($1.0 - $1.1).magnitude }
            #expect(moved <= (isAWQ ? x.count / 500 : 0))
        }
        #expect(restored.largestRead <= 280_016)
    }

    @Test func overridesOfMLXAreRestoredInTheirOwnWidths() throws {
        let x = gaussian(64 * 128, seed: 2, scale: 0.1)
        let input = safetensors([
            ("a.weight", .f32, [64, 128], bytes(of: x)), ("b.weight", .f32, [64, 128], bytes(of: x)),
        ])
        let run = try SessionRun(
            input,
            [
                ("method", "int4"), ("format", "mlx"),
                ("overrides", #"[{"match": "b.*", "method": "int8", "group_size": 32}]"#),
            ])
        let made = try RestoreRun(run.output.bytes).tensors()
        for (name, quality) in zip(["a.weight", "b.weight"], run.result.report.tensors.map(\.quality)) {
            let measured = squaredError(x, floats(try #require(made[name])))
            let stated = try #require(quality).sums.squaredError
            #expect((measured - stated).magnitude <= 1e-6 * measured)
        }
    }

    private func squaredError(_ x: [Float], _ restored: [Float]) -> Double {
        var sum = 0.0
        for index in 0..<min(x.count, restored.count) {
            let error = Double(x[index]) - Double(restored[index])
            sum += error * error
        }
        return sum
    }
}
