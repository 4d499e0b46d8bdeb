import Catalogue
import Foundation
import Jobs
import Processes
import Quantization
import Tensors
import Testing

@testable import VivaService

/// Jobs with a second input: what is known of the layers' inputs.
@Suite struct CalibratedJobTests {
    typealias Tensor = (name: String, shape: [Int], values: [Float])

    private let folder = DataFolder()

    static func file(_ tensors: [Tensor]) -> [UInt8] {
        var entries: [TensorEntry] = []
        var data: [UInt8] = []
        for tensor in tensors {
            let start = data.count
            for value in tensor.values {
                data += (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * $0)) }
            }
            entries.append(
                TensorEntry(
                    name: tensor.name, type: .f32, shape: tensor.shape, elementCount: tensor.values.count,
                    bytes: start..<data.count))
        }
        let json = SafetensorsHeader.serialize(entries: entries, metadata: [])
        return SafetensorsHeader.file(prefixing: json, paddedTo: (json.count + 7) / 8 * 8) + data
    }

    /// Weights of `columns` inputs, and activations that make their columns unequal.
    static func layers(_ count: Int, rows: Int = 32, columns: Int = 128, tokens: Int = 16) -> ([Tensor], [Tensor]) {
        func values(_ count: Int, _ seed: Int) -> [Float] {
            (0..<count).map { Float(($0 &* 7919 &+ seed &* 104_729) % 1009 - 504) / 504 }
        }
        let weights = (0..<count).map { index in
            Tensor("l.\(index).weight", [rows, columns], values(rows * columns, index))
        }
        let inputs = (0..<count).map { index in
            let values = values(tokens * columns, index + 100).enumerated().map { $1 * Float(1 + $0 % columns % 7) }
            return Tensor("l.\(index).activations", [tokens, columns], values)
        }
        return (weights, inputs)
    }

    private static let reference = ["mode": "reference"]

    /// What follows the header of a safetensors file.
    private func data(_ file: Data) -> Data {
        let length = file.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        return Data(file.dropFirst(8 + length))
    }

    @Test func dataBesideTheWeightsDoesWhatDataAmongThemDoes() throws {
        let life = try TestLife(folder.path, worker: .builtWorker)
        let (weights, inputs) = Self.layers(2)
        let input = try life.store(Self.file(weights))
        let calibration = try life.store(Self.file(inputs))
        let order: [String: Any] = [
            "input": input, "method": "awq", "calibration": calibration, "options": Self.reference,
        ]
        let made = try life.order(order)
        let id = try #require(made.json["id"] as? String, "\(made)")
        #expect(made.json["calibration"] as? String == calibration)
        let job = try life.wait(id, until: ["succeeded", "failed"])
        let artifact = try #require(job["artifact"] as? String, "\(job)")
        let manifest = try life.send("GET /v1/artifacts/\(artifact)").json
        #expect((manifest["calibration"] as? [String: Any])?["digest"] as? String == calibration)
        let report = try life.send("GET /v1/artifacts/\(artifact)/report").json
        #expect((report["calibration"] as? [String: Any])?["digest"] as? String == calibration)
        let content = try life.send("GET /v1/artifacts/\(artifact)/content").body
        let both = try life.send("POST /v1/quantize?method=awq&mode=reference", [], Self.file(weights + inputs))
        let other = try #require(both.json["id"] as? String, "\(both)")
        #expect(other != artifact)
        #expect(data(try life.send("GET /v1/artifacts/\(other)/content").body) == data(content))
        // Other data is another artifact; the same is the same at once.
        #expect(try life.order(order).json["state"] as? String == "succeeded")
        let more = try life.store(Self.file(Self.layers(2, tokens: 17).1))
        #expect(try life.order(order.merging(["calibration": more]) { $1 }).json["state"] as? String == "queued")
    }

    @Test func dataThatCannotServeIsRefusedBeforeTheJobIsRecorded() throws {
        let life = try TestLife(folder.path)
        let (weights, inputs) = Self.layers(2)
        let input = try life.store(Self.file(weights))
        let calibration = try life.store(Self.file(inputs))
        let wide = try life.store(Self.file(Self.layers(2, columns: 96).1))
        let one = try life.store(Self.file([inputs[0]]))
        let strange = try life.store(Self.file([("x.activations", [1, 128], [Float](repeating: 1, count: 128))]))
        let matrix = SampleInput.npz.deletingLastPathComponent().appending(path: "imatrix/imatrix.gguf")
        let gguf = try life.store(Array(try Data(contentsOf: matrix)))
        let none = "sha256:" + String(repeating: "0", count: 64)
        let refused: [([String: Any], Int, String)] = [
            (["calibration": none], 404, "input.not_found"), (["calibration": "x"], 404, "input.not_found"),
            (["calibration": 1], 400, "request.invalid_body"),
            (["calibration": wide], 422, "calibration.width"), (["calibration": input], 422, "calibration.missing"),
            (["calibration": one], 422, "calibration.missing"), (["calibration": strange], 422, "calibration.missing"),
            (["calibration": gguf], 422, "calibration.missing"),
            (["calibration": calibration, "options": ["calibration": "none"]], 422, "job.calibration"),
            (["calibration": calibration, "method": "int8", "options": [:]], 400, "recipe.unknown_option"),
            (["input": gguf, "calibration": gguf], 422, "input.nothing_to_quantize"),
        ]
        for (change, status, code) in refused {
            let order: [String: Any] = ["input": input, "method": "awq", "options": Self.reference]
            let answer = try life.order(order.merging(change) { $1 })
            #expect(answer.status == status, "\(change) \(answer)")
            #expect(answer.code == code, "\(change) \(answer)")
        }
        #expect((try life.send("GET /v1/jobs").json["items"] as? [Any])?.isEmpty == true)
        #expect(try life.send("GET /v1/inputs/\(gguf)").json["format"] as? String == "gguf")
        #expect(try life.send("GET /v1/inputs/\(gguf)").json["tensor_count"] as? Int == 23)
    }

    /// The disk gave back other bytes than were sent: no artifact may come of them.
    @Test func changedDataMakesNoArtifact() throws {
        let life = try TestLife(folder.path, worker: .builtWorker)
        let (weights, inputs) = Self.layers(1)
        let input = try life.store(Self.file(weights))
        let calibration = try life.store(Self.file(inputs))
        let place = URL(filePath: "\(folder.path)/inputs/\(calibration.dropFirst("sha256:".count))/content")
        var bytes = try Data(contentsOf: place)
        bytes[bytes.count - 5] ^= 1
        try bytes.write(to: place)
        let order: [String: Any] = ["input": input, "method": "awq", "calibration": calibration]
        let id = try #require(try life.order(order).json["id"] as? String)
        let problem = try life.wait(id, until: ["failed", "succeeded"])["problem"] as? [String: Any]
        #expect(problem?["code"] as? String == "input.changed")
        #expect((problem?["detail"] as? String)?.contains(calibration) == true)
    }

    /// What a request says of itself: who is known by its data alone, and what computed.
    @Test(arguments: ["awq", "nf4", "int4"])
    func theBestModeNamesWhatComputed(_ method: String) throws {
        let life = try TestLife(folder.path, worker: .builtWorker)
        let (weights, inputs) = Self.layers(2)
        let input = try life.store(Self.file(weights))
        let calibration = try life.store(Self.file(inputs))
        let made = try life.order(["input": input, "method": method, "calibration": calibration])
        let id = try #require(made.json["id"] as? String, "\(made)")
        #expect((made.json["options"] as? [String: Any])?["calibration"] as? String == "data")
        let job = try life.wait(id, until: ["succeeded", "failed"])
        let artifact = try #require(job["artifact"] as? String, "\(job)")
        let source = try life.send("GET /v1/artifacts/\(artifact)").json["calibration"] as? [String: Any]
        #expect((source?["computed_by"] as? String)?.hasPrefix("openblas ") == true)
        // The same without data is another artifact, and says nothing of it.
        let plain = try life.order(["input": input, "method": method, "options": ["calibration": "none"]])
        let other = try life.wait(try #require(plain.json["id"] as? String), until: ["succeeded", "failed"])
        let without = try #require(other["artifact"] as? String, "\(other)")
        #expect(without != artifact)
        #expect(try life.send("GET /v1/artifacts/\(without)").json["calibration"] is NSNull)
    }

    @Test func dataThatAJobNeedsStaysAndBelongsToTheKeyOfItsRequest() throws {
        // Nothing runs: what is recorded stays as it is.
        let life = try TestLife(folder.path)
        let (weights, inputs) = Self.layers(1)
        let input = try life.store(Self.file(weights))
        let calibration = try life.store(Self.file(inputs))
        let other = try life.store(Self.file(Self.layers(1, tokens: 5).1))
        let order: [String: Any] = [
            "input": input, "method": "awq", "calibration": calibration, "options": Self.reference,
        ]
        let id = try #require(try life.order(order, ["Idempotency-Key: one"]).json["id"] as? String)
        #expect(try life.order(order, ["Idempotency-Key: one"]).json["id"] as? String == id)
        let changed = try life.order(order.merging(["calibration": other]) { $1 }, ["Idempotency-Key: one"])
        #expect(changed.code == "idempotency.key_reused")
        let kept = try life.send("DELETE /v1/inputs/\(calibration)")
        #expect(kept.status == 409)
        #expect(kept.code == "input.in_use")
        #expect(try life.send("DELETE /v1/inputs/\(other)").status == 204)
        #expect(try life.send("DELETE /v1/jobs/\(id)").json["state"] as? String == "cancelled")
        #expect(try life.send("DELETE /v1/inputs/\(calibration)").status == 204)
    }

    /// A job outlived the version, or the processor, that its artifact was named after.
    @Test func whatIsComputedOtherwiseIsNotMadeUnderAnOldName() throws {
        let life = try TestLife(folder.path, worker: .builtWorker)
        let input = try life.store(Self.file(Self.layers(1).0))
        let request = JobRequest(
            options: [RecipeOption("method", "nf4")], name: nil, dtype: nil, shape: nil, trace: "")
        let id = String(repeating: "7", count: 32)
        _ = try life.facilities.catalogue.enqueue(
            JobRecord(
                id: id, owner: "local", input: input, recipe: request.json.text(),
                artifact: String(repeating: "0", count: 32), createdAt: 1))
        _ = try life.order(["input": input, "method": "int8"])
        let problem = try life.wait(id, until: ["failed", "succeeded"])["problem"] as? [String: Any]
        #expect(problem?["code"] as? String == "job.outdated")
    }

    /// A decoder layer of Llama, with what its Linears saw.
    private static func decoder() -> ([Tensor], [Tensor]) {
        let side = 64
        func values(_ count: Int, _ seed: Int) -> [Float] {
            (0..<count).map { Float(($0 &* 7919 &+ seed &* 104_729) % 1009 - 504) / 504 }
        }
        let layer = "model.layers.0."
        var (weights, inputs): ([Tensor], [Tensor]) = ([], [])
        for (index, norm) in ["input_layernorm", "post_attention_layernorm"].enumerated() {
            weights.append(Tensor("\(layer)\(norm).weight", [side], values(side, index).map { $0 + 2 }))
        }
        let names =
            ["q", "k", "v", "o"].map { "self_attn.\($0)_proj" } + ["gate", "up", "down"].map { "mlp.\($0)_proj" }
        for (index, name) in names.enumerated() {
            weights.append(Tensor("\(layer)\(name).weight", [side, side], values(side * side, index + 10)))
            // Queries, keys and values see the same tokens, gate and up do.
            let source = name.hasPrefix("mlp") ? (name.contains("down") ? 3 : 2) : (name.contains("o_proj") ? 1 : 0)
            let tokens = values(24 * side, source + 50).enumerated().map { $1 * ($0 % side % 13 == 4 ? 30 : 1) }
            inputs.append(Tensor("\(layer)\(name).activations", [24, side], tokens))
        }
        return (weights, inputs)
    }

    /// Scales that are folded, by one request and by a job: the same ordinary checkpoint.
    @Test func scalesAreFoldedByRequestsAndByJobs() throws {
        let life = try TestLife(folder.path, worker: .builtWorker)
        let (weights, inputs) = Self.decoder()
        let query = "method=awq&model_type=llama&group_size=32"
        let both = try life.send("POST /v1/quantize?\(query)", [], Self.file(weights + inputs))
        let one = try #require(both.json["id"] as? String, "\(both)")
        let content = try life.send("GET /v1/artifacts/\(one)/content").body
        let text = String(decoding: content.prefix(4096), as: UTF8.self)
        #expect(text.contains("self_attn.q_proj.qweight") && !text.contains("input_scales"))
        let unscaled = try life.send("POST /v1/quantize?\(query)&scaling=none", [], Self.file(weights + inputs))
        let other = try #require(unscaled.json["id"] as? String, "\(unscaled)")
        #expect(data(try life.send("GET /v1/artifacts/\(other)/content").body) != data(content))
        let order: [String: Any] = [
            "input": try life.store(Self.file(weights)), "method": "awq",
            "calibration": try life.store(Self.file(inputs)),
            "options": ["model_type": "llama", "group_size": 32],
        ]
        let job = try life.wait(
            try #require(try life.order(order).json["id"] as? String), until: ["succeeded", "failed"])
        let artifact = try #require(job["artifact"] as? String, "\(job)")
        #expect(data(try life.send("GET /v1/artifacts/\(artifact)/content").body) == data(content))
        // Without a place for the scales nothing is recorded.
        let lone = try life.store(Self.file(weights.filter { !$0.name.contains("norm") }))
        let refused = try life.order(order.merging(["input": lone]) { $1 })
        #expect(refused.status == 422 && refused.code == "calibration.fold_incomplete", "\(refused)")
        // Only AWQ has scales to fold.
        for method in ["nf4", "int4"] {
            for scaling in ["fold", "keep"] {
                let answer = try life.send(
                    "POST /v1/quantize?method=\(method)&calibration=data&model_type=llama&scaling=\(scaling)", [],
                    Self.file(weights + inputs))
                #expect(answer.status == 400 && answer.code == "recipe.unknown_option", "\(answer)")
            }
        }
    }
}
