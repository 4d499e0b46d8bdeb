import Foundation
import Testing

/// Keys, quotas and upkeep as an operator meets them: the real executable beside a running server, and curl.
@Suite struct KeyTests {
    /// One command of the executable.
    private func viva(_ arguments: String...) throws -> Outcome { try run(Repository.viva.path, arguments) }

    private func key(_ name: String, _ scopes: String, _ data: URL, _ more: String...) throws -> String {
        let outcome = try run(
            Repository.viva.path, ["key", "add", name, "--scopes", scopes, "--data", data.path] + more)
        #expect(outcome.status == 0, "\(outcome.errorText)")
        return outcome.text.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    private func bearer(_ key: String) -> [String] { ["-H", "Authorization: Bearer \(key)"] }

    @Test func keysAreMadeAndEndedBesideTheServer() throws {
        let service = try LiveService(arguments: ["--auth", "required"])
        #expect(try service.post(Repository.example, "method=int8").status == 401)
        let writer = try key("writer", "read,write", service.data)
        let reader = try key("reader", "read", service.data)
        let made = try service.post(Repository.example, "method=int8", bearer(writer))
        #expect(made.status == 201)
        let place = try #require(made.field("Location"))
        #expect(try service.curl(place, bearer(writer)).status == 200)
        #expect(try service.curl(place, bearer(reader)).status == 404)
        let narrow = try service.post(Repository.example, "method=int8", bearer(reader))
        #expect(narrow.status == 403)
        #expect(narrow.field("WWW-Authenticate")?.contains("insufficient_scope") == true)
        let list = try viva("key", "list", "--data", service.data.path)
        #expect(list.text.contains("writer") && !list.text.contains(writer))
        #expect(try viva("key", "revoke", "writer", "--data", service.data.path).status == 0)
        #expect(try service.curl(place, bearer(writer)).status == 401)
        #expect(try viva("key", "revoke", "writer", "--data", service.data.path).status != 0)
        let log = try viva("audit", "--data", service.data.path).text.split(separator: "\n")
        #expect(log.count == 4 && log[2].contains("\"quantize\"") && log[2].contains(place))
    }

    /// A refusal that needs no body comes before the body does.
    @Test func aKeyIsAskedForBeforeTheBody() throws {
        let service = try LiveService(arguments: ["--auth", "required"])
        let outcome = try run(
            "/usr/bin/curl",
            [
                "-sS", "-v", "--max-time", "20", "-H", "Expect: 100-continue", "-T", Repository.example.path,
                service.url("/v1/quantize?method=nf4"),
            ])
        #expect(outcome.errorText.contains("< HTTP/1.1 401"))
        #expect(!outcome.errorText.contains("< HTTP/1.1 100"))
    }

    @Test func anOpenAddressNeedsAKeyFirst() throws {
        let folder = try TemporaryFolder()
        let data = folder.url.appending(path: "data")
        let arguments = ["serve", "--listen", "0.0.0.0:0", "--data", data.path]
        let refused = try run(Repository.viva.path, arguments)
        #expect(refused.status != 0 && refused.errorText.contains("viva key add NAME --data"))
        _ = try key("first", "read", data)
        let service = try LiveService(data: data, listen: "0.0.0.0:0")
        #expect(try service.curl("/v1/artifacts").status == 401)
        #expect(try service.curl("/livez").status == 200)
        #expect(try service.curl("/metrics").status == 401)
    }

    @Test func aQuotaRefusesByTheHeaderOfTheWeights() throws {
        let service = try LiveService(arguments: ["--auth", "required", "--max-bytes-per-owner", "1000000"])
        let poor = try key("poor", "read,write", service.data)
        let refused = try service.post(Repository.example, "method=int8", bearer(poor))
        #expect(refused.status == 403)
        let problem = try refused.json()
        #expect(problem["code"] as? String == "quota.bytes" && problem["limit"] as? Int == 1_000_000)
        #expect(service.filesOnDisk() == (staging: [], artifacts: []))
        let rich = try key("rich", "read,write", service.data, "--max-bytes", "100000000")
        #expect(try service.post(Repository.example, "method=int8", bearer(rich)).status == 201)
    }

    @Test func gcAndFsckWorkBesideTheServer() throws {
        let service = try LiveService()
        let made = try service.post(Repository.example, "method=int8")
        let id = try #require(try made.json()["id"] as? String)
        let artifacts = service.data.appending(path: "artifacts")
        try FileManager.default.copyItem(
            at: artifacts.appending(path: id), to: artifacts.appending(path: "stray"))
        #expect(try viva("fsck", "--data", service.data.path).status == 1)
        let dry = try viva("gc", "--data", service.data.path, "--dry-run")
        #expect(dry.status == 0 && service.filesOnDisk().artifacts.count == 2)
        #expect(try viva("gc", "--data", service.data.path).status == 0)
        #expect(service.filesOnDisk().artifacts == [id])
        #expect(try viva("fsck", "--data", service.data.path).status == 0)
        #expect(try service.curl("/v1/artifacts/\(id)/content").status == 200)
        let content = artifacts.appending(path: "\(id)/content")
        let handle = try FileHandle(forWritingTo: content)
        try handle.seek(toOffset: 100_000)
        try handle.write(contentsOf: Data("damage".utf8))
        try handle.close()
        let found = try viva("fsck", "--data", service.data.path)
        #expect(found.status == 1 && found.text.contains("artifact.damaged \(id)"))
        #expect(try service.curl("/v1/artifacts/\(id)/content").status == 404)
        #expect(try service.post(Repository.example, "method=int8").status == 201)
        #expect(try viva("fsck", "--data", service.data.path).status == 0)
    }

    /// A backup is a copy of the folder.
    @Test func aCopyOfTheFolderIsTheService() throws {
        let folder = try TemporaryFolder()
        let copy = folder.url.appending(path: "copy")
        let bytes: Data
        let secret: String
        let place: String
        do {
            let service = try LiveService(arguments: ["--auth", "required"])
            secret = try key("k", "read,write", service.data)
            let made = try service.post(Repository.example, "method=nf4", bearer(secret))
            place = try #require(made.field("Location"))
            #expect(
                try service.curl("/v1/inputs", ["-X", "POST", "-T", Repository.example.path] + bearer(secret)).status
                    == 201)
            bytes = try service.curl("\(place)/content", bearer(secret)).body
            service.process.terminate()
            service.process.waitUntilExit()
            #expect(try run("/usr/bin/cp", ["-a", service.data.path, copy.path]).status == 0)
        }
        let restored = try LiveService(data: copy, arguments: ["--auth", "required"])
        #expect(try restored.curl("\(place)/content", bearer(secret)).body == bytes)
        let inputs = try restored.curl("/v1/inputs", bearer(secret)).json()["items"] as? [Any]
        #expect(inputs?.count == 1)
        #expect(try restored.post(Repository.example, "method=nf4", bearer(secret)).status == 200)
        #expect(try viva("fsck", "--data", copy.path).status == 0)
        #expect(try viva("audit", "--data", copy.path).text.split(separator: "\n").count == 3)
    }
}
