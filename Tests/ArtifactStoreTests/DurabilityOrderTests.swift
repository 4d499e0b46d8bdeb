import ArtifactStore
import Foundation
import Testing

/// The order in which things reach the disk, as the kernel sees it, and what happens where a step of it fails.
@Suite(.enabled(if: SystemCallTrace.isAvailable, "strace(1) is missing or may not trace"))
struct DurabilityOrderTests {
    private static let hex = String(repeating: "0", count: 64)

    /// A store with something to publish.
    private static func prepared() throws -> (TemporaryFolder, ArtifactStore, WorkFolder) {
        let home = try TemporaryFolder()
        let store = try ArtifactStore(folder: home.path)
        let work = try store.createWork("job")
        try work.content.write([1], at: 0)
        return (home, store, work)
    }

    @Test func anArtifactIsOnTheDiskBeforeItIsSeen() async {
        await #expect(processExitsWith: .success) {
            let (home, store, _) = try Self.prepared()
            let staged = try store.stage()
            try staged.content.write([1], at: 0)
            let trace = try SystemCallTrace(in: home.path)
            try store.publish(staged, report: [2], as: "x")
            #expect(
                try trace.end(below: home.path) == [
                    "fsync staging/*/report.json = 0", "fsync staging/*/content = 0", "fsync staging/* = 0",
                    "renameat staging/* artifacts/x = 0", "fsync artifacts = 0",
                ])
        }
    }

    @Test func workIsPublishedUnderASecondName() async {
        await #expect(processExitsWith: .success) {
            let (home, store, work) = try Self.prepared()
            let trace = try SystemCallTrace(in: home.path)
            try store.publishInput(store.stage(work), as: Self.hex)
            try store.removeWork("job")
            #expect(
                try trace.end(below: home.path) == [
                    "mkdirat staging/* 0700 = 0", "linkat work/job/content staging/*/content 0 = 0",
                    "fsync work/job/content = 0", "fsync staging/* = 0", "renameat staging/* inputs/** = 0",
                    "fsync inputs = 0", "renameat work/job staging/* = 0", "fsync work = 0",
                    "unlinkat staging/* 0 = -1 EISDIR", "unlinkat staging/*/content 0 = 0",
                    "unlinkat staging/* AT_REMOVEDIR = 0",
                ])
        }
    }

    @Test func workIsThereBeforeAnythingOfItIsAcknowledged() async {
        await #expect(processExitsWith: .success) {
            let (home, store, _) = try Self.prepared()
            let trace = try SystemCallTrace(in: home.path)
            let work = try store.createWork("other")
            _ = try work.head()
            try work.synchronize()
            try work.synchronize()
            #expect(
                try trace.end(below: home.path) == [
                    "mkdirat work/other 0700 = 0", "fsync work = 0", "fsync work/other/content = 0",
                    "fsync work/other/head = 0", "fsync work/other = 0", "fsync work/other/content = 0",
                    "fsync work/other/head = 0",
                ])
        }
    }

    /// A process that died may have made names without making them durable.
    @Test func theNamesOfReopenedWorkAreMadeDurableToo() async {
        await #expect(processExitsWith: .success) {
            let (home, store, _) = try Self.prepared()
            let trace = try SystemCallTrace(in: home.path)
            try store.work("job").synchronize()
            #expect(try trace.end(below: home.path) == ["fsync work/job/content = 0", "fsync work/job = 0"])
        }
    }

    @Test func whatFailsItsCheckLosesItsNameLast() async {
        await #expect(processExitsWith: .success) {
            let (home, store, _) = try Self.prepared()
            try store.publish(store.stage(), report: [], as: "x")
            let trace = try SystemCallTrace(in: home.path)
            _ = try store.quarantine(.artifact, "x")
            #expect(
                try trace.end(below: home.path) == [
                    "renameat artifacts/x quarantine/artifact-x-1 = 0", "fsync quarantine = 0", "fsync artifacts = 0",
                ])
        }
    }

    @Test func aFileThatFailedToReachTheDiskIsLostForEver() async {
        await #expect(processExitsWith: .success) {
            let (home, store, work) = try Self.prepared()
            let expected = StoreError.system(operation: "fsync", path: home.path + "/work/job/content", code: EIO)
            let trace = try SystemCallTrace(in: home.path, fault: "fsync:error=EIO:when=1")
            #expect(throws: expected) { try work.synchronize() }
            #expect(throws: expected) { try work.synchronize() }
            #expect(throws: expected) { try store.publishInput(store.stage(work), as: Self.hex) }
            let synced = try trace.end(below: home.path).filter { $0.hasPrefix("fsync") }
            #expect(synced == ["fsync work/job/content = -1 EIO"])
            #expect(try store.identifiers(of: .input) == [])
            #expect(try store.identifiers(of: .staged) == [])
            // Opened again, it goes on from what was recorded.
            try store.work("job").synchronize()
        }
    }

    /// The third fsync is that of `inputs/`, after the rename.
    @Test func aNameThatFailedToReachTheDiskIsTakenBackAndNoOtherGiven() async {
        await #expect(processExitsWith: .success) {
            let (home, store, work) = try Self.prepared()
            let expected = StoreError.system(operation: "fsync", path: home.path + "/inputs", code: EIO)
            let trace = try SystemCallTrace(in: home.path, fault: "fsync:error=EIO:when=3")
            #expect(throws: expected) { try store.publishInput(store.stage(work), as: Self.hex) }
            try trace.end(below: home.path)
            #expect(throws: expected) { try store.publishInput(store.stage(), as: Self.hex) }
            #expect(try store.identifiers(of: .input) == [])
            #expect(try store.identifiers(of: .staged) == [])
            #expect(try read(store.work("job").content, 1, at: 0) == [1])
        }
    }

    @Test func aFullQuotaIsAFullDisk() async {
        await #expect(processExitsWith: .success) {
            let (home, _, work) = try Self.prepared()
            let trace = try SystemCallTrace(in: home.path, fault: "fallocate:error=EDQUOT:when=1")
            let error = #expect(throws: StoreError.self) { try work.content.reserve(4096) }
            #expect(error?.isDiskFull == true)
            try work.content.reserve(4096)
            try trace.end(below: home.path)
        }
    }

    /// Killed at any step of a publish, a row never came: what the start finds is swept, and the work is whole.
    @Test(arguments: [
        "linkat:signal=KILL", "fsync:signal=KILL:when=1", "fsync:signal=KILL:when=2", "renameat:signal=KILL:when=1",
        "fsync:signal=KILL:when=3", "renameat:signal=KILL:when=2",
    ])
    func whoIsKilledWhilePublishingGoesOnWithTheWork(fault: String) async throws {
        let home = try TemporaryFolder()
        do {
            let work = try ArtifactStore(folder: home.path).createWork("job")
            try work.content.write([1], at: 0)
            try work.synchronize()
        }
        await #expect(processExitsWith: .signal(SIGKILL)) { [path = home.path as String, fault] in
            let store = try ArtifactStore(folder: path)
            let work = try store.work("job")
            _ = try SystemCallTrace(in: path, fault: fault)
            try store.publishInput(store.stage(work), as: Self.hex)
            try store.remove(.input, Self.hex)
        }
        let store = try ArtifactStore(folder: home.path)
        #expect(try store.identifiers(of: .staged) == [])
        for input in try store.identifiers(of: .input) { try store.remove(.input, input) }
        let work = try store.work("job")
        #expect(try read(work.content, 1, at: 0) == [1])
        try store.publishInput(store.stage(work), as: Self.hex)
        #expect(try store.openInput(Self.hex).bytes() == [1])
    }
}
