import Foundation
import Testing

/// The main job as a user does it: curl against the release executable.
@Suite struct MainJobTests {
    @Test(arguments: ["nf4", "nf4&double_quant=false", "nf4&mode=reference", "int8", "awq&calibration=none"])
    func weightsInArtifactOut(_ recipe: String) throws {
        let service = try LiveService()
        let made = try service.post(Repository.example, "method=\(recipe)")
        #expect(made.status == 201, "\(made.head)")
        let artifact = try made.json()
        let id = try #require(artifact["id"] as? String)
        #expect(made.field("Location") == "/v1/artifacts/\(id)")
        #expect(made.field("Server-Timing")?.contains("receive;dur=") == true)

        let content = try service.curl("/v1/artifacts/\(id)/content")
        let digest = try sha256(content.body)
        #expect(content.status == 200)
        #expect(artifact["digest"] as? String == "sha256:\(digest)")
        #expect(artifact["bytes"] as? Int == content.body.count)
        #expect(content.field("ETag") == "\"sha256-\(digest)\"")
        let repr = try run("/usr/bin/env", ["sh", "-c", "printf \(digest) | xxd -r -p | base64"]).text
        #expect(content.field("Repr-Digest") == "sha-256=:\(repr.trimmingCharacters(in: .newlines)):")

        let report = try service.curl("/v1/artifacts/\(id)/report").json()
        let totals = try #require(report["totals"] as? [String: Any])
        #expect((totals["sqnr_db"] as? Double ?? 0) > 18)
        #expect((report["tensors"] as? [Any])?.count == 16)

        let again = try service.post(Repository.example, "method=\(recipe)")
        #expect(again.status == 200)
        #expect(try again.json()["id"] as? String == id)
        #expect(service.filesOnDisk().staging.isEmpty)
        #expect(service.filesOnDisk().artifacts == [id])
    }

    @Test func rangesAndValidators() throws {
        let service = try LiveService()
        let made = try service.post(Repository.example, "method=nf4")
        let id = try #require(try made.json()["id"] as? String)
        let path = "/v1/artifacts/\(id)/content"
        let whole = try service.curl(path)
        let tag = try #require(whole.field("ETag"))
        let middle = try service.curl(path, ["-r", "1000-1999"])
        #expect(middle.status == 206)
        #expect(middle.body == whole.body.subdata(in: 1000..<2000))
        #expect(middle.field("Content-Range") == "bytes 1000-1999/\(whole.body.count)")
        let tail = try service.curl(path, ["-r", "-100"])
        #expect(tail.body == whole.body.suffix(100))
        #expect(try service.curl(path, ["-r", "\(whole.body.count)-"]).status == 416)
        #expect(try service.curl(path, ["-H", "If-None-Match: \(tag)"]).status == 304)
        #expect(try service.curl(path, ["-H", "If-Match: \"other\""]).status == 412)
        #expect(try service.curl(path, ["-r", "0-9", "-H", "If-Range: \"other\""]).status == 200)
        let head = try service.curl(path, ["-I"])
        #expect(head.status == 200)
        #expect(head.field("Content-Length") == "\(whole.body.count)")
    }

    @Test func oneShotAnswersWithTheArtifactItself() throws {
        let service = try LiveService()
        let inline = try service.post(
            Repository.example, "method=int8", ["-H", "Accept: application/vnd.safetensors"])
        #expect(inline.status == 201)
        let path = try #require(inline.field("Location"))
        #expect(try service.curl("\(path)/content").body == inline.body)
        #expect(try service.post(Repository.example, "method=int8&download=1").body == inline.body)
    }

    @Test func everyWayOfSendingGivesTheSameArtifact() throws {
        let service = try LiveService()
        let folder = try TemporaryFolder()
        let values = Inputs.gaussian(256 * 384, seed: 1)
        let raw = try folder.file("w.bin", Inputs.bytes(values))
        let query = "method=nf4&dtype=float32&shape=256,384"
        let expected = try service.post(raw, query).json()["id"] as? String
        let chunked = try service.curl("/v1/quantize?\(query)", ["-X", "POST", "-T", "-"], input: raw)
        #expect(try chunked.json()["id"] as? String == expected)
        try run("/usr/bin/env", ["gzip", "-k", raw.path])
        let packed = try service.post(
            raw.appendingPathExtension("gz"), query, ["-H", "Content-Encoding: gzip"])
        #expect(packed.status == 200)
        #expect(try packed.json()["id"] as? String == expected)

        // npy in both orders and safetensors hold the same weights: other inputs, the same codes.
        let npy = try folder.file("w.npy", Inputs.npy([256, 384], values))
        var columns = [Float](repeating: 0, count: values.count)
        for row in 0..<256 { for column in 0..<384 { columns[column * 256 + row] = values[row * 384 + column] } }
        let fortran = try folder.file("f.npy", Inputs.npy([256, 384], columns, fortran: true))
        let file = try folder.file("w.safetensors", Inputs.safetensors([("weight", [256, 384], values)]))
        var codes: Set<Data> = []
        for input in [npy, fortran, file] {
            let answer = try service.post(input, "method=nf4&download=1")
            #expect(answer.status == 201)
            codes.insert(answer.body.suffix(256 * 384 / 2))
        }
        #expect(codes.count == 1)
    }

    @Test func theCommandLineWritesTheSameBytes() throws {
        let service = try LiveService()
        let folder = try TemporaryFolder()
        for method in ["nf4", "int8"] {
            let output = folder.url.appending(path: "\(method).safetensors")
            let outcome = try run(
                Repository.viva.path, ["quantize", Repository.example.path, "--method", method, "-o", output.path])
            #expect(outcome.status == 0, "\(outcome.errorText)")
            #expect(outcome.text.contains("SQNR"))
            let served = try service.post(Repository.example, "method=\(method)&download=1")
            #expect(try Data(contentsOf: output) == served.body)
        }
    }

    @Test(arguments: ["none", "keep"])
    func activationsGuideAWQ(_ scaling: String) throws {
        let service = try LiveService()
        let made = try service.post(Repository.awqExample, "method=awq&scaling=\(scaling)")
        #expect(made.status == 201, "\(String(decoding: made.body, as: UTF8.self))")
        let path = try #require(made.field("Location"))
        let report = try service.curl("\(path)/report").json()
        let tensor = try #require((report["tensors"] as? [[String: Any]])?.first)
        let output = try #require(tensor["output_error"] as? [String: Any])
        #expect((output["relative"] as? Double ?? 1) < 0.02)
        let header = try service.curl("\(path)/content", ["-r", "0-4095"]).body
        let text = String(decoding: header, as: UTF8.self)
        #expect(text.contains("\"qweight\"") && !text.contains("\"activations\""))
        #expect(text.contains("\"input_scales\"") == (scaling == "keep"))
    }

    @Test func artifactsOutliveARestartAndCanBeRemoved() throws {
        let folder = try TemporaryFolder()
        var service = try LiveService(data: folder.url.appending(path: "data"))
        let id = try #require(try service.post(Repository.example, "method=nf4&name=layer0").json()["id"] as? String)
        service.kill()
        service = try LiveService(data: folder.url.appending(path: "data"))
        let list = try service.curl("/v1/artifacts?name=layer0").json()
        #expect((list["items"] as? [[String: Any]])?.map { $0["id"] as? String } == [id])
        #expect(try service.curl("/v1/artifacts?method=int8").json()["items"] as? [String] == [])
        let configText = try service.curl("/v1/artifacts/\(id)/config.json")
        // transformers refuses an integer here.
        #expect(String(decoding: configText.body, as: UTF8.self).contains("\"llm_int8_threshold\": 6.0"))
        let config = try configText.json()
        let quantization = try #require(config["quantization_config"] as? [String: Any])
        #expect(quantization["quant_method"] as? String == "bitsandbytes")
        #expect(quantization["bnb_4bit_use_double_quant"] as? Bool == true)
        #expect((quantization["llm_int8_skip_modules"] as? [String])?.contains("lm_head") == true)
        #expect(try service.curl("/v1/artifacts/\(id)", ["-X", "DELETE"]).status == 204)
        #expect(try service.curl("/v1/artifacts/\(id)").status == 404)
        #expect(try service.curl("/v1/artifacts/\(id)/content").status == 404)
        #expect(service.filesOnDisk().artifacts.isEmpty)
    }
}
