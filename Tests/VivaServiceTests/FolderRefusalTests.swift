import Foundation
import Quantization
import Testing

@testable import VivaService

/// What is wrong with a model's folder is said by name, before a weight is read, and nothing is left behind.
@Suite struct FolderRefusalTests {
    private let folder: ModelFolder
    private let first = "model-00001-of-00002.safetensors"
    private let second = "model-00002-of-00002.safetensors"

    init() throws { folder = try ModelFolder() }

    private func refuses(
        _ words: String, _ options: [(String, String)] = [("method", "nf4")], to output: URL? = nil,
        leaving: [String] = [], sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        do {
            _ = try folder.quantize(options, to: output)
            Issue.record("accepted", sourceLocation: sourceLocation)
        } catch let error as ServiceError {
            #expect("\(error)".contains(words), "\(error)", sourceLocation: sourceLocation)
        }
        #expect(try folder.left() == leaving, sourceLocation: sourceLocation)
    }

    private func remove(_ name: String) throws {
        try FileManager.default.removeItem(at: folder.model.appending(path: name))
    }

    @Test func whatIsMissingIsNamed() throws {
        try remove(first)
        try refuses("the index names '\(first)', which is not there")
        try remove("model.safetensors.index.json")
        try refuses("neither model.safetensors nor model.safetensors.index.json")
        try remove("config.json")
        try refuses("has no config.json")
    }

    @Test(arguments: ["../secret.safetensors", "a/b.safetensors", ".hidden.safetensors", "model.bin", "/etc/passwd"])
    func anIndexStaysInItsFolder(_ file: String) throws {
        try folder.index(["a.weight": file])
        try refuses("the index names '\(file)', which is no *.safetensors file in the same folder")
    }

    @Test func anIndexAgreesWithItsShards() throws {
        try folder.index(["model.embed_tokens.weight": first, "other.weight": second])
        try refuses("looks for tensor 'other.weight' in \(second), which does not hold it")
        try folder.shard(first, ["lm_head.weight"])
        try folder.index(["lm_head.weight": first, "model.layers.0.mlp.down_proj.weight": second])
        try refuses("tensor 'lm_head.weight' is in \(first) and in \(second)")
        try folder.write("model.safetensors.index.json", "{\"weight_map\": {\"a\": 1}}")
        try refuses("the index names")
        try folder.write("model.safetensors.index.json", "{}")
        try refuses("there is no weight_map")
    }

    @Test func aConfigurationIsStrictJSONOfAnUnquantizedModel() throws {
        try folder.write("config.json", "{\"model_type\": \"llama\", \"model_type\": \"gpt2\"}")
        try refuses("json.duplicate_key")
        try folder.write("config.json", "[]")
        try refuses("json.not_object")
        try folder.write("config.json", "{\"quantization_config\": {\"quant_method\": \"gptq\"}}")
        try refuses("config.json has a quantization_config: the weights are quantized already")
        try folder.write("config.json", String(repeating: " ", count: ModelConfig.maximumBytes + 1))
        try refuses("at most \(ModelConfig.maximumBytes) are read")
    }

    @Test func hugeFilesAreNotTakenAlong() throws {
        func grow(_ name: String, to bytes: Int) throws {
            try folder.write(name, "")
            let file = try FileHandle(forWritingTo: folder.model.appending(path: name))
            try file.truncate(atOffset: UInt64(bytes))
            try file.close()
        }
        try grow("data.txt", to: Checkpoint.maximumOtherBytes + 1)
        #expect(try folder.quantize([("method", "nf4")]).contains("left out: .gitattributes, data.txt, original"))
        try FileManager.default.removeItem(at: folder.output)
        try grow("model.safetensors.index.json", to: Checkpoint.maximumIndexBytes + 1)
        try refuses("at most \(Checkpoint.maximumIndexBytes) are read")
    }

    @Test func aBrokenShardIsNamed() throws {
        try folder.write(second, "not a tensor file at all")
        try refuses("\(second): ")
    }

    @Test func linksThatLeadElsewhereAreNotFollowed() throws {
        let secret = folder.root.appending(path: "model.secret")
        try Data("secret".utf8).write(to: secret)
        try remove("tokenizer.json")
        try FileManager.default.createSymbolicLink(
            atPath: folder.model.appending(path: "tokenizer.json").path, withDestinationPath: secret.path)
        let summary = try folder.quantize([("method", "nf4")])
        #expect(summary.contains("left out: .gitattributes, original, pytorch_model.bin, tokenizer.json"))
        try FileManager.default.removeItem(at: folder.output)
        try remove(first)
        try FileManager.default.createSymbolicLink(
            atPath: folder.model.appending(path: first).path, withDestinationPath: secret.path)
        try refuses("leads out of the folder", leaving: ["model.secret"])
    }

    @Test func whatIsThereIsNotReplaced() throws {
        try FileManager.default.createDirectory(at: folder.output, withIntermediateDirectories: true)
        try refuses("is there already", leaving: ["output"])
        try FileManager.default.removeItem(at: folder.output)
        try refuses("lies inside of", to: folder.model.appending(path: "inner"))
        try refuses("lies inside of", to: folder.model.appending(path: "original/inner"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.model.path).count == 9)
    }

    @Test func aRecipeIsRefusedBeforeAnythingIsMade() throws {
        try refuses("recipe.target_mismatch", [("method", "nf4"), ("target", "mlx")])
        try refuses("calibration.missing", [("method", "awq")])
        try refuses("input.nothing_to_quantize", [("method", "nf4"), ("exclude", "*")])
        try refuses("'b*' matches no tensor", [("method", "nf4"), ("include", "b*")])
    }
}
