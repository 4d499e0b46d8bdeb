import Catalogue
import Foundation
import Processes
import Testing

@testable import Jobs
@testable import VivaService

extension ChildPlan {
    /// The executable that was built with the tests, as a worker.
    static var builtWorker: ChildPlan {
        var plan = ChildPlan.worker
        // The tests run from the folder of the products.
        let executable = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        plan.path = executable.deletingLastPathComponent().appending(path: "viva").path
        return plan
    }

    /// A worker that does what a shell script does.
    static func script(_ text: String) -> ChildPlan {
        var plan = ChildPlan(arguments: ["sh", "-c", text])
        plan.path = "/bin/sh"
        return plan
    }
}

extension TestLife {
    /// Stores an input; answers its name.
    func store(_ bytes: [UInt8], query: String = "") throws -> String {
        let answer = try send("POST /v1/inputs\(query)", [], bytes)
        return try #require(answer.json["id"] as? String, "\(answer)")
    }

    func order(_ json: [String: Any], _ fields: [String] = []) throws -> TestAnswer {
        try send("POST /v1/jobs", fields, Array(try JSONSerialization.data(withJSONObject: json)))
    }

    /// Waits until a job is in a state; a test that waits in vain fails.
    @discardableResult
    func wait(_ id: String, until states: Set<String> = ["succeeded"]) throws -> [String: Any] {
        let deadline = Date(timeIntervalSinceNow: 20)
        while true {
            let job = try send("GET /v1/jobs/\(id)").json
            if let state = job["state"] as? String, states.contains(state) { return job }
            try #require(Date() < deadline, "\(job)")
            Thread.sleep(forTimeInterval: 0.01)
        }
    }
}

/// Jobs over real sockets, with the real worker.
@Suite struct JobRouteTests {
    private let folder = DataFolder()

    /// Input, its query, and the recipe.
    private enum Case: String, CaseIterable {
        case nf4, int8Raw, archive

        func input() throws -> ([UInt8], String) {
            switch self {
            case .nf4: (SampleInput.safetensors(300), "")
            case .int8Raw: (SampleInput.raw(64), "?dtype=float32&shape=64,64")
            case .archive: (Array(try Data(contentsOf: SampleInput.npz.appending(path: "mixed.npz"))), "")
            }
        }

        var recipe: [String: Any] {
            switch self {
            case .nf4: ["method": "nf4", "options": ["double_quant": true, "block_size": 64]]
            case .int8Raw: ["method": "int8"]
            case .archive: ["method": "int8", "options": ["format": "mlx"]]
            }
        }

        var query: String {
            switch self {
            case .nf4: "method=nf4&double_quant=true&block_size=64"
            case .int8Raw: "method=int8&dtype=float32&shape=64,64"
            case .archive: "method=int8&format=mlx"
            }
        }
    }

    /// Whether nothing is left of finished work, soon after its row says so.
    private func workIsRemoved() throws -> Bool {
        let deadline = Date(timeIntervalSinceNow: 10)
        while !folder.entries("work").isEmpty, Date() < deadline { Thread.sleep(forTimeInterval: 0.005) }
        return folder.entries("work").isEmpty
    }

    @Test(arguments: ["nf4", "int8Raw", "archive"])
    func aJobMakesWhatARequestMakes(_ name: String) throws {
        let life = try TestLife(folder.path, worker: .builtWorker)
        let example = try #require(Case(rawValue: name))
        let (bytes, query) = try example.input()
        let input = try life.store(bytes, query: query)
        let made = try life.order(["input": input].merging(example.recipe) { $1 })
        #expect(made.status == 202, "\(made)")
        let id = try #require(made.json["id"] as? String, "\(String(decoding: made.body, as: UTF8.self))")
        #expect(made.fields["location"] == "/v1/jobs/\(id)")
        let job = try life.wait(id, until: ["succeeded", "failed"])
        let artifact = try #require(job["artifact"] as? String, "\(job)")
        #expect(job["attempts"] as? Int == 1)
        let content = try life.send("GET /v1/artifacts/\(artifact)/content").body
        let report = try life.send("GET /v1/artifacts/\(artifact)/report").body
        #expect(try workIsRemoved())
        #expect(try life.send("DELETE /v1/artifacts/\(artifact)").status == 204)
        let direct = try life.send("POST /v1/quantize?\(example.query)", [], bytes)
        #expect(direct.status == 201)
        #expect(direct.json["id"] as? String == artifact)
        #expect(try life.send("GET /v1/artifacts/\(artifact)/content").body == content)
        #expect(try life.send("GET /v1/artifacts/\(artifact)/report").body == report)
        // What exists is not made again.
        let again = try life.order(["input": input].merging(example.recipe) { $1 })
        #expect(again.json["state"] as? String == "succeeded")
        #expect(again.json["attempts"] as? Int == 0)
    }

    /// What exists, or is on its way, without a gate says nothing of whether it would pass.
    @Test func gatesHoldWhereTheArtifactExists() throws {
        let life = try TestLife(folder.path, worker: .builtWorker)
        let input = try life.store(SampleInput.safetensors())
        func order(_ gate: [String: Any]) throws -> [String: Any] {
            let order: [String: Any] = ["input": input, "method": "nf4", "options": gate]
            let made = try life.order(order, ["Idempotency-Key: \"\(gate.isEmpty)\""])
            return try life.wait(try #require(made.json["id"] as? String), until: ["succeeded", "failed"])
        }
        let plain = try order([:])
        #expect(plain["state"] as? String == "succeeded")
        let gated = try order(["min_sqnr_db": 900])
        #expect(gated["state"] as? String == "failed")
        #expect((gated["problem"] as? [String: Any])?["code"] as? String == "gate.min_sqnr_db")
        let other: [String: Any] = ["input": input, "method": "nf4", "options": ["min_sqnr_db": 1]]
        #expect(try life.order(other, ["Idempotency-Key: \"false\""]).code == "idempotency.key_reused")
        let passed = try life.order(other)
        #expect(passed.json["id"] as? String != gated["id"] as? String)
        let job = try life.wait(try #require(passed.json["id"] as? String), until: ["succeeded", "failed"])
        #expect(job["state"] as? String == "succeeded")
    }

    @Test func theSameRequestIsOneJob() throws {
        // Nothing runs: what is recorded stays as it is.
        let life = try TestLife(folder.path)
        let input = try life.store(SampleInput.safetensors())
        let order: [String: Any] = ["input": input, "method": "nf4"]
        let first = try life.order(order, ["Idempotency-Key: \"one\""])
        let id = try #require(first.json["id"] as? String)
        for key in ["\"one\"", "one", "\"two\""] {
            #expect(try life.order(order, ["Idempotency-Key: \(key)"]).json["id"] as? String == id)
        }
        #expect(try life.order(order).json["id"] as? String == id)
        let other = try life.order(["input": input, "method": "int8"], ["Idempotency-Key: one"])
        #expect(other.status == 422)
        #expect(other.code == "idempotency.key_reused")
        for key in ["\"\"", "\"a", "\"a\"b\"", String(repeating: "k", count: 256)] {
            let answer = try life.order(order, ["Idempotency-Key: \(key)"])
            #expect(answer.status == 400)
            #expect(answer.code == "idempotency.invalid_key")
        }
        #expect(try life.send("GET /v1/jobs?state=queued").json.count == 2)
        // An input that is needed stays.
        #expect(try life.send("DELETE /v1/inputs/\(input)").code == "input.in_use")
        #expect(try life.send("DELETE /v1/jobs/\(id)").json["state"] as? String == "cancelled")
        #expect(try life.send("DELETE /v1/inputs/\(input)").status == 204)
        #expect(try life.send("DELETE /v1/jobs/\(id)").status == 204)
        #expect(try life.send("DELETE /v1/jobs/\(id)").code == "job.not_found")
        let gone = try life.order(order, ["Idempotency-Key: one"])
        #expect(gone.status == 410)
        #expect(gone.code == "job.removed")
    }

    @Test func whatCannotBeDoneIsRefusedBeforeItIsRecorded() throws {
        var limits = JobLimits()
        let life = try TestLife(folder.path, jobLimits: limits)
        let input = try life.store(SampleInput.safetensors())
        let none = "sha256:" + String(repeating: "0", count: 64)
        let refused: [([String: Any], Int, String)] = [
            (["input": none, "method": "nf4"], 404, "input.not_found"),
            (["input": "x", "method": "nf4"], 404, "input.not_found"),
            (["method": "nf4"], 400, "request.invalid_body"),
            (["input": input], 400, "request.invalid_body"),
            (["input": input, "method": "nf4", "more": 1], 400, "request.invalid_body"),
            (["input": input, "method": "nf4", "name": ""], 400, "request.invalid_body"),
            (["input": input, "method": "nf4", "options": [1]], 400, "request.invalid_body"),
            (["input": input, "method": "nf4", "options": ["method": "int8"]], 400, "request.invalid_body"),
            (["input": input, "method": "nf4", "options": ["include": [["a"]]]], 400, "request.invalid_body"),
            (["input": input, "method": "int3"], 400, "recipe.unknown_method"),
            (["input": input, "method": "nf4", "options": ["no": 1]], 400, "recipe.unknown_option"),
            (["input": input, "method": "nf4", "dtype": "float32"], 400, "request.invalid_option"),
            (["input": input, "method": "nf4", "calibration": none], 404, "input.not_found"),
            (["input": input, "method": "nf4", "options": ["budget_bytes": "1000"]], 422, "job.budget"),
            (["input": input, "method": "int4", "options": ["format": "mlx,awq"]], 422, "job.several_formats"),
            (["input": input, "method": "awq"], 422, "input.nothing_to_quantize"),
            (["input": input, "method": "nf4", "options": ["exclude": ["*"]]], 422, "input.nothing_to_quantize"),
        ]
        for (order, status, code) in refused {
            let answer = try life.order(order)
            #expect(answer.status == status, "\(order)")
            #expect(answer.code == code, "\(order)")
        }
        let broken = try life.send("POST /v1/jobs", [], Array("{\"input\": 1, \"input\": 2}".utf8))
        #expect(broken.code == "request.invalid_body")
        #expect(try life.send("GET /v1/jobs").body == Data("{\n  \"items\": [],\n  \"next\": null\n}\n".utf8))
        #expect(try life.send("GET /v1/jobs?state=gone").status == 400)
        limits.memoryBytes = 1 << 20
        let small = try TestLife(DataFolder().path, jobLimits: limits)
        let answer = try small.order(["input": try small.store(SampleInput.safetensors()), "method": "nf4"])
        #expect(answer.status == 413)
        #expect(answer.code == "limit.job_memory")
        #expect(answer.json["limit"] as? Int == 1 << 20)
    }

    @Test(arguments: ["kill -KILL $$", "exit 3", "printf 'xxxxxxxxxx' >&3"])
    func aWorkerThatAlwaysFailsIsBegunThreeTimes(_ script: String) throws {
        var limits = JobLimits()
        limits.retryDelays = [1, 1]
        let life = try TestLife(folder.path, jobLimits: limits, worker: .script(script))
        let made = try life.order(["input": try life.store(SampleInput.safetensors()), "method": "nf4"])
        let job = try life.wait(try #require(made.json["id"] as? String), until: ["failed"])
        #expect(job["attempts"] as? Int == 3)
        let problem = try #require(job["problem"] as? [String: Any])
        #expect(problem["code"] as? String == (script.hasPrefix("printf") ? "worker.failed" : "worker.crashed"))
        #expect((problem["trace_id"] as? String)?.count == 32)
        #expect(job["reserved_bytes"] as? Int == 0)
        #expect(try workIsRemoved())
        #expect(try life.send("GET /livez").status == 200)
    }

    /// A key that comes with a job in flight is one more row.
    @Test func aKeyIsNotRememberedOnAFullDisk() throws {
        let order: [String: Any]
        do {
            let life = try TestLife(folder.path)
            order = ["input": try life.store(SampleInput.safetensors()), "method": "nf4"]
            #expect(try life.order(order).status == 202)
        }
        let full = try TestLife(folder.path, freeBytesFloor: 1 << 60)
        let refused = try full.order(order, ["Idempotency-Key: \"one\""])
        #expect(refused.status == 507 && refused.json["code"] as? String == "storage.full")
        #expect(try full.order(order).status == 202)
    }

    @Test func nothingIsKeptOfAPostponedJobThatIsCancelled() throws {
        var limits = JobLimits()
        limits.retryDelays = [3_600_000]
        let life = try TestLife(folder.path, jobLimits: limits, worker: .script("exit 3"))
        let made = try life.order(["input": try life.store(SampleInput.safetensors()), "method": "nf4"])
        let id = try #require(made.json["id"] as? String)
        for _ in 0..<2_000 where life.jobs.runner.disturbed == 0 { Thread.sleep(forTimeInterval: 0.01) }
        #expect(life.jobs.runner.disturbed == 1)
        try life.wait(id, until: ["queued"])
        #expect(try life.send("DELETE /v1/jobs/\(id)").json["state"] as? String == "cancelled")
        #expect(life.jobs.runner.disturbed == 0)
    }

    @Test func aRunningJobIsCancelledAtOnce() throws {
        let life = try TestLife(folder.path, worker: .script("exec sleep 100"))
        let made = try life.order(["input": try life.store(SampleInput.safetensors()), "method": "nf4"])
        let id = try #require(made.json["id"] as? String)
        try life.wait(id, until: ["running"])
        #expect(try life.send("DELETE /v1/jobs/\(id)").status == 202)
        let job = try life.wait(id, until: ["cancelled"])
        #expect(job["artifact"] is NSNull)
        #expect(try workIsRemoved())
    }

    @Test func aJobOutlivesItsServer() throws {
        let id: String
        do {
            let life = try TestLife(folder.path, worker: .script("exec cat <&3 >/dev/null"))
            let made = try life.order(["input": try life.store(SampleInput.safetensors()), "method": "nf4"])
            id = try #require(made.json["id"] as? String)
            try life.wait(id, until: ["running"])
            life.jobs.stop()
            let job = try life.send("GET /v1/jobs/\(id)").json
            #expect(job["state"] as? String == "queued")
            #expect(job["attempts"] as? Int == 0)
        }
        let life = try TestLife(folder.path, worker: .builtWorker)
        #expect(try life.wait(id)["attempts"] as? Int == 1)
        #expect(try workIsRemoved())
    }

    @Test func eventsTellAllAndCanBeTakenUpAgain() throws {
        let life = try TestLife(folder.path, worker: .builtWorker)
        let made = try life.order(["input": try life.store(SampleInput.safetensors(2_000)), "method": "nf4"])
        let id = try #require(made.json["id"] as? String)
        let lines = try life.events(id, ["Accept: application/x-ndjson"]).split(separator: "\n")
        let events = try lines.filter { !$0.isEmpty }.map {
            try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
        #expect(events.first?["event"] as? String == "state")
        let last = try #require(events.last?["data"] as? [String: Any])
        #expect(last["state"] as? String == "succeeded")
        let all = try life.events(id, ["Last-Event-ID: \(try #require(events.first?["id"] as? String))"])
        #expect(all.contains("event: progress\ndata: {\"bytes\": "))
        #expect(all.contains("\"state\": \"succeeded\""))
        let end = try #require(events.last?["id"] as? String)
        #expect(try life.events(id, ["Last-Event-ID: \(end)"]).isEmpty)
        // From another life of the server: the client learns how the job stands.
        #expect(try life.events(id, ["Last-Event-ID: old-7"]).contains("\"state\": \"succeeded\""))
        let page = try life.send("GET /v1/jobs/\(id)/events", ["Accept: text/html"])
        #expect(page.status == 406 && page.code == "request.not_acceptable")
        #expect(try life.send("GET /v1/jobs/none/events").status == 404)
    }

    @Test func whoPrefersNotToWaitGetsAJob() throws {
        let life = try TestLife(folder.path, worker: .builtWorker)
        let bytes = SampleInput.safetensors()
        let answer = try life.send("PUT /v1/quantize?method=nf4&name=later", ["Prefer: respond-async, wait=10"], bytes)
        #expect(answer.status == 202)
        #expect(answer.fields["preference-applied"] == "respond-async")
        let id = try #require(answer.json["id"] as? String)
        #expect(answer.fields["location"] == "/v1/jobs/\(id)")
        #expect(try life.wait(id)["name"] as? String == "later")
        // What a job cannot do leaves no input behind.
        let refused = try life.send(
            "POST /v1/quantize?method=awq", ["Prefer: respond-async"], SampleInput.safetensors(seed: 2))
        #expect(refused.status == 422)
        #expect(folder.entries("inputs").count == 1)
    }

    /// A refused job takes its input away again only where no other request was told that it is there.
    @Test(arguments: [false, true]) func whatAnotherWasToldIsThereStays(isUsed: Bool) throws {
        let life = try TestLife(folder.path)
        let bytes = SampleInput.safetensors()
        let name = try life.store(bytes)
        let record = try #require(try life.facilities.catalogue.input(name, owner: "local"))
        if isUsed { #expect(try life.send("PUT /v1/inputs/\(name)", [], bytes).status == 200) }
        try InputHandlers(facilities: life.facilities).discard(record)
        #expect(try life.send("GET /v1/inputs/\(name)").status == (isUsed ? 200 : 404))
        #expect(folder.entries("inputs").count == (isUsed ? 1 : 0))
    }
}

extension TestLife {
    /// The events of a job until its end, without the framing of the answer.
    func events(_ id: String, _ fields: [String]) throws -> String {
        let answer = try send("GET /v1/jobs/\(id)/events", fields)
        #expect(answer.status == 200)
        // Chunks (RFC 9112 section 7.1): a length in hexadecimal, the bytes, an empty line.
        var rest = Substring(String(decoding: answer.body, as: UTF8.self))
        var text = ""
        while let end = rest.range(of: "\r\n"), let count = Int(rest[..<end.lowerBound], radix: 16), count > 0 {
            let bytes = rest[end.upperBound...].utf8.prefix(count)
            text += String(decoding: bytes, as: UTF8.self)
            rest = rest[bytes.endIndex...].dropFirst()
        }
        return text
    }
}
