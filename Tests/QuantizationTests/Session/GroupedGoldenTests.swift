import Foundation
import Tensors
import Testing

@testable import Quantization

/// The formats with grouped scales against files that compressed-tensors, MLX and AutoAWQ wrote.
@Suite struct GroupedGoldenTests {
    /// The recipe that a golden case was made by; nil where this engine has none.
    static func options(_ golden: GoldenCase) throws -> [(String, String)]? {
        let params = try Golden(golden.id).parameters
        let reference = ("mode", "reference")
        let group = (params["group_size"] as? Int).map(String.init) ?? "-1"
        switch golden.kind {
        case "mlx":
            let method = params["bits"] as? Int == 4 ? "int4" : "int8"
            return [("method", method), ("format", "mlx"), ("group_size", group), reference]
        case "awq_pack": return [("method", "int4"), ("format", "awq"), ("group_size", group), reference]
        default: break
        }
        guard params["symmetric"] as? Bool == true else { return nil }
        let ours = ("format", "compressed-tensors")
        switch params["format"] as? String {
        case "float-quantized": return [("method", "fp8"), ours, reference]
        case "int-quantized": return [("method", "int8"), ours, ("scheme", "W8A8"), reference]
        default:
            let method = params["num_bits"] as? Int == 4 ? "int4" : "int8"
            return [("method", method), ours, ("group_size", group), reference]
        }
    }

    /// transformers cannot load asymmetric `pack-quantized` files, so they are not written: int4 is asymmetric in the
    /// format AWQ. These cases are facts about the format only.
    static func isAsymmetric(_ golden: GoldenCase) -> Bool { golden.id.contains("_asym_") }

    static let cases = (GoldenCase.all("ct_") + GoldenCase.all("mlx_")).filter { !isAsymmetric($0) }

    @Test func everyCaseIsThere() {
        #expect(Self.cases.count == 15 + 7)
        #expect(GoldenCase.all("ct_").count(where: Self.isAsymmetric) == 4)
    }

    @Test(arguments: GoldenCase.all("ct_").filter(isAsymmetric))
    func asymmetricIntegersAreNotWrittenAsCompressedTensors(_ golden: GoldenCase) throws {
        #expect(try Self.options(golden) == nil)
        #expect(throws: QuantizationError.self) {
            try Recipe(options: [
                RecipeOption("method", "int4"), RecipeOption("format", "compressed-tensors"),
                RecipeOption("symmetric", "false"),
            ])
        }
    }

    @Test(arguments: cases, [Int.max, 1, 100, 4097])
    func everyTensorIsTheLibrarysByteForByte(_ golden: GoldenCase, _ pieceBytes: Int) throws {
        let run = try SessionRun(golden.input(), try #require(try Self.options(golden)), pieceBytes: pieceBytes)
        try expectLibrary(golden, run)
    }

    @Test(arguments: GoldenCase.all("awq_pack"))
    func int4AsAWQIsRoundToNearest(_ golden: GoldenCase) throws {
        let run = try SessionRun(golden.input(), try #require(try Self.options(golden)), pieceBytes: 4097)
        let made = try run.tensors()
        for name in ["qweight", "qzeros", "scales"] {
            #expect(made[name] == (try Golden(golden.id).bytes("out.\(name)")), "\(name)")
        }
        #expect(run.output.gaps == 0)
        #expect(run.output.overwritten == 0)
    }

    private func expectLibrary(_ golden: GoldenCase, _ run: SessionRun) throws {
        let library = try described(golden.bytes()).filter { $0.key.hasPrefix("out.") }
        let made = try described(run.output.bytes)
        #expect(made.count == library.count)
        for (name, expected) in library {
            // The golden files hold MLX's U32 words as I32 under a name of their own.
            let isWords = name == "out.weight_as_i32"
            let got = try #require(made[isWords ? "weight" : String(name.dropFirst(4))], "\(name)")
            #expect(got.bytes == expected.bytes, "\(name)")
            #expect(got.entry.shape == expected.entry.shape, "\(name)")
            #expect(got.entry.type == (isWords ? .u32 : expected.entry.type), "\(name)")
        }
        #expect(run.output.gaps == 0)
        #expect(run.output.overwritten == 0)
        #expect(run.output.bytes.count == run.result.artifactBytes)
    }

    private func described(_ file: [UInt8]) throws -> [String: (entry: TensorEntry, bytes: [UInt8])] {
        let description = try unsafe parseFile(file.span.bytes)
        let tensors = try SessionRun.tensors(of: file)
        return Dictionary(
            uniqueKeysWithValues: description.entries.map { ($0.name, ($0, tensors[$0.name] ?? [])) })
    }

    @Test(arguments: cases)
    func reportIsTheErrorOfWhatTheLibraryRestores(_ golden: GoldenCase) throws {
        let run = try SessionRun(golden.input(), try #require(try Self.options(golden)))
        let sums = try #require(run.result.report.tensors.first?.quality?.sums)
        let file = try Golden(golden.id)
        let x = try file.floats("in.weight").map { Double($0) }
        let errors = try zip(x, file.floats("deq.weight")).map { ($0 - Double($1)).magnitude }
        func close(_ a: Double, _ b: Double, _ tolerance: Double) -> Bool {
            (a - b).magnitude <= tolerance * max(a.magnitude, b.magnitude)
        }
        #expect(sums.count == x.count)
        #expect(close(sums.signal, x.reduce(0) { $0 + $1 * $1 }, 1e-6))
        #expect(close(sums.squaredError, errors.reduce(0) { $0 + $1 * $1 }, 2e-6))
        #expect(close(sums.absoluteError, errors.reduce(0, +), 1e-5))
        #expect(close(sums.maximumError, errors.max() ?? 0, 1e-6))
        #expect(sums.maximumSignal == x.map(\.magnitude).max())
    }
}
