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

/// Budgets over the real executable.
@Suite(.serialized) struct BudgetEndToEndTests {
    @Test func aBudgetIsKeptAndBeatsTheUniformChoice() throws {
        let service = try LiveService()
        var improved = 0
        for query in ["budget_bits_per_weight=5", "budget_bytes=1200000&format=mlx", "budget_bytes=1300000&name=x"] {
            let answer = try service.post(Repository.example, query)
            #expect(answer.status == 201)
            let made = try answer.json()
            let budget = try #require(made["budget"] as? [String: Any])
            let uniform = try #require(budget["best_uniform"] as? [String: Any])
            let (error, other) = (budget["squared_error"] as? Double, uniform["squared_error"] as? Double)
            #expect(try #require(error) <= (try #require(other)), "\(query)")
            if try #require(error) < (try #require(other)) { improved += 1 }
            #expect(made["bytes"] as? Int == budget["bytes"] as? Int)
            if let limit = budget["budget_bytes"] as? Int { #expect(try #require(made["bytes"] as? Int) <= limit) }
            if let limit = budget["budget_bits_per_weight"] as? Double {
                #expect(try #require(made["bits_per_weight"] as? Double) <= limit)
            }
            let id = try #require(made["id"] as? String)
            let content = try service.curl("/v1/artifacts/\(id)/content").body
            #expect(content.count == made["bytes"] as? Int)
            #expect(try service.curl("/v1/artifacts/\(id)/report").json()["budget"] != nil)
            #expect(try service.post(Repository.example, query).status == 200)
        }
        #expect(improved > 0)
        #expect(service.filesOnDisk().staging.isEmpty)
    }

    @Test(arguments: [
        ("budget_bytes=1000", 422, "budget.too_small"), ("budget_bits_per_weight=2", 422, "budget.too_small"),
        ("budget_bytes=0", 400, "recipe.invalid_option"), ("budget_bytes=x", 400, "recipe.invalid_option"),
        ("budget_bytes=1&budget_bits_per_weight=1", 400, "recipe.invalid_option"),
        ("budget_bytes=1000000&format=bitsandbytes", 400, "budget.format"),
        ("budget_bytes=1000000&format=mlx,compressed-tensors", 400, "budget.format"),
        ("budget_bytes=1300000&min_sqnr_db=90", 422, "gate.min_sqnr_db"),
    ])
    func budgetsThatCannotBeAreProblems(_ query: String, _ status: Int, _ code: String) throws {
        let service = try LiveService()
        let answer = try service.post(Repository.example, query)
        #expect(answer.status == status)
        #expect(try answer.json()["code"] as? String == code)
        #expect(service.filesOnDisk().staging.isEmpty && service.filesOnDisk().artifacts.isEmpty)
    }

    @Test func theCommandMakesTheSameFile() throws {
        let service = try LiveService()
        let folder = try TemporaryFolder()
        let output = folder.url.appending(path: "mixed.safetensors")
        let made = try run(
            Repository.viva.path,
            ["quantize", Repository.example.path, "--budget-bits-per-weight", "5", "-o", output.path])
        #expect(made.status == 0 && made.text.contains("best uniform"))
        let answer = try service.post(Repository.example, "budget_bits_per_weight=5&download=1")
        #expect(try Data(contentsOf: output) == answer.body)
        let refused = try run(
            Repository.viva.path, ["quantize", Repository.example.path, "--budget-bytes", "10", "-o", output.path])
        #expect(refused.status != 0 && refused.errorText.contains("budget.too_small"))
    }
}
