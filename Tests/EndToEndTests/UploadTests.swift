import Foundation
import Testing

/// Inputs and uploads with curl, over kill -9 of the real executable.
@Suite(.serialized) struct UploadTests {
    private let tus = ["-H", "Tus-Resumable: 1.0.0", "-H", "Content-Type: application/offset+octet-stream"]

    private func begin(_ service: LiveService, _ length: Int, _ query: String) throws -> String {
        let answer = try service.curl(
            "/v1/uploads\(query)", ["-X", "POST", "-H", "Tus-Resumable: 1.0.0", "-H", "Upload-Length: \(length)"])
        #expect(answer.status == 201)
        return try #require(answer.field("Location"))
    }

    private func offset(_ service: LiveService, _ path: String) throws -> Int {
        let answer = try service.curl(path, ["-I", "-H", "Tus-Resumable: 1.0.0"])
        return try #require(answer.field("Upload-Offset").flatMap { Int($0) })
    }

    private func patch(_ service: LiveService, _ path: String, at offset: Int, _ file: URL) throws -> Answer {
        try service.curl(
            path, ["-X", "PATCH", "--data-binary", "@\(file.path)", "-H", "Upload-Offset: \(offset)"] + tus)
    }

    @Test(arguments: ["", "?method=nf4"]) func killedInTheMiddleItGoesOn(_ query: String) throws {
        let folder = try TemporaryFolder()
        let data = folder.url.appending(path: "data")
        let bytes = Inputs.safetensors([("weight", [1024, 256], Inputs.gaussian(1024 * 256, seed: 11))])
        let cuts = [0, 300_000, 300_000, 700_001, bytes.count]
        var path = ""
        for round in 0..<3 {
            let service = try LiveService(data: data)
            if round == 0 { path = try begin(service, bytes.count, query) }
            #expect(try offset(service, path) == cuts[round])
            let piece = try folder.file("piece", bytes[cuts[round]..<cuts[round + 1]])
            #expect(try patch(service, path, at: cuts[round], piece).status == 204)
            // The next piece is on its way when the process dies: nothing of it was acknowledged.
            let rest = try folder.file("rest", bytes[cuts[round + 1]...])
            let slow = Process()
            slow.executableURL = URL(filePath: "/usr/bin/curl")
            slow.arguments =
                ["-sS", "--limit-rate", "400k", "-X", "PATCH", "--data-binary", "@\(rest.path)"]
                + ["-H", "Upload-Offset: \(cuts[round + 1])", service.url(path)] + tus
            slow.standardError = FileHandle.nullDevice
            try slow.run()
            Thread.sleep(forTimeInterval: 0.3)
            service.kill()
            slow.waitUntilExit()
        }
        let service = try LiveService(data: data)
        #expect(try offset(service, path) == cuts[3])
        let rest = try folder.file("rest", bytes[cuts[3]...])
        let last = try patch(service, path, at: cuts[3], rest)
        #expect(last.status == 204)
        let location = try #require(last.field("Content-Location"))
        if query.isEmpty {
            #expect(location == (try "/v1/inputs/sha256:\(sha256(bytes))"))
            #expect(try service.curl(location).json()["bytes"] as? Int == bytes.count)
        } else {
            let other = try LiveService()
            let whole = try other.post(folder.file("whole", bytes), "method=nf4").json()
            #expect(try service.curl(location).json()["digest"] as? String == whole["digest"] as? String)
        }
        let work = try? FileManager.default.contentsOfDirectory(atPath: data.appending(path: "work").path)
        #expect(work?.isEmpty == true)
    }

    @Test func anInputIsSentOnce() throws {
        let service = try LiveService()
        let digest = try sha256(Data(contentsOf: Repository.example))
        let path = "/v1/inputs/sha256:\(digest)"
        #expect(try service.curl(path, ["-T", Repository.example.path]).status == 201)
        let again = try service.curl(
            path, ["-T", Repository.example.path, "-H", "Expect: 100-continue", "--expect100-timeout", "20"])
        #expect(again.status == 200)
        #expect(!again.head.contains("100 Continue"))
        #expect(try service.curl("/v1/inputs").json()["next"] is NSNull)
        #expect(try service.curl(path, ["-X", "DELETE"]).status == 204)
        let archive = Repository.inputs.appending(path: "deflated.npz")
        let made = try service.curl("/v1/inputs", ["-X", "POST", "-T", archive.path])
        #expect(made.status == 201)
        #expect(try made.json()["format"] as? String == "npz")
        let folder = try TemporaryFolder()
        let cut = try folder.file("cut", Data(contentsOf: archive).dropLast(3))
        let refused = try withExtendedLifetime(folder) {
            try service.curl("/v1/inputs", ["-X", "POST", "-T", cut.path])
        }
        #expect(try refused.json()["code"] as? String == "npz.end_record")
    }

    @Test func timeEndsThem() throws {
        let service = try LiveService(arguments: ["--upload-ttl", "1s", "--input-ttl", "1s"])
        let path = try begin(service, 10, "")
        Thread.sleep(forTimeInterval: 1.1)
        #expect(try service.curl(path, ["-I", "-H", "Tus-Resumable: 1.0.0"]).status == 410)
    }
}
