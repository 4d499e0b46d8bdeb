import Foundation
import Quantization
import Tensors

@testable import VivaService

/// A small model's folder for one test, removed with the object.
final class ModelFolder: Sendable {
    let root: URL
    var model: URL { root.appending(path: "model") }
    var output: URL { root.appending(path: "output") }

    static let config = """
        {
          "architectures": ["LlamaForCausalLM"],
          "model_type": "llama",
          "rms_norm_eps": 1e-06,  "rope_theta": 10000.0,
          "time_step_limit": [0.0, Infinity],
          "tie_word_embeddings": false
        }
        """

    /// Two shards with an index, and files that are and are not taken along.
    init() throws {
        root = FileManager.default.temporaryDirectory.appending(path: "viva-model-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: model, withIntermediateDirectories: true)
        try write("config.json", Self.config)
        try write("tokenizer.json", "{\"version\": \"1.0\"}")
        try write("LICENSE", "free")
        try write("pytorch_model.bin", "weights")
        try write(".gitattributes", "")
        try FileManager.default.createDirectory(
            at: model.appending(path: "original"), withIntermediateDirectories: true)
        try shard("model-00001-of-00002.safetensors", ["model.embed_tokens.weight"])
        try shard(
            "model-00002-of-00002.safetensors",
            ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight", "lm_head.weight"])
        try index([
            "model.embed_tokens.weight": "model-00001-of-00002.safetensors",
            "model.layers.0.self_attn.q_proj.weight": "model-00002-of-00002.safetensors",
            "model.layers.0.mlp.down_proj.weight": "model-00002-of-00002.safetensors",
            "lm_head.weight": "model-00002-of-00002.safetensors",
        ])
    }

    func write(_ name: String, _ text: String) throws {
        try Data(text.utf8).write(to: model.appending(path: name))
    }

    func index(_ map: [String: String]) throws {
        let object: [String: Any] = ["metadata": ["total_size": 1, "note": "kept"], "weight_map": map]
        try JSONSerialization.data(withJSONObject: object).write(
            to: model.appending(path: "model.safetensors.index.json"))
    }

    /// A shard of BF16 matrices [64, 128] whose elements differ from tensor to tensor.
    func shard(_ name: String, _ tensors: [String]) throws {
        let bytes = 64 * 128 * 2
        let entries = tensors.enumerated().map { place, tensor in
            TensorEntry(
                name: tensor, type: .bf16, shape: [64, 128], elementCount: 64 * 128,
                bytes: place * bytes..<(place + 1) * bytes)
        }
        let header = SafetensorsHeader.serialize(
            entries: entries, metadata: [MetadataItem(name: "format", value: "pt")])
        var file = Data(SafetensorsHeader.file(prefixing: header, paddedTo: (header.count + 7) / 8 * 8))
        for tensor in tensors {
            var state = UInt64(truncatingIfNeeded: tensor.utf8.reduce(5381) { $0 &* 33 &+ Int($1) })
            for _ in 0..<64 * 128 {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                let value = Float(Int(state >> 40) - 1 << 23) / Float(1 << 24)
                let upper = UInt16(truncatingIfNeeded: value.bitPattern >> 16)
                file.append(contentsOf: [UInt8(truncatingIfNeeded: upper), UInt8(truncatingIfNeeded: upper >> 8)])
            }
        }
        try file.write(to: model.appending(path: name))
    }

    /// Everything beside the model, hidden names too: what a run leaves.
    func left() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: root.path).filter { $0 != "model" }
    }

    func text(_ name: String) throws -> String {
        try String(contentsOf: output.appending(path: name), encoding: .utf8)
    }

    func json(_ name: String) throws -> NSDictionary {
        try JSONSerialization.jsonObject(with: Data(contentsOf: output.appending(path: name))) as? NSDictionary ?? [:]
    }

    /// Runs the command's body on the folder.
    func quantize(
        _ options: [(String, String)], calibration: String? = nil, from input: URL? = nil, to output: URL? = nil,
        interruption: Interruption = Interruption()
    ) throws -> String {
        let quantizer = FolderQuantizer(
            options: options.map { RecipeOption($0.0, $0.1) }, calibration: calibration, interruption: interruption)
        return try quantizer.run(input: (input ?? model).path, output: (output ?? self.output).path)
    }

    deinit {
        try? FileManager.default.removeItem(at: root)
    }
}
