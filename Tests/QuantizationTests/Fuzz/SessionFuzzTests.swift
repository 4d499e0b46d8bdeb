import Foundation
import Tensors
import Testing

@testable import Quantization

/// Any input: an error, or an artifact whose every byte was written once and whose report tells the truth.
///
/// `VIVA_FUZZ_CASES` and `VIVA_FUZZ_SEED` make it run longer, or start elsewhere.
@Suite struct SessionFuzzTests {
    private static let environment = ProcessInfo.processInfo.environment
    private static let cases = environment["VIVA_FUZZ_CASES"].flatMap { UInt64($0) } ?? 250
    private static let firstSeed = environment["VIVA_FUZZ_SEED"].flatMap { UInt64($0) } ?? 1

    @Test func everyInputIsRefusedOrWholeAndTrue() throws {
        var (whole, refused) = (0, [String: Int]())
        for seed in Self.firstSeed..<Self.firstSeed + Self.cases {
            let input = FuzzInput(seed: seed)
            let outcome = FuzzOutcome(input, piecesOf: nil)
            let again = FuzzOutcome(input, piecesOf: ~seed)
            #expect(outcome.told == again.told, "seed \(seed): the pieces show")
            #expect(outcome.bytes == again.bytes, "seed \(seed): the pieces show in the artifact")
            for complaint in outcome.complaints + again.complaints { Issue.record("seed \(seed): \(complaint)") }
            if let error = outcome.error {
                refused["\(error)".prefix { $0 != "(" }.description, default: 0] += 1
            } else {
                whole += 1
            }
        }
        // Not the fuzz's invariant, but without it the invariant would prove nothing.
        #expect(whole > Int(Self.cases) / 8)
        if Self.cases > 1000 { print("fuzz: \(whole) whole, refused: \(refused)") }
    }
}

/// What became of one input.
struct FuzzOutcome {
    private(set) var error: QuantizationError?
    private(set) var bytes: [UInt8] = []
    /// Everything that the session says, to be compared.
    private(set) var told = ""
    /// What is wrong with it.
    private(set) var complaints: [String] = []

    /// Runs an input whole, or in pieces whose sizes a seed decides.
    init(_ input: FuzzInput, piecesOf seed: UInt64?) {
        var generator = seed.map { FuzzGenerator(state: $0) }
        let (output, scratch) = (SparseStorage(), SparseStorage())
        var planned = (file: -1, scratch: -1)
        do throws(QuantizationError) {
            let recipe = try Recipe(options: input.options.map { RecipeOption($0.0, $0.1) })
            let session = try QuantizingSession(
                recipe: recipe, declaration: input.declaration,
                declaredBytes: input.isDeclared ? input.bytes.count : nil, engine: "viva test", output: output,
                scratch: scratch,
                onPlan: { (layout) throws(QuantizationError) in planned = (layout.fileBytes, layout.scratchBytes) })
            var rest = input.bytes[...]
            while !rest.isEmpty {
                let most = generator?.pick([1, 3, 17, 64, 500, 4096, 100_000]) ?? rest.count
                let piece = Array(rest.prefix(most))
                rest = rest.dropFirst(most)
                try unsafe session.consume(piece.span.bytes)
            }
            let result = try session.finish(inputDigest: SessionRun.digest)
            bytes = output.bytes
            told = "\(result.report) \(result.skippedModules)"
            check(result, output, planned.file)
        } catch {
            self.error = error
            told = "\(error)"
            if case .storage = error { complaints.append("storage was asked for what is not there: \(error)") }
        }
        if scratch.end > max(0, planned.scratch) { complaints.append("scratch beyond its plan") }
        if output.end > max(0, planned.file) { complaints.append("output beyond its plan") }
        if scratch.readUnwritten > 0 { complaints.append("\(scratch.readUnwritten) bytes read that nobody wrote") }
        if output.overwritten > 0 { complaints.append("\(output.overwritten) bytes written twice") }
    }

    private mutating func check(_ result: SessionResult, _ output: SparseStorage, _ planned: Int) {
        if output.end != planned || result.artifactBytes != planned { complaints.append("size differs from the plan") }
        if output.covered != output.end { complaints.append("\(output.end - output.covered) bytes were not written") }
        guard let made = try? SessionRun.tensors(of: bytes) else {
            complaints.append("the artifact does not parse")
            return
        }
        let scales = [".absmax", ".nested_absmax", "SCB", "scales", "_scale", "biases"]
        for entry in (try? unsafe parseFile(bytes.span.bytes))?.entries ?? [] {
            guard scales.contains(where: { entry.name.hasSuffix($0) }), let held = made[entry.name],
                !result.input.entries.contains(where: { ExactName($0.name) == ExactName(entry.name) })
            else { continue }
            if !Self.isFinite(held, entry.type) { complaints.append("\(entry.name) holds no numbers") }
        }
        for tensor in result.report.tensors {
            guard let quality = tensor.quality else { continue }
            let figures = QualityFigures(quality.sums)
            if figures.isExact != (quality.sums.maximumError == 0) { complaints.append("exact, and yet an error") }
            for figure in [figures.sqnr, figures.psnr, figures.cosine, figures.relativeError] {
                if let figure, !figure.isFinite { complaints.append("a figure is no number") }
            }
            if !quality.sums.maximumError.isFinite { complaints.append("a weight is restored as no number") }
            if quality.sums.count != tensor.entry.elementCount { complaints.append("weights were not counted") }
        }
    }

    private static func isFinite(_ bytes: [UInt8], _ type: ElementType) -> Bool {
        // The exponent of all ones is in the last two bytes of float16 and float32 alike.
        let (width, mask): (Int, UInt16) = type == .f16 ? (2, 0x7C00) : (4, 0x7F80)
        guard type == .f16 || type == .f32 else { return true }
        return stride(from: width - 2, to: bytes.count, by: width).allSatisfy { place in
            (UInt16(bytes[place]) | UInt16(bytes[place + 1]) << 8) & mask != mask
        }
    }
}
