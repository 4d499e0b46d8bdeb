import Catalogue
import Jobs
import Testing

@Suite struct InputTests {
    let folder: TemporaryFolder
    let catalogue: Catalogue

    init() throws {
        folder = try TemporaryFolder()
        catalogue = try Catalogue(path: folder.path + "/catalogue.sqlite")
    }

    private func input(_ digest: String, owner: String = "ann", at time: Int64 = 1) -> InputRecord {
        InputRecord(
            owner: owner, digest: digest, bytes: 100, container: "raw", dtype: "F32", shape: "5,5", createdAt: time)
    }

    private func upload(_ id: String, owner: String = "ann", length: Int? = 10) -> UploadRecord {
        UploadRecord(
            id: id, owner: owner, length: length, metadata: "name eA==", query: "method=nf4", createdAt: 1,
            expiresAt: 50)
    }

    @Test func anInputComesBackAsItWasAndIsItsOwners() throws {
        #expect(try catalogue.insert(input("sha256:a")))
        #expect(try catalogue.input("sha256:a", owner: "ann") == input("sha256:a"))
        #expect(try catalogue.input("sha256:a", owner: "bob") == nil)
        #expect(try catalogue.removeInput("sha256:a", owner: "bob") == .absent)
        #expect(try catalogue.containsInput("sha256:a"))
        #expect(try catalogue.usage(of: "ann").bytes == 100)
    }

    /// Who made a row can tell whether it was used since, whatever the clock says.
    @Test func everyUseMovesOn() throws {
        for (digest, use) in [("sha256:same", Int64(5)), ("sha256:earlier", 3)] {
            let made = input(digest, at: 5)
            var again = made
            (again.createdAt, again.usedAt) = (use, use)
            #expect(try catalogue.insert(made))
            #expect(try !catalogue.insert(again))
            #expect(try catalogue.removeInput(digest, owner: "ann", unusedSince: made.usedAt + 1) == .absent)
        }
        let named = input("sha256:named", at: 5)
        #expect(try catalogue.insert(named))
        #expect(try catalogue.useInput(named.digest, owner: "ann", at: 5))
        #expect(try catalogue.removeInput(named.digest, owner: "ann", unusedSince: 6) == .absent)
        let unused = input("sha256:unused", at: 5)
        #expect(try catalogue.insert(unused))
        #expect(try catalogue.removeInput(unused.digest, owner: "ann", unusedSince: 6) == .removed)
    }

    @Test func sentAgainItIsUsedAnew() throws {
        #expect(try catalogue.insert(input("sha256:a", at: 1)))
        #expect(try !catalogue.insert(input("sha256:a", at: 9)))
        let found = try #require(try catalogue.input("sha256:a", owner: "ann"))
        #expect((found.createdAt, found.usedAt) == (1, 9))
        #expect(try catalogue.usage(of: "ann").bytes == 100)
        #expect(try catalogue.inputsUnused(since: 9).isEmpty)
        #expect(try catalogue.inputsUnused(since: 10).map(\.digest) == ["sha256:a"])
        try catalogue.useInput("sha256:a", owner: "ann", at: 20)
        #expect(try catalogue.inputsUnused(since: 10).isEmpty)
    }

    @Test(arguments: [true, false]) func anInputThatAJobNeedsStays(asCalibration: Bool) throws {
        #expect(try catalogue.insert(input("sha256:a")))
        #expect(try catalogue.insert(input("sha256:a", owner: "bob")))
        var job = JobRecord(
            id: "j", owner: "ann", input: asCalibration ? "sha256:w" : "sha256:a", recipe: "{}", artifact: "x",
            createdAt: 1)
        if asCalibration {
            job.calibration = "sha256:a"
            #expect(try catalogue.insert(input("sha256:w")))
        }
        _ = try catalogue.enqueue(job)
        #expect(try catalogue.removeInput("sha256:a", owner: "ann") == .needed(job: "j"))
        #expect(try catalogue.removeInput("sha256:a", owner: "bob") == .removed)
        #expect(try catalogue.containsInput("sha256:a"))
        job.state = .cancelled
        #expect(try catalogue.moveJob(job, from: .queued))
        #expect(try catalogue.removeInput("sha256:a", owner: "ann") == .removed)
        #expect(try !catalogue.containsInput("sha256:a"))
        // The job's recipe is kept.
        #expect(try catalogue.usage(of: "ann").bytes == (asCalibration ? 100 : 0) + 2)
    }

    @Test func pagesAreNewestFirst() throws {
        for number in 0..<5 { #expect(try catalogue.insert(input("sha256:\(number)", at: Int64(number / 2)))) }
        let first = try catalogue.inputs(owner: "ann", after: nil, limit: 3)
        #expect(first.items.map(\.digest) == ["sha256:4", "sha256:3", "sha256:2"])
        let rest = try catalogue.inputs(owner: "ann", after: first.next, limit: 3)
        #expect(rest.items.map(\.digest) == ["sha256:1", "sha256:0"])
        #expect(rest.next == nil)
    }

    @Test func anAcknowledgedOffsetNeverGoesBack() throws {
        try catalogue.insert(upload("u"))
        #expect(try catalogue.upload("u", owner: "ann") == upload("u"))
        #expect(try catalogue.upload("u", owner: "bob") == nil)
        #expect(try catalogue.advanceUpload("u", to: 7, reserved: 20, state: [1, 0, 255], expiresAt: 60))
        #expect(try !catalogue.advanceUpload("u", to: 6, reserved: 20, state: nil, expiresAt: 60))
        let found = try #require(try catalogue.upload("u", owner: "ann"))
        #expect((found.offset, found.reserved, found.expiresAt) == (7, 20, 60))
        #expect(try catalogue.uploadState("u") == [1, 0, 255])
        #expect(try catalogue.usage(of: "ann").bytes == 20)
        #expect(try catalogue.needsWork("u"))
    }

    @Test func aSealedUploadHasItsResultAndNothingElse() throws {
        try catalogue.insert(upload("u"))
        #expect(try catalogue.advanceUpload("u", to: 7, reserved: 20, state: [1], expiresAt: 60))
        try catalogue.sealUpload("u", as: input("sha256:a"), location: "/v1/inputs/sha256:a", expiresAt: 70)
        let found = try #require(try catalogue.upload("u", owner: "ann"))
        #expect(found.location == "/v1/inputs/sha256:a")
        #expect(found.offset == 100)
        #expect(try catalogue.uploadState("u") == nil)
        #expect(try catalogue.input("sha256:a", owner: "ann") != nil)
        #expect(try catalogue.usage(of: "ann").bytes == 100)
        #expect(try !catalogue.advanceUpload("u", to: 200, reserved: 1, state: nil, expiresAt: 99))
        #expect(try !catalogue.needsWork("u"))
    }

    @Test func anUploadMayBecomeAnArtifact() throws {
        try catalogue.insert(upload("u"))
        #expect(try catalogue.sealUpload("u", length: 9, as: record("x"), location: "/v1/artifacts/x", expiresAt: 70))
        #expect(try catalogue.artifact("x", owner: "ann") != nil)
        try catalogue.insert(upload("v"))
        #expect(try !catalogue.sealUpload("v", length: 9, as: record("x"), location: "/v1/artifacts/x", expiresAt: 70))
    }

    @Test func aLengthIsSaidOnce() throws {
        try catalogue.insert(upload("u", length: nil))
        #expect(try catalogue.advanceUpload("u", to: 7, reserved: 7, state: nil, expiresAt: 60))
        #expect(try !catalogue.setUploadLength("u", 6, reserved: 6))
        #expect(try catalogue.setUploadLength("u", 8, reserved: 8))
        #expect(try !catalogue.setUploadLength("u", 9, reserved: 9))
    }

    @Test func unfinishedUploadsAreCounted() throws {
        #expect(try catalogue.insert(upload("a"), atMost: 1))
        #expect(try !catalogue.insert(upload("b"), atMost: 1))
        #expect(try catalogue.insert(upload("c", owner: "bob"), atMost: 1))
        try catalogue.sealUpload("a", as: input("sha256:a"), location: "/v1/inputs/sha256:a", expiresAt: 70)
        #expect(try catalogue.insert(upload("b"), atMost: 1))
    }

    @Test func anInputUsedMeanwhileIsNotRemoved() throws {
        #expect(try catalogue.insert(input("sha256:a", at: 5)))
        #expect(try catalogue.removeInput("sha256:a", owner: "ann", unusedSince: 5) == .absent)
        #expect(try !catalogue.useInput("sha256:b", owner: "ann", at: 9))
        #expect(try catalogue.useInput("sha256:a", owner: "ann", at: 9))
        #expect(try catalogue.removeInput("sha256:a", owner: "ann", unusedSince: 9) == .absent)
        #expect(try catalogue.removeInput("sha256:a", owner: "ann", unusedSince: 10) == .removed)
    }

    @Test func expiredUploadsAreFoundAndRemoved() throws {
        try catalogue.insert(upload("u"))
        #expect(try catalogue.expiredUploads(at: 49).isEmpty)
        #expect(try catalogue.expiredUploads(at: 50).map(\.id) == ["u"])
        #expect(try !catalogue.removeUpload("u", owner: "bob"))
        #expect(try catalogue.removeUpload("u", owner: "ann"))
        #expect(try catalogue.upload("u", owner: "ann") == nil)
    }
}

@Suite struct KeyTests {
    let folder: TemporaryFolder
    let catalogue: Catalogue

    init() throws {
        folder = try TemporaryFolder()
        catalogue = try Catalogue(path: folder.path + "/catalogue.sqlite")
    }

    private func key(_ id: String, name: String) -> KeyRecord {
        KeyRecord(
            id: id, name: name, hash: "00ff", scopes: "read,write", maximumBytes: 5, maximumWork: nil, createdAt: 1)
    }

    @Test func aKeyComesBackAsItWasUntilItIsRevoked() throws {
        #expect(try !catalogue.hasKeys())
        #expect(try catalogue.insert(key("k1", name: "laptop")))
        #expect(try !catalogue.insert(key("k2", name: "laptop")))
        #expect(try !catalogue.insert(key("k1", name: "other")))
        #expect(try catalogue.key("k1") == key("k1", name: "laptop"))
        #expect(try catalogue.hasKeys())
        #expect(try !catalogue.revokeKey(named: "other", at: 9))
        #expect(try catalogue.revokeKey(named: "laptop", at: 9))
        #expect(try !catalogue.revokeKey(named: "laptop", at: 10))
        #expect(try catalogue.key("k1")?.revokedAt == 9)
        #expect(try !catalogue.hasKeys())
        #expect(try catalogue.keys().map(\.id) == ["k1"])
    }

    @Test func theAuditLogIsInOrderAndForgetsInTime() throws {
        for number in 0..<3 {
            try catalogue.note(
                AuditRecord(
                    at: Int64(number), owner: "ann", action: "artifact.delete", target: "t\(number)", trace: nil))
        }
        let all = try catalogue.auditRecords(after: 0)
        #expect(all.map(\.target) == ["t0", "t1", "t2"])
        #expect(try catalogue.auditRecords(after: all[1].sequence).map(\.target) == ["t2"])
        _ = try catalogue.forget(RetentionLimits(jobsFinishedBefore: 0, keysExpiredBy: 0, auditBefore: 2))
        #expect(try catalogue.auditRecords(after: 0).map(\.target) == ["t2"])
    }
}
