import Foundation
import Testing

/// `/v1/plan` and `viva plan` over the real executable.
@Suite(.serialized) struct PlanningTests {
    @Test func everyPlannedByteIsMade() throws {
        let service = try LiveService()
        let folder = try TemporaryFolder()
        let whole = try Data(contentsOf: Repository.example)
        let head = try folder.file("head", whole.prefix(4096))
        let plan = try service.curl("/v1/plan", ["-T", head.path]).json()
        let input = try #require(plan["input"] as? [String: Any])
        #expect(input["bytes"] as? Int == whole.count)
        let methods = try #require(plan["methods"] as? [[String: Any]])
        #expect(methods.count > 20)
        for method in methods {
            let query = try #require(method["query"] as? String)
            let made = try service.post(Repository.example, query).json()
            #expect(made["bytes"] as? Int == method["bytes"] as? Int, "\(query)")
            #expect(made["bits_per_weight"] as? Double == method["bits_per_weight"] as? Double, "\(query)")
            #expect(made["quantized_fraction"] as? Double == method["quantized_fraction"] as? Double, "\(query)")
            #expect(made["warnings"] as? [String] == method["warnings"] as? [String], "\(query)")
        }
    }

    /// However a file is sent, it is answered as soon as its header is there.
    @Test func theWholeFileMayBeSentToo() throws {
        let service = try LiveService()
        let query = "/v1/plan?methods=nf4&gpu=t4"
        let ways: [[String]] = [
            ["-T", Repository.example.path], ["-X", "POST", "-T", Repository.example.path],
            ["--data-binary", "@\(Repository.example.path)"],
            ["-H", "Transfer-Encoding: chunked", "-T", Repository.example.path],
        ]
        let answers = try ways.map { try service.curl(query, $0) }
        for answer in answers {
            #expect(answer.status == 200 && answer.curlStatus == 0)
            #expect(answer.body == answers[0].body)
        }
        let raw = try service.curl("/v1/plan?methods=int8&dtype=float16&shape=4096,1024", ["-X", "POST"]).json()
        #expect((raw["input"] as? [String: Any])?["bytes"] as? Int == 8 << 20)
        #expect(service.filesOnDisk().staging.isEmpty)
    }

    @Test(arguments: [
        ("/v1/plan?methods=int3", "recipe.unknown_method"), ("/v1/plan?blocksize=64", "recipe.unknown_option"),
        ("/v1/plan?gpu=none", "request.invalid_option"), ("/v1/plan?context=4096", "request.invalid_option"),
        ("/v1/plan?shape=4,4", "request.invalid_option"),
        ("/v1/plan?methods=nf4&methods=int8", "request.invalid_option"),
        ("/v1/plan", "input.truncated"),
    ])
    func badQuestionsAreProblems(_ path: String, _ code: String) throws {
        let service = try LiveService()
        let folder = try TemporaryFolder()
        let head = try folder.file("head", try Data(contentsOf: Repository.example).prefix(100))
        let answer = try service.curl(path, ["-T", head.path])
        #expect(answer.status == 400)
        #expect(try answer.json()["code"] as? String == code)
    }

    /// A model in two shards, one of them without a weight to quantize.
    private func model() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        let layers = Inputs.safetensors([
            ("model.layers.0.mlp.up_proj.weight", [64, 128], Inputs.gaussian(64 * 128, seed: 1)),
            ("model.layers.0.mlp.down_proj.weight", [128, 64], Inputs.gaussian(64 * 128, seed: 2)),
        ])
        let rest = Inputs.safetensors([("model.norm.weight", [128], Inputs.gaussian(128, seed: 3))])
        _ = try folder.file("model-00001-of-00002.safetensors", layers)
        _ = try folder.file("model-00002-of-00002.safetensors", rest)
        _ = try folder.file("consolidated.safetensors", layers)
        let index = """
            {"metadata": {}, "weight_map": {
              "model.layers.0.mlp.up_proj.weight": "model-00001-of-00002.safetensors",
              "model.layers.0.mlp.down_proj.weight": "model-00001-of-00002.safetensors",
              "model.norm.weight": "model-00002-of-00002.safetensors"}}
            """
        _ = try folder.file("model.safetensors.index.json", Data(index.utf8))
        let config = """
            {"model_type": "llama", "num_hidden_layers": 6, "num_attention_heads": 12, "hidden_size": 384}
            """
        _ = try folder.file("config.json", Data(config.utf8))
        return folder
    }

    @Test func aFolderIsPlannedAsItIsThenQuantized() throws {
        let folder = try model()
        let outcome = try run(
            Repository.viva.path, ["plan", folder.url.path, "--method", "nf4,int8", "--context", "512", "--json"])
        let plan = try #require(try JSONSerialization.jsonObject(with: outcome.output) as? [String: Any])
        #expect((plan["input"] as? [String: Any])?["files"] as? Int == 2)
        #expect((plan["kv_cache"] as? [String: Any])?["bytes"] as? Int == 2 * 6 * 384 * 2 * 512)
        for method in try #require(plan["methods"] as? [[String: Any]]) {
            let out = try TemporaryFolder().url.appending(path: "out")
            try FileManager.default.createDirectory(
                at: out.deletingLastPathComponent(), withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: out.deletingLastPathComponent()) }
            let query = try #require(method["query"] as? String)
            let flags = query.split(separator: "&").flatMap { item in
                let parts = item.split(separator: "=", maxSplits: 1)
                return ["--" + parts[0].replacingOccurrences(of: "_", with: "-"), String(parts[1])]
            }
            let made = try run(Repository.viva.path, ["quantize", folder.url.path, "-o", out.path] + flags)
            #expect(made.status == 0, "\(made.errorText)")
            let sizes = try FileManager.default.contentsOfDirectory(atPath: out.path)
                .filter { $0.hasSuffix(".safetensors") }
                .map { try Data(contentsOf: out.appending(path: $0)).count }
            #expect(sizes.count == 2 && sizes.reduce(0, +) == method["bytes"] as? Int, "\(query)")
        }
    }

    /// The headers of a model's shards over HTTP, cut by the shell command of docs/PLANNING.md, and its folder.
    @Test func theShardsOfAModelArePlannedFromTheirHeaders() throws {
        let (service, folder) = (try LiveService(), try model())
        let cut = """
            cd "$1" && for f in model-*.safetensors; do head -c $((8 + $(od -An -tu8 -N8 $f))) $f; done > heads
            """
        #expect(try run("/bin/sh", ["-c", cut, "sh", folder.url.path]).status == 0)
        let heads = folder.url.appending(path: "heads")
        let query = "/v1/plan?methods=nf4,int8&model_type=llama"
        let plan = try service.curl(query + "&shards=2", ["-T", heads.path])
        let local = try run(Repository.viva.path, ["plan", folder.url.path, "--method", "nf4,int8", "--json"])
        #expect(plan.status == 200)
        #expect(
            String(decoding: plan.body, as: UTF8.self).trimmingCharacters(in: .newlines)
                == local.text.trimmingCharacters(in: .newlines))

        let named = try run(
            Repository.viva.path,
            ["plan", folder.url.appending(path: "model.safetensors.index.json").path, "--method", "nf4,int8", "--json"])
        #expect(named.text == local.text)
        // The configuration says what the model is, and what its cache needs.
        let config = "config@" + folder.url.appending(path: "config.json").path
        let cached = "/v1/plan?methods=nf4,int8&shards=2&context=512"
        let full = try service.curl(cached, ["-T", heads.path, "--url-query", config])
        let withCache = try run(
            Repository.viva.path,
            ["plan", folder.url.path, "--method", "nf4,int8", "--context", "512", "--json"])
        #expect(
            String(decoding: full.body, as: UTF8.self).trimmingCharacters(in: .newlines)
                == withCache.text.trimmingCharacters(in: .newlines))
        for bad in ["config={}", "config=nonsense"] {
            let answer = try service.curl(cached, ["-T", heads.path, "--url-query", bad])
            #expect(try answer.status == 400 && answer.json()["code"] as? String == "request.invalid_option")
        }
        let index = folder.url.appending(path: "model.safetensors.index.json")
        let alone = try service.curl("/v1/plan", ["-T", index.path])
        #expect(try alone.status == 400 && (alone.json()["detail"] as? String)?.contains("holds no shapes") == true)

        let short = try service.curl(query + "&shards=3", ["-T", heads.path])
        #expect(try short.status == 400 && short.json()["code"] as? String == "input.truncated")
        let apart = try service.curl("/v1/plan?shards=2", ["-T", Repository.example.path])
        #expect(try apart.status == 400 && (apart.json()["detail"] as? String)?.contains("headers of all 2") == true)
        let twice = try folder.file("twice", Data(contentsOf: heads) + Data(contentsOf: heads))
        let doubled = try service.curl(query + "&shards=4", ["-T", twice.path])
        #expect(try doubled.status == 400 && doubled.json()["code"] as? String == "plan.tensor_twice")
        for bad in ["&shards=0", "&shards=1025", "&shards=2&dtype=float16&shape=8,8"] {
            let answer = try service.curl(query + bad, ["-T", heads.path])
            #expect(try answer.status == 400 && answer.json()["code"] as? String == "request.invalid_option")
        }
    }

    @Test func theCommandSaysWhatItPlans() throws {
        let folder = try model()
        let table = try run(Repository.viva.path, ["plan", folder.url.path, "--gpu", "t4"])
        #expect(table.text.contains("in 2 files") && table.text.contains("nf4 double_quant=false"))
        #expect(try run(Repository.viva.path, ["plan", "13B", "--gpu", "rtx-4090"]).text.contains("rtx-4090"))
        let example = try run(Repository.viva.path, ["plan", Repository.example.path, "--method", "nf4"])
        #expect(example.status == 0 && example.text.contains("99.7 %"))
        #expect(try run(Repository.viva.path, ["plan", "13B", "--method", "nf4"]).status != 0)
        #expect(try run(Repository.viva.path, ["plan", "/nonexistent"]).status != 0)
    }
}
