import Foundation
import Testing

/// `/v1/compare` and `viva compare` over the real executable.
@Suite(.serialized) struct CompareTests {
    @Test func everyPointIsWhatQuantizeAnswers() throws {
        let service = try LiveService()
        let answer = try service.curl("/v1/compare", ["-T", Repository.example.path])
        #expect(answer.status == 200)
        let points = try #require(try answer.json()["points"] as? [[String: Any]])
        #expect(points.count > 20)
        #expect(points.contains { $0["pareto"] as? Bool == true } && points.contains { $0["pareto"] as? Bool == false })
        for point in points {
            let query = try #require(point["query"] as? String)
            let made = try service.post(Repository.example, query).json()
            #expect(made["bytes"] as? Int == point["bytes"] as? Int, "\(query)")
            let summary = try #require(made["summary"] as? [String: Any])
            for figure in ["sqnr_db", "mse", "psnr_db", "max_abs_error"] {
                #expect(summary[figure] as? Double == point[figure] as? Double, "\(query): \(figure)")
            }
        }
        let refused = try #require(try answer.json()["refused"] as? [[String: Any]])
        #expect(refused.allSatisfy { $0["method"] as? String == "awq" && $0["problem"] != nil })
        #expect(service.filesOnDisk().staging.isEmpty)
    }

    @Test func activationsBringAWQ() throws {
        let service = try LiveService()
        let answer = try service.curl("/v1/compare?methods=awq,int4", ["-T", Repository.awqExample.path]).json()
        let points = try #require(answer["points"] as? [[String: Any]])
        #expect(points.contains { $0["method"] as? String == "awq" })
        #expect(points.allSatisfy { ["awq", "int4"].contains($0["method"] as? String) })
    }

    @Test(arguments: [
        ("methods=int3", 400, "recipe.unknown_method"), ("sample_tensors=0", 400, "request.invalid_option"),
        ("sample_bytes=999999999999", 400, "request.invalid_option"), ("nonsense=1", 400, "recipe.unknown_option"),
        ("sample_bytes=8", 413, "limit.sample_bytes"), ("exclude=*", 422, "input.nothing_to_quantize"),
        ("method=awq", 422, "calibration.missing"),
    ])
    func badComparisonsAreProblems(_ query: String, _ status: Int, _ code: String) throws {
        let service = try LiveService()
        let answer = try service.curl("/v1/compare?\(query)", ["-T", Repository.example.path])
        #expect(answer.status == status)
        #expect(try answer.json()["code"] as? String == code)
        #expect(service.filesOnDisk().staging.isEmpty)
    }

    @Test func theCommandPrintsTheFront() throws {
        let table = try run(Repository.viva.path, ["compare", Repository.example.path, "--methods", "nf4,int8"])
        #expect(table.status == 0)
        #expect(table.text.split(separator: "\n").contains { $0.hasPrefix("*") && $0.contains("nf4") })
        let json = try run(
            Repository.viva.path,
            ["compare", "-", "--methods", "nf4", "--sample-tensors", "2", "--json"], input: Repository.example)
        let object = try #require(try JSONSerialization.jsonObject(with: json.output) as? [String: Any])
        #expect((object["sample"] as? [String: Any])?["whole"] as? Bool == false)
        #expect(try run(Repository.viva.path, ["compare", "/nonexistent"]).status != 0)
    }
}
