import Foundation
import Tensors
import Testing

@testable import Quantization

/// What is quantized, what is copied, and where it goes.
@Suite struct LayoutTests {
    private let layer = gaussian(32 * 128, seed: 1)

    @Test func normsBiasesEmbeddingsAndTheHeadAreCopied() throws {
        let vector = bytes(of: gaussian(128, seed: 2))
        let matrix = bytes(of: layer)
        let copied = ["model.embed_tokens.weight", "lm_head.weight", "transformer.wte.weight", "h.0.wpe.weight"]
        let input = safetensors(
            [
                ("a.weight", .f32, [32, 128], matrix), ("a.bias", .f32, [128], vector),
                ("norm.weight", .f32, [128], vector),
            ]
                + copied.map { ($0, .f32, [32, 128], matrix) } + [("ids", .i64, [2, 8], vector.dropLast(384) + [])])
        let tensors = try SessionRun(input, [("method", "nf4")]).tensors()
        for name in copied { #expect(tensors[name] == matrix) }
        #expect(tensors["a.bias"] == vector)
        #expect(tensors["norm.weight"] == vector)
        #expect(tensors["a.weight"]?.count == 32 * 128 / 2)
        #expect(tensors["ids"] == Array(vector.dropLast(384)))
    }

    @Test func includeAndExcludeDecide() throws {
        let matrix = bytes(of: layer)
        let input = safetensors(
            ["a.q.weight", "a.k.weight", "embed.weight"].map { ($0, ElementType.f32, [32, 128], matrix) })
        func quantized(_ options: [(String, String)]) throws -> [String] {
            let run = try SessionRun(input, [("method", "int8")] + options)
            return run.result.report.tensors.filter { $0.quality != nil }.map(\.entry.name)
        }
        #expect(try quantized([]) == ["a.q.weight", "a.k.weight"])
        #expect(try quantized([("include", "*embed*")]) == ["embed.weight"])
        #expect(try quantized([("exclude", "a.q.*")]) == ["a.k.weight"])
        #expect(try quantized([("include", "a.*"), ("exclude", "*k*")]) == ["a.q.weight"])
        let run = try SessionRun(input, [("method", "int8"), ("exclude", "a.q.*")])
        #expect(run.result.skippedModules == ["a.q", "embed"])
        #expect(run.result.report.warnings.contains { $0.contains("33 %") })
    }

    @Test func theFileFollowsFromTheHeaderAlone() throws {
        let recipes: [[(String, String)]] = [
            [("method", "nf4")], [("method", "nf4"), ("double_quant", "false"), ("block_size", "32")],
            [("method", "int8")], [("method", "awq"), ("calibration", "none"), ("group_size", "32")],
        ]
        for (index, options) in recipes.enumerated() {
            // Tensors of very different magnitude: the texts of the offsets have different lengths.
            let scales: [Double] = [1e-30, 1, 1e-3, 12345]
            let input = safetensors(
                scales.enumerated().map { position, scale in
                    let rows = 8 * (position + 1)
                    let values = gaussian(
                        rows * 96, seed: UInt64(position), scale: index == 3 ? min(scale, 1000) : scale)
                    return ("l\(position).weight", .f32, [rows, 96], bytes(of: values))
                })
            let run = try SessionRun(input, options, pieceBytes: 1000)
            let description = try SessionRun.description(of: run.output.bytes)
            #expect(run.output.bytes.count == run.result.artifactBytes)
            #expect(run.output.gaps == 0 && run.output.overwritten == 0)
            for entry in description.entries where !entry.name.contains("quant_state") {
                let start = description.dataOffset + entry.bytes.lowerBound
                #expect(start % (entry.type.bitWidth / 8) == 0, "\(entry.name) is not aligned")
            }
        }
    }

    @Test func metadataIsKeptAndOurProvenanceAdded() throws {
        let json =
            #"{"__metadata__":{"format":"np","who":"me"},"#
            + #""weight":{"dtype":"F32","shape":[32,128],"data_offsets":[0,16384]}}"#
        let input = SafetensorsHeader.file(prefixing: Array(json.utf8), paddedTo: json.utf8.count) + bytes(of: layer)
        let run = try SessionRun(input, [("method", "int8")])
        let metadata = try SessionRun.description(of: run.output.bytes).metadata
        #expect(metadata.map(\.name) == ["format", "who", "viva"])
        #expect(metadata[0].value == "pt")
        #expect(metadata[1].value == "me")
        let provenance = try JSONSerialization.jsonObject(with: Data(metadata[2].value.utf8)) as? [String: Any]
        #expect(provenance?["input"] as? String == SessionRun.digest)
        #expect((provenance?["recipe"] as? [String: Any])?["method"] as? String == "int8")
    }

    @Test(arguments: ["best", "reference"])
    func awqTakesEachLayerWithItsActivationsAndCastsItsBias(_ mode: String) throws {
        let bias: [Float] = (0..<32).map { Float($0) * 0.1 }
        let input = safetensors([
            ("a.weight", .f32, [32, 128], bytes(of: layer)), ("a.bias", .f32, [32], bytes(of: bias)),
            ("a.activations", .f32, [16, 128], bytes(of: gaussian(16 * 128, seed: 3))),
            ("b.weight", .f32, [32, 128], bytes(of: gaussian(32 * 128, seed: 4))),
            ("b.activations", .f32, [8, 128], bytes(of: gaussian(8 * 128, seed: 5))),
        ])
        let run = try SessionRun(
            input, [("method", "awq"), ("mode", mode), ("scaling", "keep")], pieceBytes: 777)
        let tensors = try run.tensors()
        let parts = ["bias", "input_scales", "qweight", "qzeros", "scales"]
        #expect(Set(tensors.keys) == Set(parts.map { "a.\($0)" } + parts.dropFirst().map { "b.\($0)" }))
        let halves = bias.flatMap {
            [UInt8(truncatingIfNeeded: Float16($0).bitPattern), UInt8(Float16($0).bitPattern >> 8)]
        }
        #expect(tensors["a.bias"] == halves)
        #expect(run.result.report.tensors.allSatisfy { $0.entry.name != "a.activations" })
    }
}

/// The same weights in other clothes give the same codes.
@Suite struct RepresentationTests {
    private let values = gaussian(48 * 80, seed: 6)

    private func npy(_ descr: String, _ fortran: Bool, _ data: [UInt8]) -> [UInt8] {
        var header = "{'descr': '\(descr)', 'fortran_order': \(fortran ? "True" : "False"), 'shape': (48, 80), }"
        header += String(repeating: " ", count: 117 - header.utf8.count) + "\n"
        return [0x93] + Array("NUMPY".utf8) + [1, 0, 118, 0] + Array(header.utf8) + data
    }

    @Test(arguments: [
        [("method", "nf4")], [("method", "int8")], [("method", "awq"), ("calibration", "none"), ("group_size", "-1")],
    ])
    func orderAndEndiannessDoNotMatter(_ options: [(String, String)]) throws {
        let little = bytes(of: values)
        let big = stride(from: 0, to: little.count, by: 4).flatMap { Array(little[$0..<$0 + 4].reversed()) }
        let columns = (0..<80).flatMap { column in (0..<48).map { values[$0 * 80 + column] } }
        let expected = try SessionRun(npy("<f4", false, little), options).tensors()
        for input in [npy(">f4", false, big), npy("<f4", true, bytes(of: columns))] {
            for pieceBytes in [Int.max, 1001] {
                #expect(try SessionRun(input, options, pieceBytes: pieceBytes).tensors() == expected)
            }
        }
    }

    @Test func doublesAreQuantizedAsFloat32() throws {
        let doubles = values.flatMap { value in
            (0..<8).map { UInt8(truncatingIfNeeded: (Double(value) * (1 + 1e-12)).bitPattern >> (8 * $0)) }
        }
        let single = safetensors([("weight", .f32, [48, 80], bytes(of: values))])
        let double = safetensors([("weight", .f64, [48, 80], doubles)])
        let options = [("method", "nf4")]
        #expect(try SessionRun(double, options, pieceBytes: 100).tensors() == SessionRun(single, options).tensors())
    }

    @Test func theQueueGivesWhatTheSessionGives() throws {
        let input = safetensors([("weight", .f32, [1024, 1024], bytes(of: gaussian(1 << 20, seed: 7)))])
        let expected = try SessionRun(input, [("method", "nf4")])
        let output = MemoryStorage()
        let session = try QuantizingSession(
            recipe: try Recipe(options: [RecipeOption("method", "nf4")]), declaration: .recognise, declaredBytes: nil,
            engine: "viva test", output: output, scratch: MemoryStorage(countsRewrites: false))
        let other = MemoryStorage()
        let second = try QuantizingSession(
            recipe: try Recipe(options: [RecipeOption("method", "int8")]), declaration: .recognise, declaredBytes: nil,
            engine: "viva test", output: other, scratch: MemoryStorage(countsRewrites: false))
        let queue = QuantizingQueue(
            sessions: [session, second], inputBytes: nil, pool: BufferPool(bufferBytes: 10_007))
        var position = 0
        while true {
            let count = try queue.take { (span: inout MutableRawSpan) -> Int in
                let count = min(span.byteCount, input.count - position)
                for index in 0..<count {
                    span.storeBytes(of: input[position + index], toByteOffset: index, as: UInt8.self)
                }
                position += count
                return count
            }
            if count == 0 { break }
        }
        let results = try queue.finish(inputDigest: SessionRun.digest)
        #expect(output.bytes == expected.output.bytes)
        #expect(results[0].report.pooled == expected.result.report.pooled)
        let alone = try SessionRun(input, [("method", "int8")])
        #expect(other.bytes == alone.output.bytes)
        #expect(results[1].report.pooled == alone.result.report.pooled)
    }

    @Test func theReportDoesNotDependOnThePieces() throws {
        let halves = values.flatMap { bytes(of: [$0])[2...] }
        let input = safetensors([("weight", .bf16, [48, 80], halves)])
        for method in ["nf4", "int8"] {
            let whole = try SessionRun(input, [("method", method)]).result.report.tensors.map(\.quality)
            for pieceBytes in [1, 63, 4096] {
                let run = try SessionRun(input, [("method", method)], pieceBytes: pieceBytes)
                #expect(run.result.report.tensors.map(\.quality) == whole)
            }
        }
    }
}

/// Numbers as Python prints them (`repr` of CPython 3.11 on each value).
@Suite struct PythonRepresentationTests {
    @Test(arguments: [
        (0.1054595336318016, "0.1054595336318016"), (1e-5, "1e-05"), (1.5e-7, "1.5e-07"), (0.0001, "0.0001"),
        (1e15, "1000000000000000.0"), (1e16, "1e+16"), (12345678901234568.0, "1.2345678901234568e+16"),
        (9007199254740992.0, "9007199254740992.0"), (1e22, "1e+22"), (3.4028234663852886e38, "3.4028234663852886e+38"),
        (0.0, "0.0"), (-2.5, "-2.5"), (Double.leastNonzeroMagnitude, "5e-324"),
    ])
    func matchesRepr(_ value: Double, _ text: String) {
        #expect(QuantState.pythonRepresentation(value) == text)
    }
}
