import Tensors
import Testing

@testable import Quantization

/// `mode=best` of the formats with grouped scales: the same format, never more error, figures of the restored weight.
@Suite struct GroupBestModeTests {
    static let recipes: [[(String, String)]] = [
        [("method", "int4"), ("group_size", "32")], [("method", "int4")], [("method", "int4"), ("group_size", "-1")],
        [("method", "int4"), ("format", "mlx")], [("method", "int4"), ("format", "awq")], [("method", "fp8")],
    ]
    static let (rows, columns) = (8, 256)

    @Test(arguments: Weights.allCases, recipes)
    func isNeverWorseThanTheReference(_ weights: Weights, _ options: [(String, String)]) throws {
        for type in [ElementType.f32, .f16, .bf16] {
            let isHalf = type == .f16 || options.contains { $0.1 == "awq" }
            let (bytes, x) = stored(weights.values(Self.rows * Self.columns), type, limit: isHalf ? 16000 : 1e38)
            let best = try run(bytes, type, options, "best")
            let reference: RestoredGroups
            do {
                reference = try run(bytes, type, options, "reference").restored
            } catch QuantizationError.outOfRange {
                continue  // Best has an answer.
            }
            let (error, limit) = (best.restored.squaredError(x), reference.squaredError(x))
            #expect(error <= limit * (1 + 1e-7), "\(weights) \(options) \(type): \(error) against \(limit)")
        }
    }

    /// Groups that are constant, of one sign, with one weight of another size, or of all magnitudes that a type holds.
    @Test(arguments: recipes)
    func oddGroupsAreNoWorseEither(_ options: [(String, String)]) throws {
        var random = SplitMix(state: 11)
        for type in [ElementType.f32, .f16, .bf16] {
            var values = [Float](repeating: 0, count: Self.rows * Self.columns)
            for row in 0..<Self.rows {
                let size = Float(sign: .plus, exponent: Int(random.next32() % 26) - 12, significand: 1)
                for column in 0..<Self.columns {
                    let noise = random.normal()
                    let kinds = [
                        size, -size, abs(noise) * size, size * (8 + 0.01 * noise), column % 128 == 5 ? size : 0,
                        column % 2 == 0 ? size : -size, noise * size * Float(column % 7 == 0 ? 30 : 1),
                        noise * Float(sign: .plus, exponent: Int(random.next32() % 20) - 10, significand: 1),
                    ]
                    values[row * Self.columns + column] = kinds[row % 8]
                }
            }
            let (bytes, x) = stored(values, type)
            let error = try run(bytes, type, options, "best").restored.squaredError(x)
            let limit = try run(bytes, type, options, "reference").restored.squaredError(x)
            #expect(error <= limit * (1 + 1e-7), "\(options) \(type): \(error) against \(limit)")
        }
    }

    @Test(arguments: zip(recipes, [0.5, 0.7, 1, 0.7, 0.4, 0.2]))
    func gaussianWeightsGain(_ options: [(String, String)], _ least: Double) throws {
        let (bytes, _) = stored(gaussian(16 * 1024, seed: 5), .bf16)
        let file = safetensors([("weight", .bf16, [16, 1024], bytes)])
        let figures = try ["best", "reference"].map { mode in
            try #require(QualityFigures(SessionRun(file, options + [("mode", mode)]).result.report.pooled).sqnr)
        }
        #expect(figures[0] >= figures[1] + least, "\(options) \(figures)")
    }

    @Test(arguments: [Weights.gaussian, .spiky, .relu, .sparse], recipes)
    func reportIsThatOfTheRestoredWeight(_ weights: Weights, _ options: [(String, String)]) throws {
        for type in [ElementType.f32, .f16, .bf16] {
            let (bytes, x) = stored(weights.values(Self.rows * Self.columns), type)
            let made = try run(bytes, type, options, "best")
            let quality = try #require(made.run.result.report.tensors.first?.quality)
            let errors = zip(x, made.restored.values).map { Double(abs($0 - $1)) }.sorted()
            let squared = made.restored.squaredError(x)
            #expect(abs(quality.sums.squaredError - squared) <= 1e-5 * squared)
            #expect(abs(quality.sums.absoluteError - errors.reduce(0, +)) <= 1e-5 * quality.sums.absoluteError)
            #expect(quality.sums.maximumError == errors.last)
            let p99 = errors[Int(0.99 * Double(errors.count))]
            #expect(abs(quality.p99Error - p99) <= 0.07 * p99 + 1e-30)
            #expect(quality.sums.count == x.count)
        }
    }

    @Test(arguments: recipes.filter { !$0.contains { $0.1 == "awq" } }, [Weights.gaussian, .spiky])
    func levelsDoNotShow(_ options: [(String, String)], _ weights: Weights) throws {
        // A row of more than one piece, and groups of more than one batch.
        for (rows, columns) in [(1, 4096 + 640), (15, 640)] {
            let x = weights.values(rows * columns).prefix(rows * columns)
            let input = bytes(of: Array(x))
            let made = try availableLevels.map { try encoded(input, [rows, columns], options, level: $0) }
            for other in made.dropFirst() {
                #expect(other.bytes == made[0].bytes)
                #expect(other.quality == made[0].quality)
            }
        }
    }

    /// The range of AutoAWQ's quantizer does not include zero, which the format cannot express.
    @Test func positiveGroupsAreNotCutOffInTheFormatAWQ() throws {
        let x = gaussian(16 * 128, seed: 9).map { 3 + 0.2 * $0 }
        let (bytes, values) = stored(x, .f16)
        let options = [("method", "int4"), ("format", "awq")]
        let file = safetensors([("weight", .f16, [16, 128], bytes)])
        let errors = try ["best", "reference"].map { mode in
            let run = try SessionRun(file, options + [("mode", mode)])
            let recipe = try Recipe(options: options.map { RecipeOption($0.0, $0.1) })
            return try RestoredGroups(run, recipe, rows: 16, columns: 128, type: .f16).squaredError(values)
        }
        #expect(errors[0] * 100 < errors[1])
    }

    private func run(
        _ bytes: [UInt8], _ type: ElementType, _ options: [(String, String)], _ mode: String
    ) throws -> (run: SessionRun, restored: RestoredGroups) {
        let recipe = try Recipe(options: (options + [("mode", mode)]).map { RecipeOption($0.0, $0.1) })
        let made = try SessionRun(
            safetensors([("weight", type, [Self.rows, Self.columns], bytes)]), options + [("mode", mode)])
        return (made, try RestoredGroups(made, recipe, rows: Self.rows, columns: Self.columns, type: type))
    }

    /// `x` as `type` holds it, within what the formats restore: its bytes and its values.
    private func stored(_ x: [Float], _ type: ElementType, limit: Float = 16000) -> ([UInt8], [Float]) {
        let values = x.map { RestoredGroups.rounded(min(max($0, -limit), limit), type) }
        switch type {
        case .f16: return (values.flatMap { little(Float16($0).bitPattern) }, values)
        case .bf16: return (values.flatMap { little(UInt16($0.bitPattern >> 16)) }, values)
        default: return (bytes(of: values), values)
        }
    }

    private func little(_ bits: UInt16) -> [UInt8] { [UInt8(bits & 255), UInt8(bits >> 8)] }

    /// One weight through the encoder at one level.
    private func encoded(
        _ input: [UInt8], _ shape: [Int], _ options: [(String, String)], level: KernelLevel
    ) throws -> (bytes: [UInt8], quality: TensorQuality?) {
        let description = try describeRaw(type: .f32, shape: shape, totalBytes: input.count)
        let recipe = try Recipe(options: options.map { RecipeOption($0.0, $0.1) })
        let layout = try ArtifactLayout(input: description, recipe: recipe, engine: "test")
        guard case .grouped(let placement) = layout.tensors[0], let code = recipe.groupedCode else {
            throw MissingLevel(level: level)
        }
        let output = MemoryStorage()
        let workplace = Workplace(
            output: output, scratch: MemoryStorage(), kernels: try #require(Kernels(level: level)))
        var encoder = GroupEncoder(
            entry: description.entries[0], recipe: recipe, code: code, placement: placement, threads: 1)
        try encoder.consume(unsafe input.span.bytes, workplace)
        let made = try encoder.finish(workplace)
        try workplace.flush()
        return (Array(output.bytes[layout.dataStart...]), made.quality)
    }
}
