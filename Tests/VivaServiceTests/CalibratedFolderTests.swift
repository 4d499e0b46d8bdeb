import Foundation
import Testing

@testable import VivaService

/// `viva quantize --calibration FILE`, of a folder and of a file.
@Suite struct CalibratedFolderTests {
    private let folder: ModelFolder
    private static let imatrix = SampleInput.npz.deletingLastPathComponent().appending(path: "imatrix/imatrix.gguf")

    init() throws { folder = try ModelFolder() }

    /// Channel statistics of the modules, each of 128 inputs of very different size.
    private func statistics(_ modules: [String], columns: Int = 128, name: String = "statistics") throws -> String {
        let means = (0..<columns).map { Float(1 + $0 % 7 * $0) }
        let tensors = modules.flatMap { module -> [CalibratedJobTests.Tensor] in
            [
                ("\(module).square_mean", [columns], means.map { $0 * $0 }), ("\(module).abs_mean", [columns], means),
                ("\(module).count", [1], [4096]),
            ]
        }
        let file = folder.root.appending(path: name)
        try Data(CalibratedJobTests.file(tensors)).write(to: file)
        return file.path
    }

    private func shard(_ output: URL) throws -> Data {
        try Data(contentsOf: output.appending(path: "model-00002-of-00002.safetensors"))
    }

    @Test(arguments: [[("method", "nf4")], [("method", "int4")], [("method", "awq"), ("scaling", "none")]])
    func aFolderIsCodedByWhatIsKnown(_ options: [(String, String)]) throws {
        let data = [("calibration", "data")]
        let all = try statistics(["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj"])
        _ = try folder.quantize(options + data, calibration: all)
        let report = try folder.json("viva_report.json")
        let source = try #require(report["calibration"] as? [String: Any])
        let bytes = Array(try Data(contentsOf: URL(filePath: all)))
        #expect(source["digest"] as? String == "sha256:\(try SampleInput.sha256(bytes))")
        let plain = folder.root.appending(path: "plain")
        _ = try folder.quantize(options + [("calibration", "none")], to: plain)
        #expect(try shard(plain) != shard(folder.output))
        // One of the two has data: the other is rounded to nearest, and that is said.
        let part = folder.root.appending(path: "part")
        _ = try folder.quantize(options + data, calibration: try statistics(["model.layers.0.mlp.down_proj"]), to: part)
        let warnings = try String(contentsOf: part.appending(path: "viva_report.json"), encoding: .utf8)
        #expect(warnings.contains("model.layers.0.self_attn.q_proj.weight has no calibration data"))
    }

    @Test func anImportanceMatrixIsFoundByTheCheckpointsNames() throws {
        _ = try folder.quantize(
            [("method", "int4"), ("calibration", "data")], calibration: Self.imatrix.path)
        let report = try folder.text("viva_report.json")
        #expect(report.contains("diagonal approximation"))
        #expect(!report.contains("has no calibration data"))
        let plain = folder.root.appending(path: "plain")
        _ = try folder.quantize([("method", "int4")], to: plain)
        #expect(try shard(plain) != shard(folder.output))
    }

    @Test func whatCannotServeLeavesNothing() throws {
        let cases = [
            (try statistics(["encoder.layer.0"]), "No weight has calibration data"),
            (try statistics(["model.layers.0.mlp.down_proj"], columns: 96, name: "narrow"), "96 inputs"),
            (folder.model.appending(path: "tokenizer.json").path, "JSON without"),
            (folder.model.appending(path: "model-00001-of-00002.safetensors").path, "None of the file's"),
            (folder.root.appending(path: "nothing").path, "nothing"),
        ]
        for (path, text) in cases {
            do {
                _ = try CommandLineQuantizer(
                    options: [("method", "awq"), ("calibration", "data")], dtype: nil, shape: nil, calibration: path
                ).run(input: folder.model.path, output: folder.output.path, reportPath: nil)
                Issue.record("\(text): nothing was refused")
            } catch {
                #expect("\(error)".contains(text), "\(error)")
            }
            #expect(try folder.left().allSatisfy { ["statistics", "narrow"].contains($0) })
        }
    }

    @Test func aFileBesideItsDataIsMadeLikeOneThatHoldsIt() throws {
        let (weights, inputs) = CalibratedJobTests.layers(2)
        func write(_ name: String, _ tensors: [CalibratedJobTests.Tensor]) throws -> String {
            let file = folder.root.appending(path: name)
            try Data(CalibratedJobTests.file(tensors)).write(to: file)
            return file.path
        }
        func make(_ input: String, _ calibration: String?, _ name: String) throws -> Data {
            let output = folder.root.appending(path: name)
            _ = try CommandLineQuantizer(
                options: [("method", "awq"), ("calibration", "data")], dtype: nil, shape: nil, calibration: calibration
            ).run(input: input, output: output.path, reportPath: output.path + ".json")
            let bytes = try Data(contentsOf: output)
            return Data(bytes.dropFirst(8 + bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }))
        }
        let beside = try make(try write("w", weights), try write("c", inputs), "a")
        #expect(try make(try write("both", weights + inputs), nil, "b") == beside)
        let report = try String(contentsOf: folder.root.appending(path: "a.json"), encoding: .utf8)
        #expect(report.contains("\"computed_by\": \"openblas"))
    }
}
