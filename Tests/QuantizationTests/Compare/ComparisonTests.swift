import Tensors
import Testing

@testable import Quantization

/// A comparison in memory, and what it staged.
private struct ComparisonRun {
    let comparison: Comparison
    let staged: [UInt8]

    init(
        _ bytes: [UInt8], methods: [Method] = Method.allCases, options: [(String, String)] = [],
        limits: SampleLimits = SampleLimits(), pieceBytes: Int = .max
    ) throws {
        let storage = MemoryStorage(countsRewrites: false)
        let session = try ComparisonSession(
            recipes: try Recipe.variants(
                options.map { RecipeOption($0.0, $0.1) }, methods: methods, varied: Recipe.qualityOptions),
            declaration: .recognise, declaredBytes: bytes.count, engine: "viva test", sampleLimits: limits,
            staged: storage, scratch: MemoryStorage(countsRewrites: false))
        var position = 0
        do {
            comparison = try session.run { (span: inout MutableRawSpan) -> Int in
                let count = min(span.byteCount, bytes.count - position, pieceBytes)
                for index in 0..<count {
                    span.storeBytes(of: bytes[position + index], toByteOffset: index, as: UInt8.self)
                }
                position += count
                return count
            }
        } catch {
            guard case .session(let refusal) = error else { throw error }
            throw refusal
        }
        staged = storage.bytes
    }
}

/// What a comparison says is what the artifacts hold.
@Suite struct ComparisonTests {
    private static let input = safetensors([
        ("norm.weight", .f32, [64], bytes(of: gaussian(64, seed: 1))),
        ("a.weight", .f32, [48, 128], bytes(of: gaussian(48 * 128, seed: 2, scale: 0.1))),
        ("a.activations", .f32, [6, 128], bytes(of: gaussian(6 * 128, seed: 3))),
        ("b.weight", .f32, [16, 130], bytes(of: gaussian(16 * 130, seed: 4, scale: 0.1))),
    ])

    @Test func everyPointIsTheArtifactOfItsRecipe() throws {
        let run = try ComparisonRun(Self.input, pieceBytes: 1001)
        let comparison = run.comparison
        #expect(comparison.sample.isWhole)
        #expect(comparison.sample.weights.map(\.name) == ["a.weight", "b.weight"])
        #expect(comparison.sample.weightCount == 48 * 128 + 16 * 130)
        #expect(Set(comparison.points.map(\.recipe.method)) == Set(Method.allCases))
        for point in comparison.points {
            let made = try SessionRun(Self.input, point.recipe.optionPairs)
            #expect(point.plan.bytes == made.output.bytes.count, "\(point.recipe.label)")
            #expect(point.sums == made.result.report.pooled, "\(point.recipe.label)")
            #expect(point.plan.bitsPerWeight == made.result.report.bitsPerWeight, "\(point.recipe.label)")
            #expect(point.seconds > 0 && point.bytesPerSecond > 0)
        }
        #expect(comparison.points.map(\.plan.bitsPerWeight) == comparison.points.map(\.plan.bitsPerWeight).sorted())
    }

    @Test func whatOneRecipeCannotTakeIsToldAndTheOthersRun() throws {
        let input = safetensors([
            ("a.weight", .f32, [8, 128], bytes(of: [Float](repeating: 70_000, count: 1024))),
            ("b.weight", .f32, [8, 48], bytes(of: gaussian(384, seed: 1))),
        ])
        let comparison = try ComparisonRun(input).comparison
        #expect(comparison.points.contains { $0.recipe.method == .nf4 })
        #expect(
            comparison.refusals.contains { refusal in
                guard case .outOfRange("a.weight", 0, _, _) = refusal.error else { return false }
                return refusal.recipe.format == .awq
            })
        #expect(
            comparison.refusals.contains { refusal in
                guard case .calibration("calibration.missing", _) = refusal.error else { return false }
                return refusal.recipe.method == .awq
            })
        let nan = safetensors([("a.weight", .f32, [2, 2], bytes(of: [1, 2, .nan, 4]))])
        #expect(throws: QuantizationError.nonFinite(tensor: "a.weight", index: 2)) { try ComparisonRun(nan) }
        #expect(throws: QuantizationError.self) { try ComparisonRun(Array(Self.input.dropLast())) }
        let vector = safetensors([("a.bias", .f32, [64], bytes(of: gaussian(64, seed: 1)))])
        #expect(throws: QuantizationError.self) { try ComparisonRun(vector) }
    }

    @Test func theFrontIsWhatASweepFinds() {
        var generator = FuzzGenerator(state: 5)
        for _ in 0..<200 {
            let points = (0..<1 + generator.below(12)).map { _ in
                (bits: Double(generator.below(6)), sqnr: Double(generator.below(6)))
            }
            var best = -Double.infinity
            var expected = [Bool](repeating: false, count: points.count)
            for bits in Set(points.map(\.bits)).sorted() {
                let top = points.filter { $0.bits == bits }.map(\.sqnr).max() ?? best
                for (index, point) in points.enumerated() where point.bits == bits {
                    expected[index] = point.sqnr == top && top > best
                }
                best = max(best, top)
            }
            #expect(Comparison.front(points) == expected)
        }
    }
}

/// Which weights and rows a large file is measured on.
@Suite struct SampleTests {
    /// A file of `count` weights whose every row holds its tensor's and its own number.
    private static func numbered(_ count: Int, rows: Int) -> [UInt8] {
        safetensors(
            (0..<count).map { tensor in
                let values = (0..<rows).flatMap { row in (0..<4).map { Float(tensor * 1000 + row) + Float($0) / 8 } }
                return ("l\(tensor).weight", .f32, [rows, 4], bytes(of: values))
            })
    }

    private static func rows(_ staged: [UInt8]) -> [(tensor: Int, row: Int)] {
        stride(from: 0, to: staged.count, by: 16).map { start in
            let bits = (0..<4).reduce(UInt32(0)) { $0 | UInt32(staged[start + $1]) << (8 * $1) }
            let value = Int(Float(bitPattern: bits))
            return (value / 1000, value % 1000)
        }
    }

    @Test(arguments: [7, 1 << 10, Int.max])
    func rowsAndTensorsAreSpreadEvenly(_ pieceBytes: Int) throws {
        var limits = SampleLimits()
        limits.maximumTensors = 5
        limits.maximumBytes = 5 * 75 * 16
        let run = try ComparisonRun(
            Self.numbered(23, rows: 1000), methods: [.int8], options: [("format", "bitsandbytes")], limits: limits,
            pieceBytes: pieceBytes)
        let rows = Self.rows(run.staged)
        // 75 rows are allowed, 64 are a whole tile.
        let tensors = rows.map(\.tensor).reduce(into: [Int]()) { if $0.last != $1 { $0.append($1) } }
        #expect(tensors.count == 5)
        let steps = zip(tensors, tensors.dropFirst()).map { $1 - $0 }
        #expect(steps.allSatisfy { (4...5).contains($0) } && tensors[0] <= 2 && tensors[4] >= 20)
        for tensor in tensors {
            let kept = rows.filter { $0.tensor == tensor }.map(\.row)
            #expect(kept.count == 64 && kept == kept.sorted())
            #expect(zip(kept, kept.dropFirst()).allSatisfy { (15...16).contains($1 - $0) })
            #expect(kept[0] < 16 && kept[63] == 999)
        }
        let sample = run.comparison.sample
        #expect(!sample.isWhole && sample.weightCount == 5 * 64 * 4)
        #expect(sample.weights.map(\.name) == tensors.map { "l\($0).weight" })
        // The bytes are those of the whole file.
        let made = try SessionRun(Self.numbered(23, rows: 1000), [("method", "int8")])
        #expect(run.comparison.points.map(\.plan.bytes) == [made.output.bytes.count])
    }

    @Test func anIndexCountsWhatWasSent() throws {
        var values = gaussian(1000 * 4, seed: 3)
        values[999 * 4 + 2] = .infinity
        let input = safetensors([("a.weight", .f32, [1000, 4], bytes(of: values))])
        var limits = SampleLimits()
        limits.maximumBytes = 100 * 16
        #expect(throws: QuantizationError.nonFinite(tensor: "a.weight", index: 3998)) {
            try ComparisonRun(input, methods: [.nf4], limits: limits)
        }
    }

    @Test func activationsComeWithTheirWeight() throws {
        let input = safetensors([
            ("a.activations", .f32, [700, 32], bytes(of: gaussian(700 * 32, seed: 1))),
            ("a.weight", .f32, [8, 32], bytes(of: gaussian(256, seed: 2))),
        ])
        var limits = SampleLimits()
        limits.maximumTokens = 16
        let run = try ComparisonRun(input, methods: [.awq], options: [("group_size", "32")], limits: limits)
        #expect(Set(run.comparison.points.map(\.recipe.mode)) == [.best, .reference])
        #expect(run.comparison.sample.input.entries.map(\.shape) == [[16, 32], [8, 32]])
        let without = try ComparisonRun(input, methods: [.nf4], limits: limits)
        #expect(without.comparison.sample.input.entries.map(\.name) == ["a.weight"])
    }

    @Test func aRowBeyondItsShareIsRefused() throws {
        let input = safetensors([("a.weight", .f32, [2, 256], bytes(of: gaussian(512, seed: 1)))])
        var limits = SampleLimits()
        limits.maximumBytes = 1000
        #expect(throws: QuantizationError.limit(name: "sample_bytes", value: 1024, limit: 1000, tensor: "a.weight")) {
            try ComparisonRun(input, limits: limits)
        }
    }

    /// Shapes that a header only claims: nothing overflows, and what no recipe takes is refused before a weight.
    @Test func hugeClaimsAreCountedInFullWidth() throws {
        let rows = 1 << 43
        let entry = TensorEntry(name: "weight", type: .f16, shape: [rows, 1], elementCount: rows, bytes: 0..<2 * rows)
        let piece = Sample.Piece(0, entry, kept: 1 << 27)
        #expect(piece.original(0) == (1 << 16) - 1 && piece.original((1 << 27) - 1) == rows - 1)
        #expect(piece.keeps(rows - 1) && !piece.keeps(rows - 2) && !piece.keeps(0))
        let header =
            "{\"weight\":{\"dtype\":\"F16\",\"shape\":[\(rows * 4),1],\"data_offsets\":[0,\(rows * 8)]}}"
        let session = try ComparisonSession(
            recipes: try Recipe.variants([], varied: Recipe.qualityOptions), declaration: .recognise,
            declaredBytes: nil, engine: "viva test", staged: MemoryStorage(countsRewrites: false),
            scratch: MemoryStorage(countsRewrites: false))
        let file = SafetensorsHeader.file(prefixing: Array(header.utf8), paddedTo: header.utf8.count)
        #expect(throws: QuantizationError.self) { try unsafe session.consume(file.span.bytes) }
    }
}
