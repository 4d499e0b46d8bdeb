import Tensors
import Testing

@testable import Quantization

/// Inputs that are formed well and meant badly: what they ask for is bounded, and what is told of them is true.
@Suite struct HostileInputTests {
    private func refusal(
        _ input: [UInt8], _ options: [(String, String)], limits: SessionLimits = SessionLimits(),
        isDeclared: Bool = true
    ) -> QuantizationError? {
        do {
            _ = try SessionRun(input, options, limits: limits, declared: isDeclared)
            return nil
        } catch {
            return error as? QuantizationError
        }
    }

    @Test func defaults() {
        let limits = SessionLimits()
        #expect(limits.maximumBiasBytes == 8 << 20)
        #expect(limits.maximumGlobSteps == 1 << 30)
        #expect(limits.maximumArtifactHeaderBytes == 100_000_000)
        #expect(limits.maximumWarnings == 100)
        #expect(limits.maximumWorkingBytes == 1 << 30)
        #expect(MemoryBudget.freeBytes == 4 << 20)
    }

    /// The second block's scale is the mean, and the largest difference from it has no finite reciprocal.
    @Test(arguments: [1e-40, 1e-39, 1.5e-45])
    func scalesTooSmallForAReciprocalAreQuantized(_ size: Double) throws {
        let unit = Float(size)
        let values = [unit, 2 * unit, 3 * unit].flatMap { [Float](repeating: $0, count: 64) }
        let input = safetensors([("weight", .f32, [3, 64], bytes(of: values))])
        let made = try SessionRun(input, [("method", "nf4"), ("mode", "reference")]).tensors()
        // The library's table gives 131 for a difference of zero at any scale.
        #expect(made["weight.absmax"] == [0, 131, 255])
    }

    @Test func figuresOfHugeWeightsAreLeftOutRatherThanInvented() throws {
        let input = safetensors([("weight", .f32, [2, 4096], bytes(of: gaussian(8192, seed: 1, scale: 1e37)))])
        for doubleQuant in ["true", "false"] {
            let run = try SessionRun(
                input, [("method", "nf4"), ("block_size", "4096"), ("double_quant", doubleQuant)])
            let figures = QualityFigures(run.result.report.pooled)
            #expect(!figures.isExact)
            #expect(figures.sqnr == nil)
            #expect(figures.psnr == nil)
            #expect(figures.cosine == nil)
            #expect(figures.relativeError == nil)
            #expect(figures.maximumError > 0)
        }
    }

    @Test func weightsWhoseSquaresVanishAreNotCalledExact() throws {
        let input = safetensors([("weight", .f32, [2, 128], bytes(of: gaussian(256, seed: 2, scale: 1e-30)))])
        let run = try SessionRun(input, [("method", "nf4"), ("double_quant", "false")])
        let figures = QualityFigures(run.result.report.pooled)
        #expect(run.result.report.pooled.squaredError == 0)
        #expect(!figures.isExact)
        #expect(figures.sqnr == nil)
        let zeros = safetensors([("weight", .f32, [2, 128], [UInt8](repeating: 0, count: 1024))])
        #expect(try QualityFigures(SessionRun(zeros, [("method", "nf4")]).result.report.pooled).isExact)
    }

    @Test func aBiasIsRefusedAtTheHeader() {
        var limits = SessionLimits()
        limits.maximumBiasBytes = 31
        let input = safetensors([
            ("a.weight", .f32, [8, 32], bytes(of: gaussian(256, seed: 3))),
            ("a.bias", .f32, [8], bytes(of: gaussian(8, seed: 4))),
        ])
        let awq = [("method", "awq"), ("calibration", "none"), ("group_size", "32")]
        let expected = QuantizationError.limit(name: "bias_bytes", value: 32, limit: 31, tensor: "a.bias")
        #expect(refusal(input, awq, limits: limits) == expected)
        // No element has to arrive: the header alone says it.
        #expect(refusal(Array(input.prefix(input.count - 1056)), awq, limits: limits, isDeclared: false) == expected)
        limits.maximumBiasBytes = 32
        #expect(refusal(input, awq, limits: limits) == nil)
        limits.maximumBiasBytes = 0
        #expect(refusal(input, [("method", "nf4")], limits: limits) == nil)
    }

    @Test func globsMayNotTakeForEver() {
        let name = String(repeating: "a", count: 1000) + ".weight"
        let input = safetensors([(name, .f32, [2, 64], bytes(of: gaussian(128, seed: 5)))])
        let slow = [("method", "nf4"), ("exclude", "*" + String(repeating: "a", count: 500) + "b")]
        #expect(refusal(input, slow) == nil)
        var limits = SessionLimits()
        limits.maximumGlobSteps = 100_000
        guard case .limit("glob_steps", let steps, 100_000, name) = refusal(input, slow, limits: limits) else {
            Issue.record("half a million comparisons were made")
            return
        }
        #expect(steps > 100_000)
    }

    @Test func anArtifactThatNoReaderOpensIsNotBegun() throws {
        let input = safetensors(
            (0..<20).map { ("m\($0).weight", .f32, [2, 64], bytes(of: gaussian(128, seed: UInt64($0)))) })
        var limits = SessionLimits()
        limits.maximumArtifactHeaderBytes = 4000
        guard
            case .limit("artifact_header_bytes", let value, 4000, nil) = refusal(
                input, [("method", "nf4")], limits: limits)
        else {
            Issue.record("a header beyond the limit was written")
            return
        }
        limits.maximumArtifactHeaderBytes = value
        let run = try SessionRun(input, [("method", "nf4")], limits: limits)
        #expect(try run.tensors().count == 120)
    }

    @Test func aScaleSearchThatWouldTakeDaysIsRefusedAtTheHeader() {
        let input = safetensors([
            ("weight", .f32, [8, 32], bytes(of: gaussian(256, seed: 7))),
            ("activations", .f32, [5, 32], bytes(of: gaussian(160, seed: 8))),
        ])
        var limits = SessionLimits()
        #expect(limits.maximumSearchProducts == 1 << 40)
        limits.maximumSearchProducts = 5 * 256 - 1
        let keep = [("method", "awq"), ("mode", "reference"), ("group_size", "32"), ("scaling", "keep")]
        let expected = QuantizationError.limit(name: "awq_products", value: 1280, limit: 1279, tensor: "weight")
        #expect(refusal(input, keep, limits: limits) == expected)
        #expect(refusal(input, Array(keep.dropLast()), limits: limits) == nil)
        limits.maximumSearchProducts = 5 * 256
        #expect(refusal(input, keep, limits: limits) == nil)
    }

    /// A scale that is searched, or restored from 8 bits, may lie beyond the largest weight that the type holds.
    @Test(arguments: ["best", "reference"], ["true", "false"])
    func nothingIsRestoredAsInfinite(_ mode: String, _ doubleQuant: String) throws {
        for seed in 0..<40 as Range<UInt64> {
            var generator = FuzzGenerator(state: seed)
            let stored = (0..<64 * 64).flatMap { index -> [UInt8] in
                let magnitude = Float.random(in: 50000...65504, using: &generator)
                let value = Float16(generator.chance(50) ? magnitude : -magnitude) / (index / 64 % 3 == 0 ? 4 : 1)
                return [UInt8(truncatingIfNeeded: value.bitPattern), UInt8(value.bitPattern >> 8)]
            }
            let input = safetensors([("weight", .f16, [64, 64], stored)])
            let options = [("method", "nf4"), ("mode", mode), ("double_quant", doubleQuant)]
            do {
                let run = try SessionRun(input, options)
                let values = try RestoredWeight(run).values
                #expect(values.allSatisfy { $0.isFinite }, "seed \(seed)")
                #expect(run.result.report.pooled.maximumError.isFinite, "seed \(seed)")
            } catch QuantizationError.outOfRange("weight", _, _, _) {}
        }
    }

    /// Half a step beyond the largest weight there may be no number left: the artifact would restore an infinity.
    @Test(
        arguments: [("int4", "compressed-tensors"), ("int4", "mlx"), ("int8", "mlx")],
        [ElementType.f32, .bf16])
    func whatWouldBeRestoredAsInfiniteIsRefused(_ choice: (String, String), _ type: ElementType) {
        let largest: [Float] = [-3.38e38, 3.38e38]
        let elements = largest + [Float](repeating: 1e30, count: 62)
        let stored = elements.flatMap { value in
            (type == .f32 ? 0..<4 : 2..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * $0)) }
        }
        let options = [("method", choice.0), ("format", choice.1), ("group_size", "64")]
        switch refusal(safetensors([("weight", type, [1, 64], stored)]), options) {
        case .outOfRange("weight", 0, let value, let limit): #expect(value < -limit)
        case let other: Issue.record("\(String(describing: other))")
        }
    }

    @Test(arguments: [Int.max, 100])
    func theFirstRefusalIsToldHoweverTheBytesAreCut(_ pieceBytes: Int) {
        var values = [Float](repeating: 1, count: 256)
        values[70] = -3.4e38
        values[200] = .nan
        let options = [("method", "int4"), ("format", "compressed-tensors"), ("group_size", "64")]
        let input = safetensors([("weight", .f32, [2, 128], bytes(of: values))])
        #expect {
            _ = try SessionRun(input, options, pieceBytes: pieceBytes)
        } throws: { error in
            guard case .outOfRange("weight", 70, -3.4e38, _)? = error as? QuantizationError else { return false }
            return true
        }
    }

    @Test func warningsAreBounded() throws {
        let input = safetensors(
            (0..<7).map { ("m\($0).weight", .f32, [2, 33], bytes(of: gaussian(66, seed: UInt64($0)))) })
        var limits = SessionLimits()
        limits.maximumWarnings = 5
        let warnings = try SessionRun(input, [("method", "nf4")], limits: limits).result.report.warnings
        #expect(warnings.count == 6)
        #expect(warnings.last == "2 more tensors have such warnings.")
        limits.maximumWarnings = 7
        #expect(try SessionRun(input, [("method", "nf4")], limits: limits).result.report.warnings.count == 7)
    }

    @Test(arguments: [(3, 5), (1, 40), (40, 1), (7, 600), (600, 7), (3000, 2)], [8, 64, 1000, 1 << 20])
    func aTransposedTensorPassesThroughTilesOfAnySize(_ shape: (Int, Int), _ tileBytes: Int) throws {
        let (rows, columns) = shape
        let values = (0..<rows * columns).map { UInt16(truncatingIfNeeded: $0) }
        let scratch = MemoryStorage()
        let output = MemoryStorage()
        let workplace = Workplace(output: output, scratch: scratch, kernels: .best)
        let columnMajor = (0..<columns).flatMap { column in (0..<rows).map { values[$0 * columns + column] } }
        try workplace.stage(columnMajor.span, at: 32)
        let entry = TensorEntry(
            name: "weight", type: .f16, shape: [rows, columns], elementCount: rows * columns,
            bytes: 0..<rows * columns * 2)
        var encoder: any TensorEncoder = CopyEncoder(place: Place(offset: 0, bytes: rows * columns * 2))
        try FortranPass(entry: entry, offset: 32, tileBytes: tileBytes).run(&encoder, workplace)
        try workplace.flush()
        #expect(output.bytes == values.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] })
        #expect(output.overwritten == 0)
    }

    @Test func namesAreComparedByBytes() throws {
        // U+0600 and the full stop are one character, and so are "t" and the accent: neither hides or makes an end.
        let values = bytes(of: gaussian(128, seed: 6))
        let input = safetensors([
            ("a\u{600}.weight", .f32, [2, 64], values), ("b.weight\u{301}", .f32, [2, 64], values),
            ("c.weight", .f32, [2, 64], values),
        ])
        let made = try SessionRun(input, [("method", "int8")]).tensors()
        #expect(made["a\u{600}.SCB"] != nil)
        #expect(made["c.SCB"] != nil)
        #expect(made["b.weight\u{301}"] == values)
    }
}

/// The memory that sessions share.
@Suite struct MemoryBudgetTests {
    private let header: [UInt8] = {
        let small = safetensors([("weight", .f32, [2, 64], [])])
        let length = 90_000
        return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) } + Array(small[8...]).filter { $0 != 0x20 }
            + [UInt8](repeating: 0x20, count: length)
    }()
    private let need = (90_008 - 9) * MemoryBudget.bytesForHeaderByte

    private func session(_ budget: MemoryBudget) throws -> QuantizingSession {
        try QuantizingSession(
            recipe: Recipe(options: [RecipeOption("method", "nf4")]), declaration: .recognise, declaredBytes: nil,
            engine: "test", output: MemoryStorage(), scratch: MemoryStorage(), memory: budget)
    }

    private func begin(_ session: QuantizingSession) throws {
        let first = Array(header.prefix(100))
        try unsafe session.consume(first.span.bytes)
    }

    @Test func aLargeHeaderWaitsUntilAnotherIsDone() throws {
        let budget = MemoryBudget(bytes: need + need / 2)
        do {
            let first = try session(budget)
            try begin(first)
            #expect(budget.takenBytes == need)
            let second = try session(budget)
            #expect(throws: QuantizationError.busy(wantedBytes: need)) { try begin(second) }
            #expect(budget.takenBytes == need)
            _ = first
        }
        #expect(budget.takenBytes == 0)
        try begin(session(budget))
    }

    @Test func whatNeverFitsIsALimit() throws {
        let budget = MemoryBudget(bytes: need - 1)
        let expected = QuantizationError.limit(name: "working_bytes", value: need, limit: need - 1, tensor: nil)
        #expect(throws: expected) { try begin(session(budget)) }
        #expect(budget.takenBytes == 0)
    }

    @Test func theResultHoldsItsShareAndSmallInputsNeedNone() throws {
        let budget = MemoryBudget(bytes: 0)
        let small = safetensors([("weight", .f32, [2, 64], bytes(of: gaussian(128, seed: 1)))])
        let one = try session(budget)
        try unsafe one.consume(small.span.bytes)
        _ = try one.finish(inputDigest: SessionRun.digest)

        let wide = MemoryBudget(bytes: 1 << 30)
        let columns = 1 << 19
        let declaration = InputDeclaration.raw(type: .f64, shape: [1, columns])
        func run() throws -> SessionResult {
            let session = try QuantizingSession(
                recipe: Recipe(options: [RecipeOption("method", "int8")]), declaration: declaration,
                declaredBytes: nil, engine: "test", output: MemoryStorage(), scratch: MemoryStorage(), memory: wide)
            let zeros = [UInt8](repeating: 0, count: columns * 8)
            try unsafe session.consume(zeros.span.bytes)
            return try session.finish(inputDigest: SessionRun.digest)
        }
        var result: SessionResult? = try run()
        #expect(result?.report.quantizedWeights == columns)
        #expect(wide.takenBytes == columns * 15 + 320 << 10)
        result = nil
        #expect(wide.takenBytes == 0)
    }
}
