import Catalogue
import Jobs
import Testing

@Suite struct JobTests {
    let folder: TemporaryFolder
    let catalogue: Catalogue

    init() throws {
        folder = try TemporaryFolder()
        catalogue = try Catalogue(path: folder.path + "/catalogue.sqlite")
    }

    /// A job whose input is there.
    private func job(_ id: String, owner: String = "ann", artifact: String? = nil) throws -> JobRecord {
        let input = InputRecord(owner: owner, digest: "sha256:\(id)", bytes: 0, container: "npy", createdAt: 1)
        _ = try catalogue.insert(input)
        return JobRecord(
            id: id, owner: owner, input: "sha256:\(id)", recipe: #"{"method":"nf4"}"#, artifact: artifact ?? "of-\(id)",
            createdAt: 7)
    }

    private func claim(after owner: String = "", memory: Int = .max, now: Int64 = 100) throws -> String? {
        try catalogue.claimJob(after: owner, memory: memory, now: now)?.id
    }

    @Test func aJobComesBackAsItWas() throws {
        var job = try self.job("a")
        job.calibration = "sha256:a"
        job.memory = 5
        job.reserved = 6
        job.totalBytes = 8
        job.notBefore = 9
        guard case .new(let recorded) = try catalogue.enqueue(job) else {
            Issue.record("not new")
            return
        }
        job.sequence = recorded.sequence
        #expect(recorded == job)
        #expect(try catalogue.job("a", owner: "ann") == job)
        #expect(try catalogue.job("a", owner: "bob") == nil)
        // What is reserved, and the recipe, which is kept after the end.
        #expect(try catalogue.usage(of: "ann") == (6 + 16, 1))
        #expect(try catalogue.jobTotals()[.queued] == 1)
    }

    @Test func theSameWorkInFlightIsOneJob() throws {
        _ = try catalogue.enqueue(job("a", artifact: "x"))
        guard case .alike(let first) = try catalogue.enqueue(job("b", artifact: "x")) else {
            Issue.record("not alike")
            return
        }
        #expect(first.id == "a")
        #expect(try catalogue.job("b", owner: "ann") == nil)
        var taken = try #require(try catalogue.claimJob(after: "", memory: .max, now: 100))
        taken.state = .failed
        #expect(try catalogue.moveJob(taken, from: .running))
        // What failed may be tried anew.
        guard case .new = try catalogue.enqueue(job("c", artifact: "x")) else {
            Issue.record("not new")
            return
        }
    }

    @Test func aJobNeedsWhatItIsMadeOf() throws {
        var job = try self.job("a")
        job.calibration = "sha256:c"
        #expect(try catalogue.enqueue(job) == .inputAbsent)
        job.calibration = nil
        #expect(try catalogue.removeInput("sha256:a", owner: "ann") == .removed)
        #expect(try catalogue.enqueue(job) == .inputAbsent)
        #expect(try catalogue.job("a", owner: "ann") == nil)
        // What is made already needs nothing.
        job.state = .succeeded
        guard case .new = try catalogue.enqueue(job) else {
            Issue.record("not new")
            return
        }
    }

    @Test func ownersTakeTurnsAndEachKeepsItsOrder() throws {
        for id in ["a1", "a2", "a3"] { _ = try catalogue.enqueue(job(id, owner: "ann")) }
        for id in ["b1", "b2"] { _ = try catalogue.enqueue(job(id, owner: "bob")) }
        _ = try catalogue.enqueue(job("c1", owner: "cyd"))
        var (order, owner): ([String], String) = ([], "")
        while let next = try catalogue.claimJob(after: owner, memory: .max, now: 100) {
            order.append(next.id)
            owner = next.owner
        }
        #expect(order == ["a1", "b1", "c1", "a2", "b2", "a3"])
        #expect(try catalogue.jobTotals()[.running] == 6)
    }

    @Test func aJobThatDoesNotFitOrMustWaitHoldsNobodyUp() throws {
        var large = try job("large", owner: "ann")
        large.memory = 1_000
        var later = try job("later", owner: "bob")
        later.notBefore = 500
        for job in [large, later, try job("small", owner: "cyd")] { _ = try catalogue.enqueue(job) }
        #expect(try claim(after: "cyd", memory: 999) == "small")
        #expect(try claim(memory: 999) == nil)
        #expect(try claim(memory: 999, now: 500) == "later")
        #expect(try claim(after: "zoe", memory: 1_000) == "large")
    }

    @Test func whatAJobIsToDoCountsUntilItIsRemoved() throws {
        var job = try self.job("a")
        job.reserved = 6
        job.recipe = #"{"name":"é"}"#
        _ = try catalogue.enqueue(job)
        #expect(try catalogue.usage(of: "ann") == (6 + 13, 1))
        let ended = try #require(job.after(.cancelled, at: 8))
        #expect(try catalogue.moveJob(ended, from: .queued))
        #expect(try catalogue.usage(of: "ann") == (13, 0))
        #expect(try catalogue.removeJob("a", owner: "ann"))
        #expect(try catalogue.usage(of: "ann") == (0, 0))
    }

    @Test func aMoveNeedsTheStateThatItsMoverBelieves() throws {
        _ = try catalogue.enqueue(job("a"))
        var taken = try #require(try catalogue.claimJob(after: "", memory: .max, now: 100))
        #expect(taken.attempts == 1)
        #expect(taken.startedAt == 100)
        taken.state = .succeeded
        taken.finishedAt = 200
        #expect(try catalogue.succeedJob(taken, with: record("of-a")))
        #expect(try !catalogue.succeedJob(taken, with: record("of-b")))
        #expect(try catalogue.artifact("of-b", owner: "ann") == nil)
        #expect(try catalogue.artifact("of-a", owner: "ann") != nil)
        #expect(try catalogue.job("a", owner: "ann")?.state == .succeeded)
        #expect(try catalogue.usage(of: "ann").jobs == 0)
    }

    @Test func whatACrashEndedWaitsAgainWithItsCheckpoint() throws {
        for id in ["a", "b"] { _ = try catalogue.enqueue(job(id)) }
        #expect(try claim() == "a")
        try catalogue.checkpointJob("a", [1, 2, 3])
        try catalogue.checkpointJob("b", [9])
        #expect(try catalogue.requeueInterruptedJobs() == 1)
        #expect(try catalogue.requeueInterruptedJobs() == 0)
        #expect(try catalogue.jobCheckpoint("a") == [1, 2, 3])
        // Only who runs has a place to go on from.
        #expect(try catalogue.jobCheckpoint("b") == nil)
        #expect(try catalogue.needsWork("a"))
        var again = try #require(try catalogue.claimJob(after: "", memory: .max, now: 100))
        #expect(again.attempts == 2)
        again.state = .cancelled
        #expect(try catalogue.moveJob(again, from: .running))
        #expect(try catalogue.jobCheckpoint("a") == nil)
        #expect(try !catalogue.needsWork("a"))
    }

    @Test func aKeyMakesARequestOnce() throws {
        let key = IdempotencyKey(key: "k", fingerprint: "f", expiresAt: 50)
        guard case .new(let first) = try catalogue.enqueue(job("a"), key: key) else {
            Issue.record("not new")
            return
        }
        #expect(try catalogue.enqueue(job("b"), key: key) == .repeated(first))
        let other = IdempotencyKey(key: "k", fingerprint: "g", expiresAt: 50)
        #expect(try catalogue.enqueue(job("b"), key: other) == .keyInUse)
        // Keys are an owner's own.
        guard case .new = try catalogue.enqueue(job("b", owner: "bob"), key: other) else {
            Issue.record("not new")
            return
        }
        var later = try job("c")
        later.createdAt = 50
        guard case .new = try catalogue.enqueue(later, key: other) else {
            Issue.record("an expired key still holds")
            return
        }
    }

    @Test func aRemovedJobIsNotMadeAgainByItsKey() throws {
        var done = try job("a")
        done.state = .succeeded
        let key = IdempotencyKey(key: "k", fingerprint: "f", expiresAt: 50)
        _ = try catalogue.enqueue(done, key: key)
        #expect(try catalogue.removeJob("a", owner: "ann"))
        #expect(try catalogue.enqueue(job("a"), key: key) == .removed)
    }

    @Test func onlyFinishedJobsAreRemoved() throws {
        _ = try catalogue.enqueue(job("a"))
        #expect(try !catalogue.removeJob("a", owner: "ann"))
        #expect(try !catalogue.removeJob("a", owner: "bob"))
        #expect(try catalogue.wantCancel("a", owner: "bob") == nil)
        var wanted = try #require(try catalogue.wantCancel("a", owner: "ann"))
        #expect(wanted.isCancelWanted)
        wanted.state = .cancelled
        wanted.finishedAt = 10
        #expect(try catalogue.moveJob(wanted, from: .queued))
        _ = try catalogue.forget(RetentionLimits(jobsFinishedBefore: 10, keysExpiredBy: 0, auditBefore: 0))
        #expect(try catalogue.job("a", owner: "ann") != nil)
        _ = try catalogue.forget(RetentionLimits(jobsFinishedBefore: 11, keysExpiredBy: 0, auditBefore: 0))
        #expect(try catalogue.job("a", owner: "ann") == nil)
        #expect(try catalogue.jobTotals().values.allSatisfy { $0 == 0 })
    }

    @Test func listsAreNewestFirstByState() throws {
        for number in 0..<5 { _ = try catalogue.enqueue(job("j\(number)")) }
        _ = try catalogue.enqueue(job("other", owner: "bob"))
        #expect(try claim(after: "zoe") == "j0")
        let first = try catalogue.jobs(owner: "ann", state: nil, after: nil, limit: 3)
        #expect(first.items.map(\.id) == ["j4", "j3", "j2"])
        let rest = try catalogue.jobs(owner: "ann", state: nil, after: first.next, limit: 3)
        #expect(rest.items.map(\.id) == ["j1", "j0"])
        #expect(try catalogue.jobs(owner: "ann", state: .running, after: nil, limit: 9).items.map(\.id) == ["j0"])
    }
}
