import Foundation
import Tensors
import Testing

@testable import Quantization

/// The whole session against files that the real libraries wrote: every tensor of the artifact, byte for byte.
@Suite struct GoldenSessionTests {
    @Test(arguments: GoldenCase.all("bnb_nf4"), [Int.max, 1, 100, 4097])
    func nf4IsByteIdenticalToBitsandbytes(_ golden: GoldenCase, _ pieceBytes: Int) throws {
        let run = try SessionRun(
            golden.input(),
            [
                ("method", "nf4"), ("mode", "reference"), ("block_size", "\(golden.params.blocksize ?? 64)"),
                ("double_quant", "\(golden.params.double_quant ?? false)"),
            ], pieceBytes: pieceBytes)
        try expectGolden(golden, run)
    }

    @Test(arguments: GoldenCase.all("bnb_int8"), [Int.max, 1, 100, 4097])
    func int8IsByteIdenticalToBitsandbytes(_ golden: GoldenCase, _ pieceBytes: Int) throws {
        let run = try SessionRun(golden.input(), [("method", "int8")], pieceBytes: pieceBytes)
        try expectGolden(golden, run)
    }

    private func expectGolden(_ golden: GoldenCase, _ run: SessionRun) throws {
        let expected = try SessionRun.tensors(of: golden.bytes())
        let made = try run.tensors()
        let outputs = expected.filter { $0.key.hasPrefix("out.") }
        #expect(outputs.count == made.count)
        for (name, bytes) in outputs {
            #expect(made[String(name.dropFirst(4))] == bytes, "\(name)")
        }
        #expect(run.output.gaps == 0)
        #expect(run.output.overwritten == 0)
        #expect(run.output.bytes.count == run.result.artifactBytes)
    }

    @Test(arguments: GoldenCase.all("bnb_nf4") + GoldenCase.all("bnb_int8"))
    func reportEqualsTheErrorOfWhatTheLibraryRestores(_ golden: GoldenCase) throws {
        let nf4 = golden.kind == "bnb4"
        let options =
            nf4
            ? [
                ("method", "nf4"), ("mode", "reference"), ("block_size", "\(golden.params.blocksize ?? 64)"),
                ("double_quant", "\(golden.params.double_quant ?? false)"),
            ] : [("method", "int8")]
        let run = try SessionRun(golden.input(), options)
        let oracle = try Oracle(golden)
        let quality = try #require(run.result.report.tensors.first?.quality)
        let tolerance = quality.excludesCast ? 1e-3 : 2e-6
        #expect(close(quality.sums.signal, oracle.signal, 1e-6))
        #expect(close(quality.sums.squaredError, oracle.squaredError, tolerance))
        if quality.absoluteErrorsAreBounds {
            #expect(quality.sums.maximumError >= oracle.maximumError * 0.999999)
            #expect(quality.sums.absoluteError >= oracle.absoluteError * 0.999999)
            #expect(quality.p99Error >= oracle.p99 * 0.97)
        } else {
            #expect(close(quality.sums.maximumError, oracle.maximumError, 1e-6))
            #expect(close(quality.sums.absoluteError, oracle.absoluteError, 1e-5))
            #expect(close(quality.p99Error, oracle.p99, 0.05))
        }
        let figures = QualityFigures(run.result.report.pooled)
        if let cosine = figures.cosine, let expected = oracle.cosine { #expect(close(cosine, expected, 1e-5)) }
    }

    private func close(_ a: Double, _ b: Double, _ tolerance: Double) -> Bool {
        (a - b).magnitude <= tolerance * max(a.magnitude, b.magnitude) + 1e-30
    }

    /// Sums in Double over what the library itself dequantized.
    private struct Oracle {
        var signal = 0.0
        var squaredError = 0.0
        var absoluteError = 0.0
        var maximumError = 0.0
        var p99 = 0.0
        var cosine: Double?

        init(_ golden: GoldenCase) throws {
            let file = try golden.bytes()
            let description = try unsafe parseFile(file.span.bytes)
            func values(_ name: String) throws -> [Double] {
                let entry = try #require(description.entries.first { $0.name == name })
                let start = description.dataOffset + entry.bytes.lowerBound
                let width = entry.type.bitWidth / 8
                return (0..<entry.elementCount).map { index in
                    var bits: UInt64 = 0
                    for byte in 0..<width { bits |= UInt64(file[start + index * width + byte]) << (8 * byte) }
                    switch entry.type {
                    case .f16: return Double(Float16(bitPattern: UInt16(bits)))
                    case .bf16: return Double(Float(bitPattern: UInt32(bits) << 16))
                    default: return Double(Float(bitPattern: UInt32(bits)))
                    }
                }
            }
            let x = try values("in.weight")
            let restored = try values("deq.weight")
            let errors = zip(x, restored).map { ($0 - $1).magnitude }.sorted()
            signal = x.reduce(0) { $0 + $1 * $1 }
            squaredError = errors.reduce(0) { $0 + $1 * $1 }
            absoluteError = errors.reduce(0, +)
            maximumError = errors.last ?? 0
            p99 = errors[min(errors.count - 1, Int(0.99 * Double(errors.count)))]
            let norms = (signal * restored.reduce(0) { $0 + $1 * $1 }).squareRoot()
            if norms > 0 { cosine = zip(x, restored).reduce(0) { $0 + $1.0 * $1.1 } / norms }
        }
    }
}
