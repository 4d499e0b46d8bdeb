import Tensors
import Testing

@testable import Quantization

/// `mode=best` of NF4: the same format, never more error, and figures that are those of the restored weight.
@Suite struct BestModeTests {
    @Test(arguments: Weights.allCases, [false, true])
    func isNeverWorseThanTheReference(_ weights: Weights, _ nested: Bool) throws {
        // A nested group and a short one with a short block.
        let x = weights.values(16384 + 37 * 111)
        for blockSize in nested ? [64] : [64, 4096] {
            let best = try run(x, "best", nested: nested, blockSize: blockSize)
            let reference: SessionRun
            do {
                reference = try run(x, "reference", nested: nested, blockSize: blockSize)
            } catch QuantizationError.outOfRange {
                continue  // The mean of the reference overflows; best has an answer.
            }
            let error = try RestoredWeight(best).squaredError(x)
            let limit = try RestoredWeight(reference).squaredError(x)
            #expect(error <= limit * (1 + 1e-7), "\(weights) \(blockSize): \(error) against \(limit)")
        }
    }

    /// Any weights, sizes, blocks and types: no tensor that the encoder sees at once loses more than the reference's.
    @Test(arguments: 0..<8)
    func randomTensorsAreNeverWorse(_ seed: UInt64) throws {
        var random = SplitMix(state: seed &* 7919 &+ 1)
        for round in 0..<60 {
            let kind = Weights.allCases[Int(random.next32()) % Weights.allCases.count]
            // Squares that leave float32 decide nothing, here neither.
            if [.tiny, .subnormal, .huge, .nearLimit].contains(kind) { continue }
            let type = [ElementType.f32, .f16, .bf16][Int(random.next32()) % 3]
            let blockSize = [32, 64, 128, 4096][Int(random.next32()) % 4]
            let count = round % 20 == 0 ? 20_000 : Int(random.next32()) % 3000 + 1
            let clip: Float = round % 3 == 0 ? 0.05 : .infinity
            let values = kind.values(count, seed: random.next32() >> 8).map { min(max($0, -clip), clip) }
            let (bytes, x) = stored(values, type)
            let file = safetensors([("weight", type, [1, x.count], bytes)])
            let errors = try ["best", "reference"].map {
                try RestoredWeight(SessionRun(file, options($0, true, blockSize))).squaredError(x)
            }
            // Codes are the nearest in float32: how x̂ is then rounded to 16 bits is luck, of 101 weights for instance.
            let luck = type == .f32 ? 1e-6 : 3e-3
            #expect(errors[0] <= errors[1] * (1 + luck), "\(kind) \(type) \(blockSize) \(count) \(errors)")
        }
    }

    /// Two kinds of weights in a row, longer than the opening from which the offset is chosen.
    @Test(arguments: 0..<6)
    func randomLongTensorsAreNeverWorse(_ seed: UInt64) throws {
        var random = SplitMix(state: seed &* 104_729 &+ 3)
        let kinds = Weights.allCases.filter { ![.tiny, .subnormal, .huge, .nearLimit].contains($0) }
        func part(_ count: Int) -> [Float] {
            let magnitude: Float = [0.01, 1, 30][Int(random.next32()) % 3]
            let kind = kinds[Int(random.next32()) % kinds.count]
            return kind.values(count, seed: random.next32() >> 8).map { $0 * magnitude }
        }
        let blockSize = [32, 64, 128, 4096][Int(random.next32()) % 4]
        let count = 1 << 18 + 50_001
        let first = Int(random.next32()) % count
        let x = part(first) + part(count - first)
        let errors = try ["best", "reference"].map {
            try #require(run(x, $0, nested: true, blockSize: blockSize).result.report.tensors[0].quality)
                .sums.squaredError
        }
        #expect(errors[0] <= errors[1] * (1 + 1e-6), "\(blockSize) \(first) \(errors)")
    }

    /// All that is left to lose is the precision of the scales, and with the old offset next to nothing: that of the
    /// library is the mean of all absmax values, that of `best` the one that the opening gives.
    @Test(arguments: ["reference", "best"], [ElementType.f32, .bf16])
    func whatWasNF4BeforeHardlyLoses(_ before: String, _ type: ElementType) throws {
        for count in [1 << 12, 1 << 20 / (type.bitWidth / 8) + 8200] {
            let first = try RestoredWeight(run(gaussian(count, seed: 21, scale: 0.02), before, nested: true)).values
            let (bytes, x) = stored(first, type)
            let file = safetensors([("weight", type, [1, x.count], bytes)])
            let runs = try ["best", "reference"].map { try SessionRun(file, options($0, true, 64)) }
            let errors = try runs.map { try RestoredWeight($0).squaredError(x) }
            #expect(errors[0] <= errors[1] * (1 + 1e-6), "\(type) \(errors)")
            guard bytes.count > 1 << 20 else { continue }
            // Longer than its opening it has the codes of the reference, and the report counts as that one's does.
            let quality = try runs.map { try #require($0.result.report.tensors[0].quality) }
            #expect(quality[0].absoluteErrorsAreBounds && quality[0].excludesCast == (type != .f32))
            let power = x.reduce(0) { $0 + Double($1) * Double($1) }
            #expect(type != .f32 || errors[0] < power * 1e-7, "\(errors[0] / power)")
            #expect(
                before == "best" || runs[0].output.bytes.suffix(count / 2) == runs[1].output.bytes.suffix(count / 2))
        }
    }

    /// A group on the grid asks for the reference's offset, which the weights behind it make infinite.
    @Test func anOffsetThatOverflowsIsNotTaken() throws {
        let x = Weights.gridOfManyScales.values(16384) + Weights.nearLimit.values(16384)
        let restored = try RestoredWeight(run(x, "best", nested: true))
        #expect(restored.values.allSatisfy { $0.isFinite })
    }

    @Test(arguments: [(false, 0.6), (true, 0.6)])
    func gaussianWeightsGain(_ nested: Bool, _ least: Double) throws {
        let x = gaussian(512 * 1024, seed: 5)
        let figures = try ["best", "reference"].map {
            try #require(QualityFigures(run(x, $0, nested: nested).result.report.pooled).sqnr)
        }
        #expect(figures[0] >= figures[1] + least, "\(figures)")
    }

    @Test(arguments: Weights.allCases, [ElementType.f32, .f16, .bf16])
    func reportIsThatOfTheRestoredWeight(_ weights: Weights, _ type: ElementType) throws {
        // What overflows or underflows when squared is not measured in any mode.
        if [.tiny, .subnormal, .huge, .nearLimit].contains(weights) { return }
        let (bytes, x) = stored(weights.values(16384 + 100 * 37), type)
        for nested in [false, true] {
            let file = safetensors([("weight", type, [x.count / 4, 4], bytes)])
            let run = try SessionRun(file, options("best", nested, 64))
            let quality = try #require(run.result.report.tensors.first?.quality)
            let restored = try RestoredWeight(run)
            let errors = zip(x, restored.values).map { Double(abs($0 - $1)) }.sorted()
            let squared = restored.squaredError(x)
            #expect(abs(quality.sums.squaredError - squared) <= 1e-5 * squared)
            #expect(abs(quality.sums.absoluteError - errors.reduce(0, +)) <= 1e-5 * quality.sums.absoluteError)
            #expect(quality.sums.maximumError == errors.last)
            let p99 = errors[Int(0.99 * Double(errors.count))]
            #expect(abs(quality.p99Error - p99) <= 0.07 * p99 + 1e-30)
            #expect(!quality.absoluteErrorsAreBounds && !quality.excludesCast)
            #expect(quality.sums.count == x.count)
        }
    }

    @Test(arguments: [false, true], [32, 64, 2048])
    func piecesDoNotShow(_ nested: Bool, _ blockSize: Int) throws {
        let x = Weights.spiky.values(37 * 601)
        let whole = try run(x, "best", nested: nested, blockSize: blockSize)
        // With double quantization it may be coded once more, with the offset of the reference.
        #expect(whole.output.gaps == 0 && (nested || whole.output.overwritten == 0))
        #expect(whole.output.bytes.count == whole.result.artifactBytes)
        for piece in [1, 100, 4097, 65536] {
            let cut = try run(x, "best", nested: nested, blockSize: blockSize, piece: piece)
            #expect(cut.output.bytes == whole.output.bytes)
            #expect(cut.result.report.tensors[0].quality == whole.result.report.tensors[0].quality)
        }
    }

    @Test(arguments: Weights.allCases, [false, true])
    func levelsDoNotShow(_ weights: Weights, _ nested: Bool) throws {
        let x = weights.values(nested ? 16384 + 37 * 11 : 37 * 111)
        let made = try availableLevels.map { try encoded(x, nested: nested, level: $0) }
        for other in made.dropFirst() {
            #expect(other.bytes == made[0].bytes)
            #expect(other.offset == made[0].offset)
            // Sums of squares beyond float32 may be NaN, which equals nothing.
            #expect(other.quality == made[0].quality || weights == .nearLimit)
        }
    }

    @Test(arguments: [1, 2, 63, 64, 65, 16384, 16385])
    func anyCountIsWhole(_ count: Int) throws {
        let x = gaussian(count, seed: 3)
        for nested in [false, true] {
            let best = try run(x, "best", nested: nested)
            let reference = try run(x, "reference", nested: nested)
            #expect(best.output.gaps == 0)
            let restored = try RestoredWeight(best)
            #expect(restored.scales.allSatisfy { $0.isFinite && $0 > 0 })
            #expect(try restored.squaredError(x) <= RestoredWeight(reference).squaredError(x) * (1 + 1e-7))
            let packed = try #require(try best.tensors()["weight"])
            #expect(count % 2 == 0 || packed[count / 2] & 15 == 7)
        }
    }

    @Test(arguments: [0, 16383, 16384, 20000])
    func refusesWhatIsNotFinite(_ place: Int) throws {
        for nested in [false, true] {
            var x = gaussian(20001, seed: 3)
            x[place] = place % 2 == 0 ? .nan : .infinity
            #expect(throws: QuantizationError.nonFinite(tensor: "weight", index: place)) {
                _ = try run(x, "best", nested: nested)
            }
        }
    }

    /// The reference's absmax values wait on scratch; only weights longer than the opening may become its own.
    @Test func shortWeightsNeedNoScratch() throws {
        // The records of 64 blocks fill less than a page.
        for (rows, best, reference) in [(64, 0, 4096), (4096, 0, 81_920), (4097, 86_016, 86_016)] {
            let input = try describeRaw(type: .f32, shape: [rows, 64], totalBytes: rows * 256)
            for (mode, scratch) in [("best", best), ("reference", reference)] {
                let recipe = try Recipe(options: options(mode, true, 64).map { RecipeOption($0.0, $0.1) })
                #expect(try ArtifactLayout(input: input, recipe: recipe, engine: "test").scratchBytes == scratch)
            }
        }
    }

    private func options(_ mode: String, _ nested: Bool, _ blockSize: Int) -> [(String, String)] {
        [("method", "nf4"), ("mode", mode), ("double_quant", "\(nested)"), ("block_size", "\(blockSize)")]
    }

    private func run(
        _ x: [Float], _ mode: String, nested: Bool, blockSize: Int = 64, piece: Int = .max
    ) throws -> SessionRun {
        try SessionRun(
            safetensors([("weight", .f32, [1, x.count], bytes(of: x))]), options(mode, nested, blockSize),
            pieceBytes: piece)
    }

    /// `x` rounded to `type`: its bytes and its values.
    private func stored(_ x: [Float], _ type: ElementType) -> ([UInt8], [Float]) {
        switch type {
        case .f16:
            let halves = x.map { Float16($0) }
            return (
                halves.flatMap { [UInt8($0.bitPattern & 255), UInt8($0.bitPattern >> 8)] }, halves.map { Float($0) }
            )
        case .bf16:
            let bits = x.map { UInt16($0.bitPattern >> 16) }
            return (
                bits.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }, bits.map { Float(bitPattern: UInt32($0) << 16) }
            )
        default: return (bytes(of: x), x)
        }
    }

    /// One weight through the encoder at one level.
    private func encoded(
        _ x: [Float], nested: Bool, level: KernelLevel
    ) throws -> (bytes: [UInt8], offset: Float?, quality: TensorQuality?) {
        let input = bytes(of: x)
        let description = try describeRaw(type: .f32, shape: [1, x.count], totalBytes: input.count)
        let recipe = try Recipe(options: options("best", nested, 64).map { RecipeOption($0.0, $0.1) })
        let layout = try ArtifactLayout(input: description, recipe: recipe, engine: "test")
        guard case .nf4(let placement) = layout.tensors[0] else { throw MissingLevel(level: level) }
        let output = MemoryStorage()
        let workplace = Workplace(
            output: output, scratch: MemoryStorage(), kernels: try #require(Kernels(level: level)))
        let entry = description.entries[0]
        var encoder: any TensorEncoder = NF4BestEncoder(entry: entry, recipe: recipe, placement: placement, threads: 1)
        if nested {
            encoder = NF4OpeningEncoder(
                entry: entry, recipe: recipe, placement: placement, scratchBase: 0, threads: 1)
        }
        try encoder.consume(unsafe input.span.bytes, workplace)
        let made = try encoder.finish(workplace)
        try workplace.flush()
        return (Array(output.bytes[layout.dataStart...]), made.nestedOffset, made.quality)
    }
}
