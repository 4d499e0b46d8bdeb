import Foundation
import Testing

/// Weights in, an artifact, and weights out again: curl and the command line against the release executable.
@Suite struct RestoreTests {
    /// The tensors of a safetensors file: dtype, shape, bytes.
    private static func tensors(_ file: Data) throws -> [String: (type: String, shape: [Int], bytes: Data)] {
        let length = file.prefix(8).enumerated().reduce(0) { $0 + Int($1.element) << (8 * $1.offset) }
        let header = try JSONSerialization.jsonObject(with: file.subdata(in: 8..<8 + length)) as? [String: Any] ?? [:]
        var tensors: [String: (type: String, shape: [Int], bytes: Data)] = [:]
        for (name, value) in header {
            guard let entry = value as? [String: Any], let type = entry["dtype"] as? String,
                let shape = entry["shape"] as? [Int], let range = entry["data_offsets"] as? [Int]
            else { continue }
            tensors[name] = (type, shape, file.subdata(in: 8 + length + range[0]..<8 + length + range[1]))
        }
        return tensors
    }

    private static func floats(_ data: Data) -> [Float] {
        unsafe data.withUnsafeBytes { bytes in
            (0..<data.count / 4).map { unsafe bytes.loadUnaligned(fromByteOffset: $0 * 4, as: Float.self) }
        }
    }

    @Test(
        arguments: [
            "nf4", "nf4&mode=reference&double_quant=false", "int8", "int8&format=compressed-tensors",
            "int8&format=mlx", "int4", "int4&format=mlx", "int4&format=awq", "fp8", "awq&calibration=none",
        ])
    func theRestoredFileHasTheErrorOfTheReport(_ recipe: String) throws {
        let service = try LiveService()
        let made = try service.post(Repository.example, "method=\(recipe)")
        let artifact = try made.json()
        let id = try #require(artifact["id"] as? String)
        let path = "/v1/artifacts/\(id)/dequantized"
        let answer = try service.curl(path)
        #expect(answer.status == 200 && answer.curlStatus == 0)
        #expect(answer.field("Content-Length") == "\(answer.body.count)")
        #expect(answer.field("Content-Disposition")?.contains(".float32.safetensors") == true)
        let original = try Self.tensors(Data(contentsOf: Repository.example))
        let restored = try Self.tensors(answer.body)
        #expect(Set(restored.keys) == Set(original.keys))
        let report = try service.curl("/v1/artifacts/\(id)/report").json()
        for tensor in try #require(report["tensors"] as? [[String: Any]]) {
            let name = try #require(tensor["name"] as? String)
            let (before, after) = (try #require(original[name]), try #require(restored[name]))
            #expect(after.shape == before.shape, "\(name)")
            guard let mse = tensor["mse"] as? Double else {
                // AWQ's biases are cast; all else passes through.
                #expect(after.bytes == before.bytes || after.type == "F16", "\(name)")
                continue
            }
            #expect(after.type == "F32")
            let errors = zip(Self.floats(before.bytes), Self.floats(after.bytes)).map { Double($0) - Double($1) }
            let measured = errors.reduce(0) { $0 + $1 * $1 } / Double(errors.count)
            #expect(abs(measured - mse) <= 1e-6 * mse, "\(name): \(measured), the report says \(mse)")
        }

        // The command line makes the same bytes of the same artifact.
        let folder = try TemporaryFolder()
        let file = try folder.file("artifact", try service.curl("/v1/artifacts/\(id)/content").body)
        let output = folder.url.appending(path: "restored")
        let line = try run(Repository.viva.path, ["dequantize", file.path, "-o", output.path])
        #expect(line.status == 0)
        #expect(line.text == "\(answer.body.count) bytes\n")
        #expect(try Data(contentsOf: output) == answer.body)
    }

    @Test func typesValidatorsAndRefusals() throws {
        let service = try LiveService()
        let id = try #require(try service.post(Repository.example, "method=nf4").json()["id"] as? String)
        let path = "/v1/artifacts/\(id)/dequantized"
        let whole = try service.curl(path)
        let head = try service.curl(path, ["-I"])
        #expect(head.status == 200)
        #expect(head.field("Content-Length") == "\(whole.body.count)")
        #expect(head.field("Accept-Ranges") == "none")
        let tag = try #require(whole.field("ETag"))
        #expect(tag == head.field("ETag"))
        #expect(try service.curl(path, ["-H", "If-None-Match: \(tag)"]).status == 304)
        #expect(try service.curl(path, ["-H", "If-Match: \"other\""]).status == 412)
        #expect(try service.curl(path, ["-r", "0-9"]).body == whole.body)
        #expect(try service.curl(path + "?dtype=float32").field("ETag") == tag)
        #expect(try service.curl(path + "?dtype=original").body == whole.body)
        for (name, type) in [("float16", "F16"), ("bfloat16", "BF16")] {
            let answer = try service.curl(path + "?dtype=\(name)")
            #expect(answer.field("ETag") != tag)
            let weight = try Self.tensors(answer.body)["encoder.layer.0.attention.self.query.weight"]
            #expect(weight?.type == type)
            #expect(answer.body.count < whole.body.count)
        }
        let unknown = try service.curl(path + "?dtype=int8")
        #expect(unknown.status == 400)
        #expect(try unknown.json()["code"] as? String == "request.invalid_option")
        #expect(try service.curl(path + "?type=float32").status == 400)
        #expect(try service.curl("/v1/artifacts/0f3c6a2d9b7e41588a1c2d3e4f506172/dequantized").status == 404)

        let folder = try TemporaryFolder()
        let output = folder.url.appending(path: "restored")
        let plain = try run(Repository.viva.path, ["dequantize", Repository.example.path, "-o", output.path])
        #expect(plain.status != 0)
        #expect(!FileManager.default.fileExists(atPath: output.path))
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path).isEmpty)
    }

    /// A weight that float16 cannot hold, met while bytes are under way: the body stays shorter than announced.
    @Test func aWeightBeyondTheTypeEndsTheAnswer() throws {
        let service = try LiveService()
        var values = Inputs.gaussian(512 * 1024, seed: 3)
        values[400_000] = 70_000
        let folder = try TemporaryFolder()
        let file = try folder.file("large", Inputs.safetensors([(name: "weight", shape: [512, 1024], values: values)]))
        let id = try #require(try service.post(file, "method=nf4&double_quant=false").json()["id"] as? String)
        #expect(try service.curl("/v1/artifacts/\(id)/dequantized").curlStatus == 0)
        let broken = try service.curl("/v1/artifacts/\(id)/dequantized?dtype=float16")
        #expect(broken.curlStatus == 18)
        #expect(broken.field("Content-Length").flatMap { Int($0) } ?? 0 > broken.body.count)
        #expect(try service.curl("/livez").status == 200)
    }
}
