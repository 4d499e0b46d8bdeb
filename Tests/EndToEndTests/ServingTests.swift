import Foundation
import Testing

/// What surrounds the main job: TLS, health, metrics, the contract, the command line.
@Suite struct ServingTests {
    @Test func tlsUploadAndDownload() throws {
        let folder = try TemporaryFolder()
        let (certificate, key) = (folder.url.appending(path: "cert.pem"), folder.url.appending(path: "key.pem"))
        let made = try run(
            "/usr/bin/openssl",
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", "/CN=localhost", "-keyout", key.path, "-out", certificate.path,
            ])
        #expect(made.status == 0)
        let service = try LiveService(arguments: ["--tls-cert", certificate.path, "--tls-key", key.path])
        let answer = try service.curl(
            "/v1/quantize?method=nf4", ["-X", "POST", "-T", Repository.example.path], scheme: "https")
        #expect(answer.status == 201)
        let artifact = try answer.json()
        let id = try #require(artifact["id"] as? String)
        let content = try service.curl("/v1/artifacts/\(id)/content", scheme: "https")
        #expect(try "sha256:\(sha256(content.body))" == artifact["digest"] as? String)
        let restored = try service.curl("/v1/artifacts/\(id)/dequantized", scheme: "https")
        #expect(restored.curlStatus == 0)
        #expect(restored.field("Content-Length") == "\(restored.body.count)")
    }

    @Test func healthMetricsAndPlan() throws {
        let service = try LiveService()
        for path in [
            "/livez", "/readyz", "/healthz", "/v1/methods", "/v1/metrics", "/v1/plan?parameters=13B&gpu=rtx-4090",
        ] {
            #expect(try service.curl(path).status == 200, "\(path)")
            _ = try service.curl(path).json()
        }
        _ = try service.post(Repository.example, "method=nf4")
        #expect(try service.curl("/livez", ["--http1.0"]).status == 200)
        let text = String(decoding: try service.curl("/metrics").body, as: UTF8.self)
        #expect(text.contains("viva_quantized_inputs_total{method=\"nf4\"} 1"))
        for version in ["1.0", "1.1"] {
            #expect(
                text.contains(
                    #"http_server_request_duration_seconds_count{http_request_method="GET",http_route="/livez","#
                        + #"http_response_status_code="200",url_scheme="http",network_protocol_version="\#(version)","#
                        + #"error_type=""} "#))
        }
        #expect(text.contains("viva_artifacts 1"))
        let open = try service.curl("/metrics", ["-H", "Accept: application/openmetrics-text"])
        #expect(String(decoding: open.body, as: UTF8.self).hasSuffix("# EOF\n"))
        let plan = try service.curl("/v1/plan?parameters=13B&gpu=rtx-4090").json()
        let methods = try #require(plan["methods"] as? [[String: Any]])
        let fits = Dictionary(
            uniqueKeysWithValues: methods.map { ($0["method"] as? String ?? "", $0["fits"] as? [String] ?? []) })
        #expect(fits["fp16"] == [])
        #expect(fits["nf4"] == ["rtx-4090"])
    }

    @Test func jsonAnswersAreGzippedForWhoAsks() throws {
        let service = try LiveService()
        let plain = try service.curl("/openapi.yaml")
        let packed = try service.curl("/openapi.yaml", ["--compressed"])
        #expect(packed.field("Content-Encoding") == "gzip")
        #expect(packed.field("Vary")?.contains("Accept-Encoding") == true)
        #expect(packed.body == plain.body)
        #expect(plain.body == (try Data(contentsOf: Repository.root.appending(path: "openapi.yaml"))))
    }

    /// The answer that the README shows, and the example of the contract, are what the service says today.
    @Test func theAnswerInTheReadmeIsGiven() throws {
        let readme = try String(contentsOf: Repository.root.appending(path: "README.md"), encoding: .utf8)
        let block = try #require(readme.components(separatedBy: "```json\n").dropFirst().first)
        let shown = try #require(block.components(separatedBy: "```").first)
        let expected = try #require(try JSONSerialization.jsonObject(with: Data(shown.utf8)) as? [String: Any])
        let answer = try LiveService().post(Repository.example, "method=nf4").json()
        #expect(expected.count == 8)
        for (name, value) in expected where name != "summary" {
            #expect(answer[name] as? NSObject == value as? NSObject, "\(name)")
        }
        let (summary, told) = (answer["summary"] as? [String: Any], expected["summary"] as? [String: Any])
        for (name, value) in try #require(told) {
            #expect(summary?[name] as? NSObject == value as? NSObject, "\(name)")
        }
        let contract = try String(contentsOf: Repository.root.appending(path: "openapi.yaml"), encoding: .utf8)
        for name in ["id", "digest", "engine_version"] {
            let text = try #require(answer[name] as? String)
            #expect(contract.contains("\n        \(name): \(text)\n"), "\(name)")
        }
    }

    @Test func theScoreboardInTheReadmeIsMeasured() throws {
        let root = Repository.root
        let outcome = try run(
            root.appending(path: "scripts/with-server.sh").path,
            [
                "python3", root.appending(path: "scripts/scoreboard.py").path, "--check",
                root.appending(path: "README.md").path,
            ])
        #expect(outcome.status == 0, "\(outcome.text)\(outcome.errorText)")
    }

    @Test func theCommandLineTeachesAndRefuses() throws {
        let viva = Repository.viva.path
        #expect(try run(viva, ["--help"]).text.contains("viva serve"))
        #expect(try run(viva, ["version"]).text.hasPrefix("viva-tensor "))
        #expect(try run(viva, ["plan", "13B", "--gpu", "rtx-4090"]).text.contains("rtx-4090"))
        #expect(try run(viva, ["plan", "13B", "--gpu", "abacus"]).status != 0)
        let open = try run(viva, ["serve", "--listen", "0.0.0.0:0"])
        #expect(open.status != 0)
        #expect(open.errorText.contains("--auth none"))
        // A variable that is no number is no silent default.
        let typed = try run("/usr/bin/env", ["VIVA_JOB_WORKERS=many", viva, "serve", "--listen", "127.0.0.1:0"])
        #expect(typed.status != 0)
        #expect(typed.errorText.contains("VIVA_JOB_WORKERS"))
        let folder = try TemporaryFolder()
        let output = folder.url.appending(path: "out.safetensors")
        let bad = try folder.file("bad", Data("nonsense that is no tensor file".utf8))
        #expect(try run(viva, ["quantize", bad.path, "--method", "nf4", "-o", output.path]).status != 0)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == ["bad"])
        let service = try LiveService()
        #expect(try run(viva, ["healthcheck", "--listen", "127.0.0.1:\(service.port)"]).status == 0)
        service.kill()
        #expect(try run(viva, ["healthcheck", "--listen", "127.0.0.1:\(service.port)"]).status != 0)
    }
}
