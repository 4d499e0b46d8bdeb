import Tensors
import Testing

@testable import Quantization

/// A Linear and inputs of it that have something to say: correlated, some of them much larger than others.
struct CalibratedCase {
    typealias Tensor = (name: String, type: ElementType, shape: [Int], bytes: [UInt8])

    let rows: Int
    let columns: Int
    let tokens: Int
    let weight: [Float]
    let activations: [Float]

    init(rows: Int = 32, columns: Int = 128, tokens: Int = 300, seed: UInt64 = 1) {
        (self.rows, self.columns, self.tokens) = (rows, columns, tokens)
        weight = gaussian(rows * columns, seed: seed, scale: 0.05)
        let rank = 6
        let (left, right) = (
            gaussian(tokens * rank, seed: seed + 1), gaussian(rank * columns, seed: seed + 2)
        )
        let noise = gaussian(tokens * columns, seed: seed + 3, scale: 0.3)
        activations = (0..<tokens * columns).map { index in
            let (token, column) = (index / columns, index % columns)
            let mixed = (0..<rank).reduce(Float(0)) { $0 + left[token * rank + $1] * right[$1 * columns + column] }
            return (mixed + noise[index]) * (column % 16 == 3 ? 8 : 1)
        }
    }

    /// XᵀX / T over all tokens.
    var gram: [Float] {
        var sums = [Double](repeating: 0, count: columns * columns)
        for token in 0..<tokens {
            let row = activations[token * columns..<(token + 1) * columns].map(Double.init)
            for i in 0..<columns { for j in 0..<columns { sums[i * columns + j] += row[i] * row[j] } }
        }
        return sums.map { Float($0 / Double(tokens)) }
    }

    func weightTensor(_ module: String) -> Tensor { ("\(module)weight", .f32, [rows, columns], bytes(of: weight)) }

    func activationTensor(_ module: String) -> Tensor {
        ("\(module)activations", .f32, [tokens, columns], bytes(of: activations))
    }

    /// ‖X(W − Ŵ)ᵀ‖² / ‖XWᵀ‖² over the last fifth of the tokens.
    func heldOutError(of restored: [Float]) -> Double {
        var (error, signal) = (0.0, 0.0)
        for token in tokens - tokens / 5..<tokens {
            for row in 0..<rows {
                var (lost, output) = (0.0, 0.0)
                for column in 0..<columns {
                    let x = Double(activations[token * columns + column])
                    let w = Double(weight[row * columns + column])
                    output += x * w
                    lost += x * (w - Double(restored[row * columns + column]))
                }
                error += lost * lost
                signal += output * output
            }
        }
        return error / signal
    }

    /// What a reader makes of a weight, in float32.
    static func restored(_ artifact: [UInt8], _ name: String) throws -> [Float] {
        floats(try #require(try RestoreRun(artifact).tensors()[name]))
    }
}

/// Sessions that code layers by what is known of their inputs.
@Suite struct CalibratedSessionTests {
    private static let layer = CalibratedCase()

    static let recipes: [[(String, String)]] = [
        [("method", "awq")], [("method", "awq"), ("scaling", "keep"), ("group_size", "64")],
        [("method", "awq"), ("rounding", "nearest"), ("scaling", "keep")],
        [("method", "nf4"), ("calibration", "data")],
        [("method", "nf4"), ("calibration", "data"), ("double_quant", "false"), ("damping", "0.05")],
        [("method", "int4"), ("calibration", "data")],
        [("method", "int4"), ("calibration", "data"), ("format", "awq"), ("group_size", "32")],
        [("method", "int8"), ("calibration", "data"), ("format", "compressed-tensors")],
    ]

    /// The reported error of the output is that of the weights which a reader restores; it is less than rounded to
    /// nearest by the gain that the report tells; and the file is no larger.
    @Test(arguments: recipes)
    func theReportedOutputErrorIsThatOfTheFile(_ options: [(String, String)]) throws {
        let layer = Self.layer
        let input = safetensors([layer.weightTensor("m."), layer.activationTensor("m.")])
        let run = try SessionRun(input, options, pieceBytes: 5001)
        let report = try #require(run.result.report.tensors.first)
        #expect(run.result.report.tensors.count == 1)
        let output = try #require(report.outputError)
        #expect(output.isHeldOut && output.tokens == 60)
        let measured = layer.heldOutError(of: try CalibratedCase.restored(run.output.bytes, "m.weight"))
        #expect((output.relative / measured - 1).magnitude < 1e-3)
        #expect(report.calibration?.kind == "activations")
        // The last fifth is held out.
        #expect(report.calibration?.tokens == 240 && report.calibration?.coverage == 240.0 / 128)

        let plain = safetensors([layer.weightTensor("m.")])
        let drop = ["calibration", "scaling", "rounding", "damping", "mode"]
        let kept = options.filter { !drop.contains($0.0) }
        let nearest = try SessionRun(plain, kept + [("calibration", "none"), ("mode", "reference")])
        let lost = layer.heldOutError(of: try CalibratedCase.restored(nearest.output.bytes, "m.weight"))
        #expect(measured < 0.8 * lost)
        let told = try #require(output.roundToNearest)
        #expect((told / lost - 1).magnitude < 0.02, "\(told) told, \(lost) measured, \(measured) ours")
        #expect((output.plainAWQ != nil) == (options.contains { $0.1 == "awq" }))
        let keeps = options.contains { $0.1 == "keep" } ? layer.columns * 4 : 0
        #expect(report.artifactBytes == nearest.result.report.tensors[0].artifactBytes + keeps)
    }

    /// A Gram matrix says all that its activations say, but that no tokens are held out.
    @Test func aGramMatrixStandsForItsTokens() throws {
        let layer = Self.layer
        let count: [UInt8] = [0x2C, 1, 0, 0, 0, 0, 0, 0]
        let input = safetensors([
            ("gram", .f32, [128, 128], bytes(of: layer.gram)), ("count", .i64, [], count), layer.weightTensor(""),
        ])
        let run = try SessionRun(input, [("method", "nf4"), ("calibration", "data"), ("rounding", "gptq")])
        let report = try #require(run.result.report.tensors.first)
        #expect(report.calibration?.kind == "gram" && report.calibration?.tokens == 300)
        let output = try #require(report.outputError)
        #expect(!output.isHeldOut)
        #expect(try #require(output.gainOverNearest) > 2)
        #expect(Set(try run.tensors().keys).isDisjoint(with: ["gram", "count"]))
    }

    @Test(arguments: [
        [("method", "awq"), ("group_size", "64")], [("method", "nf4"), ("calibration", "data")],
        [("method", "int4"), ("calibration", "data"), ("group_size", "64")],
    ])
    func aLayerWithoutDataIsCodedWithoutAndListed(_ options: [(String, String)]) throws {
        let (a, b) = (CalibratedCase(seed: 10), CalibratedCase(seed: 20))
        let input = safetensors([a.weightTensor("a."), b.weightTensor("b."), a.activationTensor("a.")])
        let run = try SessionRun(input, options)
        let report = run.result.report
        #expect(report.weightsWithoutData == ["b.weight"])
        #expect(report.warnings.contains { $0.contains("b.weight has no calibration data") })
        #expect(report.tensors.map { $0.calibration?.kind } == ["activations", "none"])
        let alone = try SessionRun(
            safetensors([b.weightTensor("b.")]), options.filter { $0.0 != "calibration" } + [("calibration", "none")])
        let (made, expected) = (try run.tensors(), try alone.tensors())
        // The state of NF4 is text of a varying length.
        for (name, bytes) in expected { #expect(made[name] == bytes, "\(name)") }
    }

    /// Another file holds the data, here with the activations of one layer as a Gram matrix of another.
    @Test func dataMayComeInAFileOfItsOwn() throws {
        let layer = Self.layer
        let options = [("method", "awq"), ("group_size", "64")]
        let whole = try SessionRun(safetensors([layer.weightTensor("m."), layer.activationTensor("m.")]), options)
        let weights = safetensors([layer.weightTensor("m.")])
        let file = try CalibrationFile(
            source: MemoryArtifact(safetensors([layer.activationTensor("m.")])), limits: SessionLimits(), memory: nil)
        let output = MemoryStorage()
        let session = try QuantizingSession(
            recipe: Recipe(options: options.map { RecipeOption($0.0, $0.1) }), declaration: .recognise,
            declaredBytes: weights.count, engine: "viva test", calibrationFile: file, output: output,
            scratch: MemoryStorage(countsRewrites: false))
        try unsafe session.consume(weights.span.bytes)
        let result = try session.finish(inputDigest: SessionRun.digest)
        let isSame = output.bytes == whole.output.bytes
        #expect(isSame)
        #expect(result.report.tensors.map(\.outputError) == whole.result.report.tensors.map(\.outputError))
    }

    @Test func rowsThatBlocksGoAcrossAreCodedWithoutData() throws {
        let odd = CalibratedCase(rows: 8, columns: 80, tokens: 20)
        let even = CalibratedCase(rows: 8, columns: 64, tokens: 20)
        let options = [("method", "nf4"), ("calibration", "data")]
        let run = try SessionRun(
            safetensors([
                odd.weightTensor("a."), odd.activationTensor("a."), even.weightTensor("b."),
                even.activationTensor("b."),
            ]), options)
        #expect(run.result.report.weightsWithoutData == ["a.weight"])
        #expect(run.result.report.warnings.contains { $0.hasPrefix("a.weight is coded without its calibration data") })
        #expect(run.result.report.warnings.contains { $0.contains("b.weight has calibration data of 0.25 tokens") })
    }
}

/// What is wrong with calibration data is told, from the header where that says it.
@Suite struct CalibrationRefusalTests {
    private static let layer = CalibratedCase(rows: 8, columns: 64, tokens: 20)

    struct Unfit: CustomTestStringConvertible {
        let code: String
        let tensors: [CalibratedCase.Tensor]
        var options = [("method", "awq"), ("group_size", "32")]

        var testDescription: String { "\(code): \(tensors.map { "\($0.name) \($0.shape)" })" }
    }

    private static func zeros(_ name: String, _ shape: [Int], _ type: ElementType = .f32) -> CalibratedCase.Tensor {
        (name, type, shape, [UInt8](repeating: 0, count: shape.reduce(1, *) * type.bitWidth / 8))
    }

    private static let nf4 = [("method", "nf4"), ("calibration", "data")]

    static let unfit = [
        Unfit(code: "calibration.missing", tensors: []),
        Unfit(code: "calibration.missing", tensors: [], options: nf4),
        Unfit(code: "calibration.missing", tensors: [zeros("count", [1])]),
        Unfit(code: "calibration.width", tensors: [zeros("activations", [4, 32])]),
        Unfit(code: "calibration.width", tensors: [zeros("gram", [32, 32])], options: nf4),
        Unfit(code: "calibration.width", tensors: [zeros("gram", [4, 8, 8])]),
        Unfit(code: "calibration.width", tensors: [zeros("square_mean", [63])]),
        Unfit(code: "calibration.empty", tensors: [zeros("activations", [0, 64])]),
        Unfit(code: "calibration.gram_shape", tensors: [zeros("gram", [64, 32])]),
        Unfit(code: "calibration.gram_shape", tensors: [zeros("gram", [2, 32, 16])]),
        Unfit(code: "calibration.gram_shape", tensors: [zeros("gram", [64])]),
        Unfit(code: "calibration.type", tensors: [zeros("activations", [4, 64], .i32)]),
        Unfit(code: "calibration.type", tensors: [zeros("abs_mean", [64]), zeros("count", [1], .u8)]),
        Unfit(
            code: "calibration.missing", tensors: [zeros("square_mean", [64])],
            options: [("method", "awq"), ("group_size", "32"), ("rounding", "gptq")]),
        Unfit(
            code: "calibration.missing", tensors: [zeros("gram", [2, 32, 32])], options: nf4 + [("rounding", "gptq")]),
        Unfit(
            code: "calibration.missing", tensors: [zeros("gram", [64, 64])],
            options: [("method", "awq"), ("mode", "reference")]),
        Unfit(code: "calibration.shape", tensors: [zeros("square_mean", [64])], options: nf4 + [("block_size", "128")]),
    ]

    /// Not one byte of a tensor is needed to refuse these.
    @Test(arguments: unfit)
    func theHeaderTellsWhatDoesNotFit(_ unfit: Unfit) throws {
        let input = safetensors([Self.layer.weightTensor("")] + unfit.tensors)
        let head = Array(input[..<(try SessionRun.description(of: input).dataOffset)])
        let session = try QuantizingSession(
            recipe: Recipe(options: unfit.options.map { RecipeOption($0.0, $0.1) }), declaration: .recognise,
            declaredBytes: input.count, engine: "test", output: MemoryStorage(), scratch: MemoryStorage())
        let refusal = #expect(throws: QuantizationError.self) { try unsafe session.consume(head.span.bytes) }
        guard case .calibration(let code, let detail)? = refusal else { return }
        #expect(code == unfit.code, "\(detail)")
    }

    @Test func tooManyTokensAndColumnsAreRefused() throws {
        var limits = SessionLimits()
        limits.maximumCalibrationTokens = 19
        let input = safetensors([Self.layer.weightTensor(""), Self.layer.activationTensor("")])
        #expect(
            throws: QuantizationError.limit(name: "calibration_tokens", value: 20, limit: 19, tensor: "activations")
        ) { try SessionRun(input, Self.nf4, limits: limits) }
        limits = SessionLimits()
        limits.maximumAWQColumns = 63
        #expect(throws: QuantizationError.limit(name: "awq_columns", value: 64, limit: 63, tensor: "weight")) {
            try SessionRun(input, Self.nf4, limits: limits)
        }
    }

    /// Wrong values: (tensors, the code).
    static let poisoned: [(String, [CalibratedCase.Tensor])] = {
        var activations = layer.activations
        activations[70] = .nan
        var gram = [Float](repeating: 0, count: 64 * 64)
        for index in 0..<64 { gram[index * 65] = index == 9 ? -1 : 1 }
        return [
            ("calibration.non_finite", [("activations", .f32, [20, 64], bytes(of: activations))]),
            ("calibration.not_positive", [("gram", .f32, [64, 64], bytes(of: gram))]),
            (
                "calibration.non_finite",
                [("square_mean", .f32, [64], bytes(of: [Float](repeating: .infinity, count: 64)))]
            ),
            (
                "calibration.not_positive",
                [("square_mean", .f32, [64], bytes(of: [Float](repeating: -1, count: 64)))]
            ),
            ("calibration.empty", [zeros("square_mean", [64]), zeros("count", [1])]),
        ]
    }()

    @Test(arguments: poisoned.indices, [[("method", "awq"), ("group_size", "32")], nf4])
    func valuesThatNoInputsHaveAreRefused(_ index: Int, _ options: [(String, String)]) throws {
        let (code, tensors) = Self.poisoned[index]
        let refusal = #expect(throws: QuantizationError.self) {
            try SessionRun(safetensors([Self.layer.weightTensor("")] + tensors), options)
        }
        switch refusal {
        case .calibration(let refused, let detail): #expect(refused == code, "\(detail)")
        default: #expect(refusal == .nonFinite(tensor: "activations", index: 70))
        }
    }
}
