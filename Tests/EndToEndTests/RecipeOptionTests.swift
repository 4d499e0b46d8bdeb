import Foundation
import Testing

/// Several formats, overrides and gates, as curl sends them.
@Suite struct RecipeOptionTests {
    @Test func severalFormatsInOnePass() throws {
        let service = try LiveService()
        let made = try service.post(Repository.example, "method=int8&format=bitsandbytes,compressed-tensors,mlx")
        #expect(made.status == 201, "\(made.head)")
        let items = try #require(try made.json()["items"] as? [[String: Any]])
        #expect(items.map { $0["format"] as? String } == ["bitsandbytes", "compressed-tensors", "mlx"])
        for item in items {
            let id = try #require(item["id"] as? String)
            let content = try service.curl("/v1/artifacts/\(id)/content")
            #expect(item["digest"] as? String == "sha256:\(try sha256(content.body))")
            let format = try #require(item["format"] as? String)
            let alone = try service.post(Repository.example, "method=int8&format=\(format)")
            #expect(alone.status == 200, "the same artifact as from a request of its own")
            #expect(try alone.json()["id"] as? String == id)
        }
        #expect(try service.post(Repository.example, "method=int8&format=mlx,bitsandbytes").status == 200)
        #expect(try service.post(Repository.example, "method=int8&format=mlx,mlx").status == 400)
        #expect(try service.post(Repository.example, "method=int8&format=mlx,bitsandbytes&download=1").status == 400)
        #expect(service.filesOnDisk().artifacts.count == 3)
        #expect(service.filesOnDisk().staging.isEmpty)
    }

    @Test func overridesAndGates() throws {
        let service = try LiveService()
        let overrides = ##"overrides=[{"match":"*attention*","method":"int8","group_size":128}]"##
        let made = try service.curl(
            "/v1/quantize?method=int4", ["-X", "POST", "-T", Repository.example.path, "--url-query", overrides])
        #expect(made.status == 201, "\(String(decoding: made.body, as: UTF8.self))")
        let config = try #require(try made.json()["quantization_config"] as? [String: Any])
        let groups = try #require(config["config_groups"] as? [String: Any])
        #expect(groups.count == 2)
        let id = try #require(try made.json()["id"] as? String)
        let options = try #require(try made.json()["options"] as? [String: Any])
        let said = try #require(options["overrides"] as? [[String: Any]])
        #expect(said.map { $0["match"] as? String } == ["*attention*"])
        #expect((said[0]["recipe"] as? [String: Any])?["method"] as? String == "int8")
        let page = try service.curl("/v1/artifacts/\(id)/report", ["-H", "Accept: text/html"])
        #expect(String(decoding: page.body, as: UTF8.self).contains("match:*attention*"))
        let report = try service.curl("/v1/artifacts/\(id)/report").json()
        let tensors = try #require(report["tensors"] as? [[String: Any]])
        for tensor in tensors where tensor["quantized"] as? Bool == true {
            let isAttention = try #require(tensor["name"] as? String).contains("attention")
            #expect(tensor["method"] as? String == (isAttention ? "int8" : nil))
            #expect((tensor["sqnr_db"] as? Double ?? 0) > (isAttention ? 38 : 15))
        }

        let gated = try service.post(Repository.example, "method=nf4&min_sqnr_db=30")
        #expect(gated.status == 422)
        let problem = try gated.json()
        #expect(problem["code"] as? String == "gate.min_sqnr_db")
        #expect((problem["tensor"] as? String)?.hasSuffix("weight") == true)
        #expect((problem["value"] as? Double ?? 0) > 15)
        #expect(service.filesOnDisk().artifacts == [id])
        #expect(service.filesOnDisk().staging.isEmpty)
        #expect(try service.post(Repository.example, "method=nf4&min_sqnr_db=15").status == 201)
    }
}
