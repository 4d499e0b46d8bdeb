import Foundation
import Testing

/// One Linear with what is known of its inputs, in one request.
@Suite struct CalibrationTests {
    private static let side = 384

    /// The float32 tensors of a safetensors file by name.
    private static func tensors(of file: Data) throws -> [String: [Float]] {
        let length = file.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        let header = try JSONSerialization.jsonObject(with: file.dropFirst(8).prefix(length)) as? [String: Any]
        var tensors: [String: [Float]] = [:]
        for (name, value) in try #require(header) {
            guard let entry = value as? [String: Any], let range = entry["data_offsets"] as? [Int] else { continue }
            guard entry["dtype"] as? String == "F32" else {
                tensors[name] = []
                continue
            }
            let bytes = [UInt8](file.dropFirst(8 + length + range[0]).prefix(range[1] - range[0]))
            tensors[name] = stride(from: 0, to: bytes.count, by: 4).map { at in
                Float(bitPattern: (0..<4).reduce(0) { $0 | UInt32(bytes[at + $1]) << (8 * UInt32($1)) })
            }
        }
        return tensors
    }

    /// ‖X(W − Ŵ)ᵀ‖² over the last 102 of the 512 tokens, of every eighth output.
    private static func lost(_ example: [String: [Float]], _ restored: [Float]) throws -> Double {
        let (weight, inputs) = (try #require(example["weight"]), try #require(example["activations"]))
        var sum = 0.0
        for row in stride(from: 0, to: side, by: 8) {
            let change = (0..<side).map { weight[row * side + $0] - restored[row * side + $0] }
            for token in 410..<512 {
                var output: Float = 0
                for column in 0..<side { output += inputs[token * side + column] * change[column] }
                sum += Double(output * output)
            }
        }
        return sum
    }

    /// The file is AutoAWQ's, what it restores has less error of the output than the library's own searches leave, and
    /// the report says so.
    @Test func oneRequestMakesTheBestCodesOfALinear() throws {
        let service = try LiveService()
        let example = try Self.tensors(of: Data(contentsOf: Repository.awqExample))
        func made(_ query: String) throws -> (report: [String: Any], lost: Double, names: Set<String>) {
            let artifact = try service.post(Repository.awqExample, query).json()
            let id = try #require(artifact["id"] as? String)
            let restored = try service.curl("/v1/artifacts/\(id)/dequantized?dtype=float32").body
            let report = try service.curl("/v1/artifacts/\(id)/report").json()
            let content = try service.curl("/v1/artifacts/\(id)/content").body
            let tensor = try #require((report["tensors"] as? [[String: Any]])?.first)
            let weight = try #require(try Self.tensors(of: restored)["weight"])
            return (tensor, try Self.lost(example, weight), Set(try Self.tensors(of: content).keys))
        }
        let best = try made("method=awq")
        let reference = try made("method=awq&mode=reference&scaling=keep")
        let nearest = try made("method=awq&calibration=none&mode=reference")
        #expect(best.names == ["qweight", "qzeros", "scales"])
        #expect(best.lost < 0.8 * reference.lost && reference.lost < nearest.lost)
        let output = try #require(best.report["output_error"] as? [String: Any])
        #expect(output["held_out"] as? Bool == true && output["tokens"] as? Int == 102)
        let gain = try #require(output["versus_round_to_nearest_db"] as? Double)
        #expect((gain - 10 * log10(nearest.lost / best.lost)).magnitude < 0.5)
        #expect(try #require(output["versus_awq_db"] as? Double) > 0.5)
        let calibration = try #require(best.report["calibration"] as? [String: Any])
        #expect(calibration["knowledge"] as? String == "activations" && calibration["tokens"] as? Int == 410)
    }

    /// What the help tells people to type for a scale for each row is a value, not an option.
    @Test func aGroupMayBeARow() throws {
        let folder = try TemporaryFolder()
        let made = try run(
            Repository.viva.path,
            [
                "quantize", Repository.awqExample.path, "--method", "awq", "--group-size", "-1", "-o",
                folder.url.appending(path: "out").path,
            ])
        #expect(made.status == 0, "\(made)")
    }

    struct Unfit: Sendable, CustomTestStringConvertible {
        let code: String
        let query: String
        let tensors: [(name: String, shape: [Int], values: [Float])]

        var testDescription: String { "\(code) \(query) \(tensors.map(\.shape))" }
    }

    private static func values(_ count: Int, poisoned: Bool = false) -> [Float] {
        var values = Inputs.gaussian(count, seed: 3)
        if poisoned { values[count / 2] = .nan }
        return values
    }

    static let unfit = [
        Unfit(code: "calibration.missing", query: "method=awq", tensors: []),
        Unfit(code: "calibration.width", query: "method=awq", tensors: [("activations", [4, 64], values(256))]),
        Unfit(code: "calibration.empty", query: "method=awq", tensors: [("activations", [0, 128], [])]),
        Unfit(code: "calibration.gram_shape", query: "method=awq", tensors: [("gram", [128, 64], values(8192))]),
        Unfit(code: "calibration.width", query: "method=awq", tensors: [("gram", [4, 16, 16], values(1024))]),
        Unfit(
            code: "calibration.missing", query: "method=nf4&calibration=data&rounding=gptq",
            tensors: [("square_mean", [128], [Float](repeating: 1, count: 128))]),
        Unfit(
            code: "tensor.non_finite", query: "method=awq",
            tensors: [("activations", [4, 128], values(512, poisoned: true))]),
        Unfit(
            code: "calibration.non_finite", query: "method=int4&calibration=data",
            tensors: [("gram", [128, 128], values(128 * 128, poisoned: true))]),
        Unfit(
            code: "calibration.not_positive", query: "method=awq",
            tensors: [("gram", [128, 128], [Float](repeating: -1, count: 128 * 128))]),
    ]

    /// Data that does not fit is refused with its reason and leaves nothing; the service lives on.
    @Test func unfitDataIsRefused() throws {
        let service = try LiveService()
        let folder = try TemporaryFolder()
        let weight = (name: "weight", shape: [32, 128], values: Self.values(32 * 128))
        for (index, unfit) in Self.unfit.enumerated() {
            let file = try folder.file("\(index)", Inputs.safetensors([weight] + unfit.tensors))
            let answer = try service.post(file, unfit.query)
            #expect(answer.status == 422, "\(unfit)")
            let code = try answer.json()["code"] as? String
            #expect(
                code == unfit.code || unfit.code == "tensor.non_finite" && code == "calibration.non_finite", "\(unfit)")
        }
        #expect(try service.curl("/v1/artifacts").json()["items"] as? [NSDictionary] == [])
        #expect(service.filesOnDisk().staging.isEmpty)
        for query in ["method=awq&bits=8", "method=nf4&calibration=data&mode=reference"] {
            #expect(try service.post(Repository.awqExample, query).status == 422)
        }
        #expect(try service.post(Repository.awqExample, "method=awq&calibration=none&rounding=gptq").status == 400)
    }
}
