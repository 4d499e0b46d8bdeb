import Compression
import Foundation
import HTTPServer
import HTTPTypes
import Quantization
import Tensors
import Testing

@testable import VivaService

/// What the contract says of all routes, or of the small things of single ones.
@Suite struct ContractDetailTests {
    private let folder = DataFolder()

    /// Every route but those below an upload, which ask for the version of tus first.
    @Test func unknownNamesInAQueryAreRefusedOnEveryRoute() throws {
        let life = try TestLife(folder.path)
        let routes = life.facilities.routes.routes.filter { $0.template != "/v1/uploads/{id}" || $0.method == .get }
        for route in routes {
            let target = "\(route.template.replacing("{id}", with: "none"))?nonsense=1"
            let answer = try life.send("\(route.method.rawValue) \(target)", ["Tus-Resumable: 1.0.0"])
            #expect(answer.status == 400, "\(route.method) \(target)")
            #expect(answer.fields["content-type"] == "application/problem+json", "\(route.method) \(target)")
        }
        // As probes of Kubernetes ask.
        for path in ["/livez", "/readyz", "/healthz"] { #expect(try life.send("GET \(path)?verbose").status == 200) }
    }

    /// The field as Prometheus 2 and 3 send it, and plainer ones.
    @Test(arguments: [
        (
            """
            application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2
            """, true
        ),
        (
            """
            application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2
            """, true
        ),
        ("application/openmetrics-text", true), ("application/openmetrics-text; version=0.0.1, */*;q=0.1", false),
        ("text/plain;version=0.0.4", false), ("*/*", false), ("application/json", false),
    ])
    func metricsAreOpenMetricsForWhoAsks(_ accept: String, _ isOpen: Bool) throws {
        let life = try TestLife(folder.path)
        let answer = try life.send("GET /metrics", ["Accept: \(accept)"])
        let type = try #require(answer.fields["content-type"])
        #expect(
            type == (isOpen ? "application/openmetrics-text; version=1.0.0" : "text/plain; version=0.0.4")
                + "; charset=utf-8")
        #expect(answer.fields["vary"]?.split(separator: ", ").contains("Accept") == true)
        #expect(String(decoding: answer.body, as: UTF8.self).hasSuffix("# EOF\n") == isOpen)
    }

    @Test func artifactsAreListedByKnownMethodsAndNamesAlone() throws {
        let life = try TestLife(folder.path)
        let long = String(repeating: "n", count: 201)
        for query in ["method=nf5", "method=", "name=", "name=\(long)"] {
            #expect(try life.send("GET /v1/artifacts?\(query)").code == "request.invalid_option", "\(query)")
        }
        #expect(try life.send("GET /v1/artifacts?method=nf4&name=x").status == 200)
    }

    /// OpenTelemetry's `http.server.active_requests` has a series for each method and scheme.
    @Test func requestsInWorkAreCountedByMethodAndScheme() throws {
        let life = try TestLife(folder.path)
        func active(_ method: String) throws -> String? {
            let text = String(decoding: try life.send("GET /metrics").body, as: UTF8.self)
            let series = "http_server_active_requests{http_request_method=\"\(method)\",url_scheme=\"http\"} "
            return text.split(separator: "\n").first { $0.hasPrefix(series) }.map { String($0.dropFirst(series.count)) }
        }
        #expect(try active("GET") == "1")
        #expect(try active("PUT") == nil)
        let upload = try TestConnection(life.port)
        try upload.write("PUT /v1/inputs", ["Content-Length: 100"], [1])
        while try active("PUT") != "1" { usleep(1000) }
        #expect(try active("GET") == "1")
        #expect(try life.send("BREW /").status == 501)
        #expect(try life.send("bad request").status == 400)
        #expect(try active("_OTHER") == "0")
        upload.finishWriting()
        _ = try upload.answer()
        #expect(try active("PUT") == "0")
    }

    @Test func requestsInWorkAreCountedByManyThreads() async {
        let active = ActiveRequests()
        active.begin(.trace, isSecure: false)
        await withTaskGroup(of: Void.self) { group in
            for isSecure in [true, false] {
                group.addTask {
                    for _ in 0..<20_000 {
                        active.begin(.get, isSecure: isSecure)
                        active.end(.get, isSecure: isSecure)
                    }
                    active.begin(nil, isSecure: isSecure)
                }
            }
            for _ in 0..<100 { #expect(active.series.allSatisfy { $0.1 >= 0 }) }
        }
        let series = active.series.map { $0.0.joined(separator: " ") + " \(Int($0.1))" }
        #expect(series == ["GET http 0", "GET https 0", "TRACE http 1", "_OTHER http 1", "_OTHER https 1"])
    }

    @Test func everyLinkOfAnArtifactLeadsSomewhere() throws {
        let life = try TestLife(folder.path)
        let made = try life.send("POST /v1/quantize?method=nf4", [], SampleInput.safetensors())
        #expect(made.status == 201)
        let links = try #require(made.json["links"] as? [String: String])
        #expect(Set(links.keys) == ["self", "content", "report", "config", "dequantized"])
        for (name, path) in links { #expect(try life.send("GET \(path)").status == 200, "\(name)") }
    }

    /// RFC 9110 section 13.1.1: a method is not performed where its condition does not hold.
    @Test func onlyTheBytesThatAreMeantAreRemoved() throws {
        let life = try TestLife(folder.path)
        let made = try life.send("POST /v1/quantize?method=nf4", [], SampleInput.safetensors()).json
        let id = try #require(made["id"] as? String)
        let tag = try #require(try life.send("HEAD /v1/artifacts/\(id)/content").fields["etag"])
        for field in ["If-Match: \"sha256-0\"", "If-Match: W/\(tag)", "If-None-Match: \(tag)"] {
            let refused = try life.send("DELETE /v1/artifacts/\(id)", [field])
            #expect(refused.status == 412 && refused.code == "precondition.failed", "\(field)")
            #expect(try life.send("GET /v1/artifacts/\(id)").status == 200)
        }
        #expect(try life.send("DELETE /v1/artifacts/\(id)", ["If-Match: \(tag)"]).status == 204)
        #expect(try life.send("GET /v1/artifacts/\(id)").code == "artifact.not_found")
    }

    /// A long report is sent from the disk, the same bytes, and not held for each of its readers.
    @Test func aLongReportIsTheStoredOne() throws {
        let life = try TestLife(folder.path)
        let entries = (0..<1_500).map {
            TensorEntry(
                name: "t\($0).weight", type: .f32, shape: [1, 64], elementCount: 64, bytes: 256 * $0..<256 * $0 + 256)
        }
        let json = SafetensorsHeader.serialize(entries: entries, metadata: [])
        let data = (0..<1_500).flatMap { _ in SampleInput.raw(1) }
        let made = try life.send(
            "POST /v1/quantize?method=int8", [], SafetensorsHeader.file(prefixing: json, paddedTo: json.count) + data)
        let id = try #require(made.json["id"] as? String)
        let stored = try Data(contentsOf: URL(filePath: "\(folder.path)/artifacts/\(id)/report.json"))
        #expect(stored.count > ArtifactHandlers.heldReportBytes)
        let report = try life.send("GET /v1/artifacts/\(id)/report", ["Accept-Encoding: gzip"])
        #expect(report.body == stored)
        #expect(report.fields["content-type"] == "application/json" && report.fields["vary"] == "Accept")
        let head = try life.send("HEAD /v1/artifacts/\(id)/report")
        #expect(head.fields["content-length"] == "\(stored.count)" && head.body.isEmpty)
        #expect(try life.send("GET /v1/artifacts/\(id)/report", ["Accept: text/html"]).status == 200)
    }

    /// A page is made of many times its report in memory: where others hold that, it waits.
    @Test func aPageOfALongReportCountsItsMemory() throws {
        let life = try TestLife(folder.path)
        let many = (0..<4_000).map {
            TensorEntry(name: "t\($0)", type: .f32, shape: [0], elementCount: 0, bytes: 256..<256)
        }
        let weight = TensorEntry(name: "a.weight", type: .f32, shape: [1, 64], elementCount: 64, bytes: 0..<256)
        let json = SafetensorsHeader.serialize(entries: [weight] + many, metadata: [])
        let made = try life.send(
            "POST /v1/quantize?method=int8", [],
            SafetensorsHeader.file(prefixing: json, paddedTo: json.count) + SampleInput.raw(1))
        let path = "/v1/artifacts/\(try #require(made.json["id"] as? String))/report"
        let budget = life.facilities.memory
        var held: MemoryShare? = MemoryShare(budget)
        try held?.add(budget.bytes - (1 << 20))
        let refused = try life.send("GET \(path)", ["Accept: text/html"])
        #expect(refused.status == 503 && refused.code == "server.memory" && refused.fields["retry-after"] != nil)
        #expect(try life.send("GET \(path)").status == 200)
        held = nil
        #expect(try life.send("GET \(path)", ["Accept: text/html"]).status == 200)
        #expect(budget.takenBytes == 0)
    }

    /// The order of a job is bounded as it is read, not only as it is sent.
    @Test func anOrderIsBoundedWhenItIsInflated() throws {
        let life = try TestLife(folder.path)
        let long = Array("{\"input\": \"\(String(repeating: "x", count: JobHandlers.maximumBodyBytes))\"}".utf8)
        #expect(try life.send("POST /v1/jobs", [], long).code == "body.too_large")
        let coded = try gzip(unsafe long.span.bytes)
        #expect(coded.count < JobHandlers.maximumBodyBytes)
        let answer = try life.send("POST /v1/jobs", ["Content-Encoding: gzip"], coded)
        #expect(answer.status == 413 && ["limit.body_bytes", "body.inflate_ratio"].contains(answer.code))
    }

    /// `curl -T` sends PUT.
    @Test func anInputMayBePut() throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.safetensors()
        let made = try life.send("PUT /v1/inputs", [], bytes)
        #expect(made.status == 201)
        #expect(made.json["id"] as? String == "sha256:\(try SampleInput.sha256(bytes))")
        #expect(try life.send("POST /v1/inputs", [], bytes).status == 200)
    }

    @Test func anEmptyBodyIsCalledEmpty() throws {
        let life = try TestLife(folder.path)
        let answer = try life.send("POST /v1/quantize?method=nf4")
        #expect(answer.code == "input.truncated")
        #expect(answer.json["detail"] as? String == "The input is empty.")
    }

    /// Overrides are JSON within a query, and themselves in the JSON of a job: the same recipe, hence the same job.
    @Test func overridesOfAJobAreJSONToo() throws {
        let life = try TestLife(folder.path)
        let input = try life.store(SampleInput.safetensors())
        let overrides: [[String: Any]] = [
            ["match": "*.\"\\odd\u{1}", "method": "none"], ["match": "*", "block_size": 128],
        ]
        let text = #"[{"match":"*.\"\\odd\u0001","method":"none"},{"match":"*","block_size":128}]"#
        var ids: Set<String> = []
        for value in [overrides as Any, text as Any] {
            let answer = try life.order(["input": input, "method": "nf4", "options": ["overrides": value]])
            #expect(answer.status == 202, "\(String(decoding: answer.body, as: UTF8.self))")
            ids.insert(try #require(answer.json["id"] as? String))
        }
        #expect(ids.count == 1)
        let wrong = try life.order(["input": input, "method": "nf4", "options": ["overrides": [1]]])
        #expect(wrong.code == "recipe.invalid_override")
    }

    /// A page of `evil.example` may have its own name for 127.0.0.1, and would read what it is answered.
    @Test func aReboundNameReadsNothing() throws {
        let life = try TestLife(folder.path, authentication: .auto)
        for (line, isOpen) in [
            ("GET /v1/artifacts", false), ("HEAD /v1/inputs", false), ("GET /v1/requests", false),
            ("DELETE /v1/artifacts/x", false), ("GET /livez", true), ("GET /v1/methods", true), ("GET /metrics", true),
        ] {
            let connection = try TestConnection(life.port)
            try connection.write(
                Array("\(line) HTTP/1.1\r\nHost: evil.example:\(life.port)\r\nConnection: close\r\n\r\n".utf8))
            let answer = try connection.answer()
            #expect(isOpen ? answer.status == 200 : answer.status == 403, "\(line)")
            if !isOpen, !line.hasPrefix("HEAD") { #expect(answer.code == "host.not_loopback", "\(line)") }
        }
        #expect(try life.send("GET /v1/artifacts").status == 200)
    }
}
