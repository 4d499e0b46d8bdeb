import Foundation
import Testing

/// kill -9 at random moments: what was acknowledged is whole, nothing else is visible or left on disk.
@Suite(.serialized) struct DurabilityTests {
    @Test func killedTwentyTimesDuringUploads() throws {
        let folder = try TemporaryFolder()
        let data = folder.url.appending(path: "data")
        var random = SystemRandomNumberGenerator()
        var acknowledged: [String: String] = [:]
        var unanswered = 0
        var read: Set<String> = []
        for round in 0..<20 {
            let service = try LiveService(data: data)
            try expectWhole(service, acknowledged, round: round, besides: read)
            read.formUnion(service.filesOnDisk().artifacts)
            let uploads = try (0..<3).map { index in try Upload(service, folder, seed: round * 3 + index) }
            Thread.sleep(forTimeInterval: Double.random(in: 0.005...0.6, using: &random))
            service.kill()
            for upload in uploads {
                if let (id, digest) = upload.acknowledgement() {
                    acknowledged[id] = digest
                } else {
                    unanswered += 1
                }
            }
        }
        let service = try LiveService(data: data)
        try expectWhole(service, acknowledged, round: 20, besides: [])
        // The moments must have fallen on both sides of an answer, or the test has shown nothing.
        #expect(!acknowledged.isEmpty)
        #expect(unanswered > 0)
    }

    /// curl is cut off in a download by a kill, and `curl -C -` gets the rest from the next life of the service.
    @Test func curlResumesADownload() throws {
        let folder = try TemporaryFolder()
        let data = folder.url.appending(path: "data")
        let weights = try folder.file("w", Data(count: 64 << 20))
        let out = folder.url.appending(path: "out")
        let (path, digest): (String, String)
        do {
            let service = try LiveService(data: data)
            let made = try service.post(weights, "method=int8&dtype=float32&shape=16384,1024").json()
            path = "/v1/artifacts/\(try #require(made["id"] as? String))/content"
            digest = try #require(made["digest"] as? String)
            let download = Process()
            download.executableURL = URL(filePath: "/usr/bin/curl")
            // Slow enough that the kill comes in the middle, and more than the buffers of two sockets hold.
            download.arguments = ["-sS", "--limit-rate", "2M", "-o", out.path, service.url(path)]
            download.standardError = FileHandle.nullDevice
            try download.run()
            while (try? Data(contentsOf: out).count) ?? 0 == 0, download.isRunning {
                Thread.sleep(forTimeInterval: 0.01)
            }
            service.kill()
            download.waitUntilExit()
            #expect(download.terminationStatus != 0)
        }
        let part = try Data(contentsOf: out).count
        #expect((1..<16 << 20).contains(part))
        let service = try LiveService(data: data)
        let rest = try run(
            "/usr/bin/curl", ["-sS", "-C", "-", "-o", out.path, "-w", "%{http_code}", service.url(path)])
        #expect(rest.status == 0 && rest.text == "206")
        let sum = try run("/usr/bin/sha256sum", [out.path])
        #expect("sha256:" + sum.text.prefix(64) == digest)
    }

    /// Lists every artifact, and reads all `besides` those that an earlier round has read.
    private func expectWhole(
        _ service: LiveService, _ acknowledged: [String: String], round: Int, besides read: Set<String>
    ) throws {
        let onDisk = service.filesOnDisk()
        #expect(onDisk.staging.isEmpty, "round \(round)")
        let items = try #require(try service.curl("/v1/artifacts?limit=1000").json()["items"] as? [[String: Any]])
        let listed = Dictionary(
            uniqueKeysWithValues: items.map { ($0["id"] as? String ?? "", $0["digest"] as? String ?? "") })
        // An artifact may have become durable without its answer reaching the client; never the other way round.
        #expect(Set(onDisk.artifacts) == Set(listed.keys), "round \(round)")
        for (id, digest) in acknowledged { #expect(listed[id] == digest, "round \(round)") }
        for (id, digest) in listed where !read.contains(id) {
            let content = try service.curl("/v1/artifacts/\(id)/content")
            #expect(try "sha256:\(sha256(content.body))" == digest, "round \(round)")
            #expect(try service.curl("/v1/artifacts/\(id)/report").status == 200)
        }
    }

    /// One upload by curl in the background, slowed down so that a kill can fall into it.
    private final class Upload {
        private let process = Process()
        private let answer: URL

        init(_ service: LiveService, _ folder: TemporaryFolder, seed: Int) throws {
            let values = Inputs.gaussian(256 * 256, seed: UInt64(seed + 1))
            let shape = [256, 256]
            let file = try folder.file("in-\(seed)", Inputs.safetensors([("weight", shape, values)]))
            answer = folder.url.appending(path: "answer-\(seed)")
            process.executableURL = URL(filePath: "/usr/bin/curl")
            let pace = ["60k", "600k", "6M"][seed % 3]
            process.arguments = [
                "-sS", "--limit-rate", pace, "-X", "POST", "-T", file.path, "-o", answer.path,
                service.url("/v1/quantize?method=nf4"),
            ]
            process.standardError = FileHandle.nullDevice
            try process.run()
        }

        /// Id and digest, when the whole answer arrived.
        func acknowledgement() -> (String, String)? {
            process.waitUntilExit()
            guard process.terminationStatus == 0, let body = try? Data(contentsOf: answer),
                let json = try? JSONSerialization.jsonObject(with: body) as? [String: Any],
                let id = json["id"] as? String, let digest = json["digest"] as? String
            else { return nil }
            return (id, digest)
        }
    }

    @Test func oneServerAFolder() throws {
        let service = try LiveService()
        #expect(throws: LiveService.StartFailure.self) { try LiveService(data: service.data) }
        #expect(try service.curl("/livez").status == 200)
    }

    @Test func sigtermFinishesWhatRunsAndExitsCleanly() throws {
        let service = try LiveService()
        let folder = try TemporaryFolder()
        let file = try folder.file(
            "in", Inputs.safetensors([("weight", [256, 256], Inputs.gaussian(256 * 256, seed: 5))]))
        let upload = Process()
        upload.executableURL = URL(filePath: "/usr/bin/curl")
        let answer = folder.url.appending(path: "answer")
        upload.arguments = [
            "-sS", "--limit-rate", "200k", "-X", "POST", "-T", file.path, "-o", answer.path,
            service.url("/v1/quantize?method=nf4"),
        ]
        try upload.run()
        Thread.sleep(forTimeInterval: 0.4)
        service.process.terminate()
        upload.waitUntilExit()
        service.process.waitUntilExit()
        #expect(upload.terminationStatus == 0)
        #expect(service.process.terminationReason == .exit)
        #expect(service.process.terminationStatus == 0)
        let artifact = try JSONSerialization.jsonObject(with: Data(contentsOf: answer)) as? [String: Any]
        #expect(artifact?["id"] is String)
    }
}
