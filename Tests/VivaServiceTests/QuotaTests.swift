import ArtifactStore
import Catalogue
import Foundation
import HTTPServer
import Jobs
import Testing

@testable import VivaService

/// Limits of owners, by the figures that a client reads.
@Suite struct QuotaTests {
    /// The bytes of the artifact that `KeyedService.quantize` makes, as the service says.
    private func size(_ reply: KeyedService.Reply) throws -> Int { try #require(reply.json["bytes"] as? Int) }

    @Test func bytesAreRefusedWithTheirFigures() throws {
        try KeyedService.with { (service) throws in
            let free = try service.key("free").key
            let bytes = try size(try service.quantize(free))
            let (narrow, id) = try service.key("narrow", bytes: bytes * 3 / 2)
            #expect(try service.quantize(narrow).status == 201)
            let refused = try service.quantize(narrow, seed: 2)
            #expect(refused.status == 403 && refused.code == "quota.bytes")
            #expect(refused.json["limit"] as? Int == bytes * 3 / 2)
            #expect(refused.json["used"] as? Int == bytes)
            #expect((refused.json["wanted"] as? Int ?? 0) >= bytes)
            #expect(try service.catalogue.usage(of: id).bytes == bytes)
            #expect(try service.store.identifiers(of: .staged).isEmpty)
            // The refusal gave back what it had taken, and a removal makes room.
            let artifact = try #require(
                (try service.send("GET", "/v1/artifacts", key: narrow).json["items"] as? [[String: Any]])?.first?["id"])
            #expect(try service.send("DELETE", "/v1/artifacts/\(artifact)", key: narrow).status == 204)
            #expect(try service.quantize(narrow, seed: 2).status == 201)
        }
    }

    @Test func aFullOwnerIsRefusedBeforeItsBody() throws {
        try KeyedService.with(limits: OwnerLimits(bytes: 0)) { (service) throws in
            let key = try service.key("k").key
            // 16 KiB are announced and not sent: an answer that waited for them would be 408, much later.
            let refused = try service.send(
                "POST", "/v1/quantize?method=int8&dtype=float32&shape=64,64", key: key,
                fields: ["Expect: 100-continue"], announced: 16_384)
            #expect(refused.status == 403 && refused.code == "quota.bytes")
            #expect(refused.json["used"] as? Int == 0)
        }
    }

    /// A job whose artifact exists takes nothing but its row, which is refused where the owner has no room for it.
    @Test func whatAJobIsToDoCountsAsBytes() throws {
        try KeyedService.with { (service) throws in
            let input = [UInt8](repeating: 0, count: 4_096)
            let (key, id) = try service.key("k", bytes: 100_000)
            let kept = try service.send(
                "POST", "/v1/inputs?dtype=float32&shape=32,32", key: key, body: input)
            let name = try #require(kept.json["id"] as? String)
            let used = try service.catalogue.usage(of: id).bytes
            func order(_ bytes: Int) throws -> KeyedService.Reply {
                let include = String(repeating: "*", count: bytes)
                let order = #"{"input":"\#(name)","method":"int8","options":{"include":"\#(include)"}}"#
                return try service.send("POST", "/v1/jobs", key: key, body: Array(order.utf8))
            }
            let refused = try order(100_000)
            #expect(refused.status == 403 && refused.code == "quota.bytes", "\(refused.text)")
            #expect((refused.json["wanted"] as? Int ?? 0) > 100_000)
            #expect(try service.catalogue.usage(of: id).bytes == used)
            let job = try order(10_000)
            #expect(job.status == 202, "\(job.text)")
            let reserved = try #require(job.json["reserved_bytes"] as? Int)
            #expect((10_000..<11_000).contains(try service.catalogue.usage(of: id).bytes - used - reserved))
            let place = "/v1/jobs/\(try #require(job.json["id"] as? String))"
            #expect(try service.send("DELETE", place, key: key).status == 202)
            #expect(try service.send("DELETE", place, key: key).status == 204)
            #expect(try service.catalogue.usage(of: id).bytes == used)
        }
    }

    @Test func jobsCountAsWork() throws {
        try KeyedService.with { (service) throws in
            let (key, id) = try service.key("k", work: 1)
            _ = try service.catalogue.insert(
                InputRecord(owner: id, digest: "sha256:0", bytes: 1, container: "raw", createdAt: 1))
            var job = JobRecord(id: "j", owner: id, input: "sha256:0", recipe: "{}", artifact: "a", createdAt: 1)
            _ = try service.catalogue.enqueue(job)
            for (method, path) in [("POST", "/v1/quantize?method=int8"), ("POST", "/v1/compare")] {
                let refused = try service.send(method, path, key: key)
                #expect(refused.status == 429 && refused.code == "quota.concurrent", "\(path)")
                #expect(refused.field("Retry-After") != nil)
                #expect(refused.json["limit"] as? Int == 1 && refused.json["used"] as? Int == 1)
            }
            #expect(try service.send("GET", "/v1/artifacts", key: key).status == 200)
            job.state = .succeeded
            #expect(try service.catalogue.moveJob(job, from: .queued))
            #expect(try service.quantize(key).status == 201)
        }
    }

    @Test func permitsEndOnEveryPath() throws {
        try KeyedService.with { (service) throws in
            let (key, id) = try service.key("k", work: 1)
            let principal = Principal(owner: id, scopes: .all, limits: OwnerLimits(bytes: 10_000, work: 1))
            let quotas = service.service.facilities.quotas
            do {
                let permit = try quotas.permit(principal)
                #expect(throws: Problem.self) { try quotas.permit(principal) }
                #expect(try service.quantize(key).status == 429)
                try permit.reserve(6000)
                #expect(throws: Problem.self) { try permit.reserve(6000) }
                try permit.reserve(4000)
                permit.end()
                permit.end()
            }
            // Refused bodies and requests end theirs too: with a limit of one, the next would be refused.
            #expect(try service.send("POST", "/v1/quantize?method=int8", key: key, body: [1, 2, 3]).status == 400)
            #expect(try service.quantize(key).status == 201)
            let made = try #require(try service.quantize(key).json["id"] as? String)
            let restored = "/v1/artifacts/\(made)/dequantized"
            for _ in 0..<3 { #expect(try service.send("GET", restored, key: key).status == 200) }
            _ = try quotas.permit(principal)
            let again = try quotas.permit(principal)
            try again.reserve(5000)
        }
    }

    @Test(arguments: [Int.max, Int.max - 1, 101])
    func noSumOverflows(_ bytes: Int) throws {
        try KeyedService.with { (service) throws in
            let quotas = service.service.facilities.quotas
            for limit in [100, Int.max - 1] where bytes > limit / 2 {
                let permit = try quotas.permit(
                    Principal(owner: "o", scopes: .all, limits: OwnerLimits(bytes: limit, work: nil)))
                try permit.reserve(limit / 2)
                #expect(throws: Problem.self) { try permit.reserve(bytes) }
                permit.end()
            }
        }
    }
}
