import Foundation
import Quantization
import Tensors
import Testing

@testable import VivaService

/// A model's folder becomes a folder that loads, whole or not at all.
@Suite struct FolderQuantizerTests {
    private let folder: ModelFolder

    init() throws { folder = try ModelFolder() }

    @Test func theNewFolderHoldsWhatALoaderReads() throws {
        let summary = try folder.quantize([("method", "nf4")])
        #expect(summary.contains("2 tensors quantized, 2 copied"))
        #expect(summary.contains("left out: .gitattributes, original, pytorch_model.bin"))
        #expect(try folder.left() == ["output"])
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.output.path).sorted()
        #expect(
            names == [
                "LICENSE", "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                "model.safetensors.index.json", "tokenizer.json", "viva_report.json",
            ])
        #expect(try folder.text("tokenizer.json") == "{\"version\": \"1.0\"}")
        let report = try folder.json("viva_report.json")
        #expect((report["tensors"] as? [Any])?.count == 4)
        #expect((report["totals"] as? NSDictionary)?["quantized_tensors"] as? Int == 2)
    }

    /// The page of a folder is that of a file, but for how it is loaded: there is nothing to put anywhere.
    @Test func theReportIsAPageToo() throws {
        let page = folder.root.appending(path: "report.html")
        let quantizer = CommandLineQuantizer(options: [("method", "nf4")], dtype: nil, shape: nil)
        _ = try quantizer.run(input: folder.model.path, output: folder.output.path, reportPath: page.path)
        let text = try String(contentsOf: page, encoding: .utf8)
        #expect(text.contains("<svg") && text.contains("model.layers.0.mlp.down_proj.weight"))
        #expect(text.contains("from_pretrained") && !text.contains("Verify it") && !text.contains("<script"))
        #expect(throws: ServiceError.self) {
            _ = try CommandLineQuantizer(options: [("method", "nf4")], dtype: "float16", shape: nil)
                .run(input: folder.model.path, output: folder.output.path, reportPath: nil)
        }
    }

    @Test func theIndexSaysWhatTheShardsHold() throws {
        _ = try folder.quantize([("method", "nf4")])
        let index = try folder.json("model.safetensors.index.json")
        let map = try #require(index["weight_map"] as? [String: String])
        var found: [String: String] = [:]
        var bytes = 0
        for shard in Set(map.values) {
            let file = [UInt8](try Data(contentsOf: folder.output.appending(path: shard)))
            for entry in try unsafe parseFile(file.span.bytes).entries {
                found[entry.name] = shard
                bytes += entry.bytes.count
            }
        }
        #expect(map == found)
        #expect(found["model.layers.0.mlp.down_proj.weight.quant_state.bitsandbytes__nf4"] != nil)
        let metadata = try #require(index["metadata"] as? NSDictionary)
        #expect(metadata["total_size"] as? Int == bytes)
        #expect(metadata["note"] as? String == "kept")
    }

    /// Only what is new is new: numbers, order and blanks of the configuration stay.
    @Test func theConfigurationIsKeptLetterForLetter() throws {
        _ = try folder.quantize([("method", "nf4")])
        let text = try folder.text("config.json")
        let kept = ModelFolder.config.dropLast(2)
        #expect(text.hasPrefix(kept + ",\n  \"quantization_config\": {\n    \"quant_method\": \"bitsandbytes\","))
        #expect(text.contains("\"llm_int8_skip_modules\": [\"lm_head\", \"model.embed_tokens\"]"))
        #expect(text.hasSuffix("    \"llm_int8_threshold\": 6.0\n  }\n}"))
    }

    @Test func mlxReadsTwoKeysAndAWQComputesInHalf() throws {
        _ = try folder.quantize([("method", "int4"), ("target", "mlx")])
        let text = try folder.text("config.json")
        #expect(text.contains("\"quantization\": {") && text.contains("\"quantization_config\": {"))
        let other = folder.root.appending(path: "awq")
        _ = try folder.quantize([("method", "awq"), ("calibration", "none")], to: other)
        let awq = try String(contentsOf: other.appending(path: "config.json"), encoding: .utf8)
        #expect(awq.contains("\"torch_dtype\": \"float16\""))
    }

    /// A shard is what the same file alone becomes.
    @Test func aShardIsWhatTheFileAloneBecomes() throws {
        _ = try folder.quantize([("method", "int8")])
        let shard = "model-00002-of-00002.safetensors"
        let alone = folder.root.appending(path: "alone.safetensors")
        let quantizer = CommandLineQuantizer(
            options: [("method", "int8"), ("model_type", "llama"), ("tied", "false")], dtype: nil, shape: nil)
        _ = try quantizer.run(
            input: folder.model.appending(path: shard).path, output: alone.path, reportPath: nil)
        #expect(try Data(contentsOf: alone) == Data(contentsOf: folder.output.appending(path: shard)))
    }

    @Test func aModelInOneFileNeedsNoIndex() throws {
        try folder.shard("model.safetensors", ["model.layers.0.mlp.down_proj.weight"])
        let summary = try folder.quantize([("method", "nf4")])
        #expect(summary.contains("1 file; 1 tensors quantized"))
        #expect(summary.contains("model-00001-of-00002.safetensors"), "named as left out")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.output.path)
        #expect(names.filter { $0.hasPrefix("model") } == ["model.safetensors"])
    }

    /// `--model-type` is above `config.json`; what is said is what was done.
    @Test func theArchitectureThatDecidedIsNamed() throws {
        #expect(try folder.quantize([("method", "nf4")]).contains(": llama as nf4 in format bitsandbytes"))
        let other = folder.root.appending(path: "other")
        #expect(
            try folder.quantize([("method", "nf4"), ("model_type", "qwen2")], to: other).contains(": qwen2 as nf4"))
    }

    /// In the cache of the Hugging Face Hub every file of a snapshot is a link to a blob.
    @Test func aSnapshotOfTheHubsCacheIsRead() throws {
        let files = FileManager.default
        let blobs = folder.root.appending(path: "hub/blobs")
        let snapshot = folder.root.appending(path: "hub/snapshots/0123abcd")
        for path in [blobs, snapshot] { try files.createDirectory(at: path, withIntermediateDirectories: true) }
        for name in ["config.json", "tokenizer.json", "model.safetensors.index.json"]
            + (1...2).map({ "model-0000\($0)-of-00002.safetensors" })
        {
            try files.copyItem(at: folder.model.appending(path: name), to: blobs.appending(path: "blob-\(name)"))
            try files.createSymbolicLink(
                atPath: snapshot.appending(path: name).path, withDestinationPath: "../../blobs/blob-\(name)")
        }
        let summary = try folder.quantize([("method", "nf4")], from: snapshot)
        #expect(summary.contains("2 tensors quantized"))
        #expect(try folder.text("tokenizer.json") == "{\"version\": \"1.0\"}")
    }

    @Test func whoIsInterruptedLeavesNothing() throws {
        let interruption = Interruption()
        interruption.ask()
        do {
            _ = try folder.quantize([("method", "nf4")], interruption: interruption)
            Issue.record("went on")
        } catch let error as ServiceError {
            #expect("\(error)" == "interrupted; nothing was written")
        }
        #expect(try folder.left().isEmpty)
    }
}
