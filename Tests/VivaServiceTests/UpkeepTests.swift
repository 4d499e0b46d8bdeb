import ArtifactStore
import Catalogue
import Foundation
import HTTPServer
import Jobs
import OpenSSL
import Testing

@testable import VivaService

/// What `gc` removes, and above all what it leaves.
@Suite struct GarbageTests {
    private func collector(_ service: KeyedService, isDryRun: Bool) -> GarbageCollector {
        GarbageCollector(
            store: service.store, catalogue: service.catalogue, inputTimeToLive: .seconds(3600), isDryRun: isDryRun)
    }

    private func counts(_ collected: [GarbageCollector.Collected]) -> [String: Int] {
        Dictionary(uniqueKeysWithValues: collected.filter { $0.count > 0 }.map { ($0.kind.rawValue, $0.count) })
    }

    @Test func nothingThatIsNeededGoes() throws {
        try KeyedService.with { (service) throws in
            let (key, me) = try service.key("me")
            let things = try Belongings(of: me, key: key, in: service)
            // The input has not been used since 1970, but a job that waits needs it.
            #expect(counts(try collector(service, isDryRun: false).run()).isEmpty)
            #expect(try things.areWhole(for: me, in: service.catalogue))
            #expect(try service.store.identifiers(of: .work) == [things.upload])
            #expect(try service.send("GET", "/v1/artifacts/\(things.artifact)/content", key: key).status == 200)
        }
    }

    @Test func whatNobodyNeedsGoesAsTheDryRunSaid() throws {
        try KeyedService.with { (service) throws in
            try litter(service)
            let dry = try collector(service, isDryRun: true).run()
            #expect(
                counts(dry) == [
                    "expired_uploads": 1, "unused_inputs": 2, "stray_artifacts": 1, "stray_inputs": 1,
                    "stray_work": 1, "finished_jobs": 1, "idempotency_keys": 1, "audit_lines": 1,
                ])
            #expect(try collector(service, isDryRun: true).run() == dry)
            #expect(try collector(service, isDryRun: false).run() == dry)
            #expect(counts(try collector(service, isDryRun: false).run()).isEmpty)
            for kind in [StoredKind.artifact, .input, .work, .staged] {
                #expect(try service.store.identifiers(of: kind).isEmpty, "\(kind)")
            }
            #expect(try service.catalogue.usage(of: "owner") == (0, 0))
        }
    }

    /// One thing of each kind that nobody needs; one input has two owners.
    private func litter(_ service: KeyedService) throws {
        let (store, catalogue) = (service.store, service.catalogue)
        func content(_ text: String) throws -> StagedContent {
            let staged = try store.stage()
            try staged.content.write(Array(text.utf8))
            return staged
        }
        try store.publish(try content("artifact"), report: Array("{}".utf8), as: "stray")
        try store.publishInput(try content("stray"), as: String(repeating: "1", count: 64))
        let unused = String(repeating: "2", count: 64)
        try store.publishInput(try content("unused"), as: unused)
        for owner in ["owner", "other"] {
            _ = try catalogue.insert(
                InputRecord(owner: owner, digest: "sha256:\(unused)", bytes: 6, container: "raw", createdAt: 1))
        }
        _ = try store.createWork("expired")
        _ = try store.createWork("stray")
        try catalogue.insert(
            UploadRecord(
                id: "expired", owner: "owner", length: 9, metadata: "", query: nil, createdAt: 1, expiresAt: 2))
        var job = JobRecord(
            id: "j", owner: "owner", input: "sha256:\(unused)", recipe: "{}", artifact: "a", createdAt: 1)
        _ = try catalogue.enqueue(job, key: IdempotencyKey(key: "k", fingerprint: "f", expiresAt: 2))
        job.state = .succeeded
        job.finishedAt = 2
        #expect(try catalogue.moveJob(job, from: .queued))
        try catalogue.note(AuditRecord(at: 1, owner: "owner", action: "x", target: "y", trace: nil))
    }

    @Test func theRouteIsTheAdministrators() throws {
        try KeyedService.with { (service) throws in
            let admin = try service.key("admin", "admin").key
            try litter(service)
            let dry = try service.send("POST", "/v1/gc?dry_run=1", key: admin)
            #expect(dry.status == 200 && dry.json["dry_run"] as? Bool == true && dry.json["count"] as? Int == 9)
            let real = try service.send("POST", "/v1/gc", key: admin)
            #expect(real.json["count"] as? Int == 9 && real.json["bytes"] as? Int == dry.json["bytes"] as? Int)
            #expect(try service.send("POST", "/v1/gc", key: admin).json["count"] as? Int == 0)
            #expect(try service.send("POST", "/v1/gc?dry_run=yes", key: admin).status == 400)
            let targets = try service.catalogue.auditRecords(after: 0).filter { $0.action == "gc" }.map(\.target)
            #expect(targets == ["/v1/gc?dry_run=1", "/v1/gc", "/v1/gc"])
        }
    }

    /// While artifacts are made and removed, a second process collects: no request fails, and nothing is lost.
    @Test func collectingBesideRequestsHurtsNobody() throws {
        try KeyedService.with { (service) throws in
            let key = try service.key("k").key
            let beside = try OpenDataFolder(service.folder)
            var kept: [String] = []
            for seed in 0..<8 {
                let made = try service.quantize(key, seed: UInt32(seed))
                #expect(made.status == 201)
                let collected = try GarbageCollector(
                    store: beside.store, catalogue: beside.catalogue, inputTimeToLive: .seconds(1), isDryRun: false
                ).run()
                #expect(counts(collected).isEmpty)
                kept.append(try #require(made.json["id"] as? String))
            }
            for id in kept {
                #expect(try service.send("GET", "/v1/artifacts/\(id)/report", key: key).status == 200)
            }
        }
    }
}

/// What `fsck` finds and does.
@Suite struct StoreCheckTests {
    private func check(_ service: KeyedService) throws -> StoreCheck.Outcome {
        let beside = try OpenDataFolder(service.folder)
        return try StoreCheck(store: beside.store, catalogue: beside.catalogue).run()
    }

    @Test func aSoundFolderHasNoFindings() throws {
        try KeyedService.with { (service) throws in
            let (key, me) = try service.key("me")
            _ = try Belongings(of: me, key: key, in: service)
            let outcome = try check(service)
            #expect(outcome.findings.isEmpty && outcome.artifacts == 1 && outcome.inputs == 1 && outcome.bytes > 4096)
        }
    }

    @Test(arguments: ["flipped", "shortened", "no report", "empty report", "a pipe", "a link", "a folder", "no folder"])
    func aDamagedArtifactLeavesService(_ damage: String) throws {
        try KeyedService.with { (service) throws in
            let key = try service.key("k").key
            let ids = try (0..<2).map { try #require(service.quantize(key, seed: $0).json["id"] as? String) }
            let files = URL(filePath: "\(service.folder)/artifacts/\(ids[0])")
            let content = files.appending(path: "content")
            switch damage {
            case "flipped":
                var bytes = try Data(contentsOf: content)
                bytes[bytes.count - 1] ^= 1
                try bytes.write(to: content)
            case "shortened": try Data(contentsOf: content).dropLast().write(to: content)
            case "a pipe":
                try FileManager.default.removeItem(at: content)
                let made = unsafe mkfifo(content.path, 0o600)
                #expect(made == 0)
            case "a link":
                try FileManager.default.removeItem(at: content)
                try FileManager.default.createSymbolicLink(atPath: content.path, withDestinationPath: "report.json")
            case "a folder":
                try FileManager.default.removeItem(at: content)
                try FileManager.default.createDirectory(at: content, withIntermediateDirectories: false)
            case "no folder":
                try FileManager.default.removeItem(at: files)
                try Data().write(to: files)
            case "no report": try FileManager.default.removeItem(at: files.appending(path: "report.json"))
            default: try Data().write(to: files.appending(path: "report.json"))
            }
            let outcome = try check(service)
            #expect(outcome.findings.map(\.code) == ["artifact.damaged"])
            #expect(outcome.findings.map(\.id) == [ids[0]])
            #expect(try service.store.identifiers(of: .quarantined) == ["artifact-\(ids[0])-1"])
            #expect(try service.send("GET", "/v1/artifacts/\(ids[0])/content", key: key).status == 404)
            #expect(try service.send("GET", "/v1/artifacts/\(ids[1])/content", key: key).status == 200)
            #expect(try check(service).findings.isEmpty)
            // The same request makes it anew.
            #expect(try service.quantize(key, seed: 0).status == 201)
        }
    }

    @Test func rowsWithoutFilesAndFilesWithoutRows() throws {
        try KeyedService.with { (service) throws in
            let (key, me) = try service.key("me")
            let things = try Belongings(of: me, key: key, in: service)
            let hex = String(things.input.dropFirst("sha256:".count))
            try FileManager.default.moveItem(
                atPath: "\(service.folder)/artifacts/\(things.artifact)", toPath: "\(service.folder)/artifacts/renamed")
            try FileManager.default.removeItem(atPath: "\(service.folder)/inputs/\(hex)")
            #expect(
                try service.catalogue.advanceUpload(
                    things.upload, to: 7, reserved: 100, state: nil, expiresAt: .max / 2))
            try service.store.removeWork(things.upload)
            _ = try service.store.createWork("stray")
            let outcome = try check(service)
            #expect(
                outcome.findings.map { "\($0.code) \($0.id)" } == [
                    "artifact.lost \(things.artifact)", "input.lost \(hex)", "upload.lost \(things.upload)",
                    "artifact.stray renamed", "work.stray stray",
                ])
            #expect(try service.send("GET", "/v1/artifacts/\(things.artifact)", key: key).status == 404)
            // Only what it left to gc is found again, and gc takes that.
            #expect(try check(service).findings.map(\.code) == ["artifact.stray", "work.stray"])
            let collected = try GarbageCollector(
                store: service.store, catalogue: service.catalogue, inputTimeToLive: .seconds(3600), isDryRun: false
            ).run()
            #expect(collected.reduce(0) { $0 + $1.count } == 2)
            #expect(try check(service).findings.isEmpty)
        }
    }

    /// Too few bytes are never sent under the entity tag of the whole artifact.
    @Test func aShortenedArtifactIsNotSent() throws {
        try KeyedService.with { (service) throws in
            let key = try service.key("k").key
            let id = try #require(service.quantize(key).json["id"] as? String)
            let content = URL(filePath: "\(service.folder)/artifacts/\(id)/content")
            try Data(contentsOf: content).dropLast().write(to: content)
            for fields in [[], ["Range: bytes=0-9"]] {
                let reply = try service.send("GET", "/v1/artifacts/\(id)/content", key: key, fields: fields)
                #expect(reply.status == 500 && reply.code == "artifact.damaged" && reply.field("ETag") == nil)
                #expect(reply.text.contains("viva fsck"))
            }
        }
    }

    /// Stores an input for its owners, whatever was there; answers its digest.
    private func put(_ text: String, for owners: [String], in service: KeyedService) throws -> String {
        let staged = try service.store.stage()
        try staged.content.write(Array(text.utf8))
        let hex = try staged.content.digest().hex
        try service.store.publishInput(staged, as: hex)
        for owner in owners {
            _ = try service.catalogue.insert(
                InputRecord(
                    owner: owner, digest: "sha256:\(hex)", bytes: text.utf8.count, container: "raw", createdAt: 1))
        }
        return hex
    }

    /// Between the look and its turn a client removes the input and sends it again.
    @Test(arguments: ["lost", "damaged"]) func anInputThatIsMadeAnewMeanwhileStays(_ fault: String) throws {
        try KeyedService.with { (service) throws in
            let hex = try put("input", for: ["a"], in: service)
            let beside = try OpenDataFolder(service.folder)
            let check = StoreCheck(store: beside.store, catalogue: beside.catalogue)
            if fault == "lost" {
                try service.store.remove(.input, hex)
            } else {
                try Data("inpus".utf8).write(to: URL(filePath: "\(service.folder)/inputs/\(hex)/content"))
            }
            let seen = try check.condition(ofInput: hex)
            #expect((seen == .lost) == (fault == "lost") && !seen.isWhole)
            _ = try service.catalogue.removeInput("sha256:\(hex)", owner: "a")
            if fault == "damaged" { try service.store.remove(.input, hex) }
            #expect(try put("input", for: ["a"], in: service) == hex)
            #expect(try check.settle(input: hex, seen) == nil)
            #expect(try service.catalogue.containsInput("sha256:\(hex)"))
            #expect(try service.store.openInput(hex).bytes() == Array("input".utf8))
            #expect(try service.store.identifiers(of: .quarantined).isEmpty)
        }
    }

    @Test func aDamagedInputGoesForAllItsOwners() throws {
        try KeyedService.with { (service) throws in
            let hex = try put("input", for: ["a", "b"], in: service)
            try Data("inpus".utf8).write(to: URL(filePath: "\(service.folder)/inputs/\(hex)/content"))
            #expect(try check(service).findings.map(\.code) == ["input.damaged"])
            #expect(try !service.catalogue.containsInput("sha256:\(hex)"))
            #expect(try service.store.identifiers(of: .quarantined) == ["input-\(hex)-1"])
            #expect(try service.catalogue.usage(of: "a") == (0, 0))
        }
    }

    @Test func theCommandsSayWhatTheyFound() throws {
        try KeyedService.with { (service) throws in
            let key = try service.key("k").key
            let id = try #require(service.quantize(key).json["id"] as? String)
            #expect(try CheckCommand.run(data: service.folder, isJSON: false).isClean)
            try Data("x".utf8).write(to: URL(filePath: "\(service.folder)/artifacts/\(id)/content"))
            let (text, isClean) = try CheckCommand.run(data: service.folder, isJSON: true)
            let findings =
                try #require(
                    try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])["findings"]
                as? [[String: Any]]
            #expect(!isClean && findings?.first?["code"] as? String == "artifact.damaged")
            let table = try GarbageCommand.run(
                data: service.folder, isDryRun: true, inputTimeToLive: .seconds(1), isJSON: false)
            #expect(table.contains("stray_work"))
            var lines: [String] = []
            try AuditCommand.run(data: service.folder, after: 0) { lines.append($0) }
            #expect(lines.count == 3 && lines[2].contains("\"fsck.artifact.damaged\""))
            lines = []
            try AuditCommand.run(data: service.folder, after: 2) { lines.append($0) }
            #expect(lines.count == 1)
            #expect(throws: ServiceError.self) { try OpenDataFolder("\(service.folder)/none") }
        }
    }
}
