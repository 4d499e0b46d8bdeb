import Foundation
import Jobs
import Processes
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
}
