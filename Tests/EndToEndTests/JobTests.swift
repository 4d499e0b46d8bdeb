import Foundation
import Glibc
import Synchronization
import Testing

/// Jobs of the real service, whose workers are killed.
@Suite(.serialized) struct JobTests {
    private let folder: TemporaryFolder
    private let data: URL

    init() throws {
        folder = try TemporaryFolder()
        data = folder.url.appending(path: "data")
    }

    /// A worker process and the job that it works on.
    private struct Worker: Hashable {
        let process: pid_t
        let job: String
    }

    /// The workers of this test's service, by the content that they have open.
    private func workers() -> [Worker] {
        let processes = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return processes.compactMap { entry in
            guard let process = pid_t(entry),
                let command = try? String(contentsOfFile: "/proc/\(entry)/cmdline", encoding: .utf8),
                command == "viva\0worker\0",
                let content = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(entry)/fd/5"),
                content.hasPrefix("\(data.path)/work/")
            else { return nil }
            return Worker(process: process, job: content.split(separator: "/").dropLast().last.map(String.init) ?? "")
        }
    }

    /// Waits until `find` finds something; a test that waits in vain fails.
    private func wait<Found>(_ find: () throws -> Found?) throws -> Found {
        let deadline = Date(timeIntervalSinceNow: 60)
        while true {
            if let found = try find() { return found }
            try #require(Date() < deadline)
            Thread.sleep(forTimeInterval: 0.003)
        }
    }

    private func job(_ id: String, _ service: LiveService) throws -> [String: Any] {
        try service.curl("/v1/jobs/\(id)").json()
    }

    private func finished(_ id: String, _ service: LiveService) throws -> [String: Any] {
        try wait {
            let job = try job(id, service)
            return ["queued", "running"].contains(job["state"] as? String) ? nil : job
        }
    }

    private func order(_ input: String, _ method: String, _ service: LiveService) throws -> String {
        let body = "{\"input\": \"\(input)\", \"method\": \"\(method)\"}"
        let answer = try service.curl("/v1/jobs", ["-d", body])
        #expect(answer.status == 202)
        return try #require(try answer.json()["id"] as? String)
    }

    private func store(_ file: URL, _ service: LiveService) throws -> String {
        let answer = try service.curl("/v1/inputs", ["-X", "POST", "-T", file.path])
        return try #require(try answer.json()["id"] as? String)
    }

    /// So many equal weights of 1024 times 1024; `mark` is the first value of each.
    private func file(_ name: String, weights: Int, mark: Float = 0) throws -> URL {
        var values = Inputs.gaussian(1024 * 16, seed: 1)
        values[0] = mark
        let block = Inputs.bytes(values)
        let count = 64 * weights
        let entries = (0..<weights).map { index in
            let end = (index + 1) << 22
            let place = "\"shape\":[1024,1024],\"data_offsets\":[\(index << 22),\(end)]"
            return "\"l.\(index).weight\":{\"dtype\":\"F32\",\(place)}"
        }
        var data = Data(capacity: count * block.count)
        for _ in 0..<count { data += block }
        return try folder.file(name, Inputs.safetensors(header: "{\(entries.joined(separator: ","))}", data: data))
    }

    @Test func killedWorkersHurtNobodyElse() throws {
        let service = try LiveService(data: data)
        let inputs = try (1...5).map { try store(try file("\($0)", weights: 15, mark: Float($0)), service) }
        let failures = Mutex(0)
        let requests = Mutex(0)
        let isOver = Mutex(false)
        let base = service.url("")
        let load = Foundation.Thread {
            let asked = [["/livez"], ["/v1/jobs"], ["/v1/quantize?method=nf4", "-T", Repository.example.path]]
            while !isOver.withLock({ $0 }) {
                for arguments in asked {
                    let fixed = ["-sS", "--max-time", "60", "-o", "/dev/null", "-w", "%{http_code}"]
                    let status = try? run("/usr/bin/curl", fixed + arguments.dropFirst() + [base + arguments[0]]).text
                    requests.withLock { $0 += 1 }
                    if status != "200", status != "201" { failures.withLock { $0 += 1 } }
                }
            }
        }
        load.start()
        let killed = Mutex<[String: Int]>([:])
        let killer = Foundation.Thread {
            while !isOver.withLock({ $0 }) {
                // Twice each: a third time would be the job's end.
                for worker in workers() where killed.withLock({ $0[worker.job, default: 0] }) < 2 {
                    if kill(worker.process, SIGKILL) == 0 { killed.withLock { $0[worker.job, default: 0] += 1 } }
                }
                Foundation.Thread.sleep(forTimeInterval: 0.005)
            }
        }
        killer.start()
        let jobs = try inputs.map { try order($0, "int4", service) }
        for id in jobs { #expect(try finished(id, service)["state"] as? String == "succeeded") }
        isOver.withLock { $0 = true }
        #expect(failures.withLock { $0 } == 0)
        #expect(requests.withLock { $0 } > 0)
        let kills = killed.withLock { $0 }
        #expect(kills.values.reduce(0, +) > 0)
        for id in jobs {
            // A worker that was killed behind its last word has done its work.
            let attempts = try #require(try job(id, service)["attempts"] as? Int)
            #expect((1...kills[id, default: 0] + 1).contains(attempts))
        }
        #expect(service.filesOnDisk().staging.isEmpty)
    }

    /// A decoder layer of Llama, 1024 wide, and in another file 600 tokens of the inputs of its Linears.
    private func decoder() throws -> (weights: URL, calibration: URL) {
        let linears =
            ["q", "k", "v", "o"].map { "self_attn.\($0)_proj" } + ["gate", "up", "down"].map { "mlp.\($0)_proj" }
        func file(_ name: String, _ parts: [(name: String, rows: Int?)]) throws -> URL {
            let block = Inputs.bytes(Inputs.gaussian(1024 * 8, seed: 3))
            var (entries, data): ([String], Data) = ([], Data())
            for part in parts {
                let start = data.count
                for row in stride(from: 0, to: part.rows ?? 1, by: 8) {
                    data += part.rows == nil ? block.prefix(4096) : block.prefix(4096 * min(8, (part.rows ?? 1) - row))
                }
                let shape = part.rows.map { "[\($0),1024]" } ?? "[1024]"
                let place = "\"shape\":\(shape),\"data_offsets\":[\(start),\(data.count)]"
                entries.append("\"model.layers.0.\(part.name)\":{\"dtype\":\"F32\",\(place)}")
            }
            return try folder.file(name, Inputs.safetensors(header: "{\(entries.joined(separator: ","))}", data: data))
        }
        let norms = ["input_layernorm", "post_attention_layernorm"].map { (name: $0 + ".weight", rows: Int?.none) }
        return (
            try file("weights", norms + linears.map { (name: $0 + ".weight", rows: 1024) }),
            try file("calibration", linears.map { (name: $0 + ".activations", rows: 600) })
        )
    }

    /// Scales are searched and folded, and layers coded, by workers two of which are killed, within the memory that
    /// was planned: the artifact is that of a worker that lives.
    @Test func killedWorkersDoNotShowInCalibratedLayers() throws {
        let service = try LiveService(data: data)
        let files = try decoder()
        let (input, calibration) = (try store(files.weights, service), try store(files.calibration, service))
        let body = """
            {"input": "\(input)", "calibration": "\(calibration)", "method": "awq", "options": {"model_type": "llama"}}
            """
        func made(killing kills: Int) throws -> (digest: String, attempts: Int) {
            let id = try #require(try service.curl("/v1/jobs", ["-d", body]).json()["id"] as? String)
            let planned = try #require(try job(id, service)["memory_bytes"] as? Int)
            var (killed, peak): (Set<Worker>, Int) = ([], 0)
            let ended = try wait { () -> [String: Any]? in
                for worker in workers() {
                    let status = (try? String(contentsOfFile: "/proc/\(worker.process)/status", encoding: .utf8)) ?? ""
                    let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM") }
                    peak = max(peak, line.flatMap { Int($0.filter(\.isNumber)) } ?? 0)
                    guard killed.count < kills, !killed.contains(worker) else { continue }
                    // Far enough to search, not to be done.
                    Thread.sleep(forTimeInterval: 1.2 * Double(killed.count + 1))
                    if kill(worker.process, SIGKILL) == 0 { killed.insert(worker) }
                }
                let job = try job(id, service)
                return ["queued", "running"].contains(job["state"] as? String) ? nil : job
            }
            #expect(peak << 10 < planned, "\(peak) KiB of \(planned) bytes")
            let artifact = try #require(ended["artifact"] as? String, "\(ended)")
            let digest = try service.curl("/v1/artifacts/\(artifact)").json()["digest"] as? String
            #expect(try service.curl("/v1/artifacts/\(artifact)", ["-X", "DELETE"]).status == 204)
            return (try #require(digest), try #require(ended["attempts"] as? Int))
        }
        let undisturbed = try made(killing: 0)
        let disturbed = try made(killing: 2)
        #expect(undisturbed.attempts == 1 && disturbed.attempts > 1)
        #expect(disturbed.digest == undisturbed.digest)
    }

    @Test func aWorkerThatIsKilledEachTimeEndsItsJobAlone() throws {
        let service = try LiveService(data: data)
        let id = try order(try store(try file("a", weights: 20), service), "int4", service)
        for attempt in 1...3 {
            let worker = try wait { workers().first }
            #expect(worker.job == id)
            #expect(kill(worker.process, SIGKILL) == 0)
            _ = try wait { workers().contains(worker) ? nil : attempt }
        }
        let ended = try finished(id, service)
        #expect(ended["state"] as? String == "failed")
        #expect(ended["attempts"] as? Int == 3)
        let problem = try #require(ended["problem"] as? [String: Any])
        #expect(problem["code"] as? String == "worker.crashed")
        #expect(problem["signal"] as? Int == Int(SIGKILL))
        #expect(service.starts().count == 1)
        _ = try wait { service.works().isEmpty ? true : nil }
    }

    @Test func aJobGoesOnAfterItsServerWasKilled() throws {
        let input = try file("a", weights: 30)
        let id: String
        do {
            let service = try LiveService(data: data)
            id = try order(try store(input, service), "int4", service)
            let worker = try wait { workers().first }
            // It stands still, so that it cannot be too quick for this test.
            kill(worker.process, SIGSTOP)
            service.kill()
            _ = try wait { workers().isEmpty ? true : nil }
        }
        let service = try LiveService(data: data)
        let done = try finished(id, service)
        #expect(done["state"] as? String == "succeeded")
        let artifact = try #require(done["artifact"] as? String)
        let digest = try sha256(try service.curl("/v1/artifacts/\(artifact)/content").body)
        #expect(try service.curl("/v1/artifacts/\(artifact)", ["-X", "DELETE"]).status == 204)
        let direct = try service.post(input, "method=int4")
        #expect(direct.status == 201)
        #expect(try direct.json()["id"] as? String == artifact)
        #expect(try direct.json()["digest"] as? String == "sha256:\(digest)")
    }

    /// So many Linears of 1024 times 1024, and 256 activations for each: a good fraction of a second's work.
    private func layers(_ count: Int) throws -> (weights: URL, activations: URL) {
        func file(_ leaf: String, rows: Int, seed: UInt64) throws -> URL {
            let size = rows * 4096
            let entries = (0..<count).map { index in
                let place = "\"shape\":[\(rows),1024],\"data_offsets\":[\(index * size),\((index + 1) * size)]"
                return "\"l.\(index).\(leaf)\":{\"dtype\":\"F32\",\(place)}"
            }
            let data = Inputs.bytes(Inputs.gaussian(count * rows * 1024, seed: seed))
            return try folder.file(
                leaf, Inputs.safetensors(header: "{\(entries.joined(separator: ","))}", data: data))
        }
        return (try file("weight", rows: 1024, seed: 3), try file("activations", rows: 256, seed: 4))
    }

    @Test func aKilledWorkersLayersAreNotMadeAgain() throws {
        let service = try LiveService(data: data)
        let (weights, activations) = try layers(12)
        let (input, calibration) = (try store(weights, service), try store(activations, service))
        let options = "{\"mode\": \"reference\", \"scaling\": \"keep\"}"
        let body =
            "{\"input\": \"\(input)\", \"method\": \"awq\", \"calibration\": \"\(calibration)\", "
            + "\"options\": \(options)}"
        func begin() throws -> String {
            let answer = try service.curl("/v1/jobs", ["-d", body])
            return try #require(try answer.json()["id"] as? String, "\(String(decoding: answer.body, as: UTF8.self))")
        }
        func tensors(_ id: String) throws -> Int? {
            (try job(id, service)["progress"] as? [String: Any])?["tensors"] as? Int
        }
        let id = try begin()
        let worker = try wait { workers().first }
        _ = try wait { try tensors(id).flatMap { $0 >= 1 ? $0 : nil } }
        // It stands still for a second, however quick it is: the next layer that ends then leaves a place to go on
        // from, before it is told of.
        kill(worker.process, SIGSTOP)
        Thread.sleep(forTimeInterval: 1.1)
        let before = try #require(try tensors(id))
        kill(worker.process, SIGCONT)
        _ = try wait { try tensors(id).flatMap { $0 > before ? $0 : nil } }
        #expect(kill(worker.process, SIGKILL) == 0)
        var told: [Int] = []
        let done = try wait {
            let job = try job(id, service)
            let progress = job["progress"] as? [String: Any]
            if job["attempts"] as? Int == 2, (progress?["total_tensors"] as? Int ?? 0) > 0 {
                told.append(try #require(progress?["tensors"] as? Int))
            }
            return ["queued", "running"].contains(job["state"] as? String) ? nil : job
        }
        #expect(done["state"] as? String == "succeeded", "\(done)")
        #expect(done["attempts"] as? Int == 2)
        #expect(!told.isEmpty && told.allSatisfy { $0 >= 1 }, "\(told)")
        let artifact = try #require(done["artifact"] as? String)
        let digest = try #require(try service.curl("/v1/artifacts/\(artifact)").json()["digest"] as? String)
        let report = try service.curl("/v1/artifacts/\(artifact)/report").body
        #expect(try service.curl("/v1/artifacts/\(artifact)", ["-X", "DELETE"]).status == 204)
        let again = try finished(try begin(), service)
        #expect(again["attempts"] as? Int == 1)
        #expect(try service.curl("/v1/artifacts/\(artifact)").json()["digest"] as? String == digest)
        #expect(try service.curl("/v1/artifacts/\(artifact)/report").body == report)
    }

    @Test func aJobWithActivationsMakesWhatARequestMakes() throws {
        let service = try LiveService(data: data)
        let id = try order(try store(Repository.awqExample, service), "awq", service)
        let done = try finished(id, service)
        let artifact = try #require(done["artifact"] as? String, "\(done)")
        let report = try service.curl("/v1/artifacts/\(artifact)/report").body
        let digest = try #require(try service.curl("/v1/artifacts/\(artifact)").json()["digest"] as? String)
        #expect(try service.curl("/v1/artifacts/\(artifact)", ["-X", "DELETE"]).status == 204)
        #expect(try service.post(Repository.awqExample, "method=awq").json()["digest"] as? String == digest)
        #expect(try service.curl("/v1/artifacts/\(artifact)/report").body == report)
    }
}

extension LiveService {
    /// What lies in `work/`.
    fileprivate func works() -> [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: data.appending(path: "work").path)) ?? []
    }
}
