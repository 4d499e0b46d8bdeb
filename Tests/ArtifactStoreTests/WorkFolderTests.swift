import ArtifactStore
import Foundation
import Testing

/// What an upload or a job is making: still there when the process is not.
@Suite struct WorkFolderTests {
    private let home: TemporaryFolder
    private var data: String { home.path + "/data" }

    init() throws {
        home = try TemporaryFolder()
    }

    private func open() throws -> ArtifactStore { try ArtifactStore(folder: data) }

    @Test func itSurvivesTheStore() throws {
        do {
            let work = try open().createWork("u-1")
            try work.content.write([1, 2, 3], at: 0)
            try work.scratch().write([4], at: 2)
            try work.head().write([5, 6], at: 0)
            try work.synchronize()
        }
        let store = try open()
        #expect(try store.identifiers(of: .work) == ["u-1"])
        let work = try store.work("u-1")
        #expect(try read(work.content, 3, at: 0) == [1, 2, 3])
        #expect(try read(work.scratch(), 3, at: 0) == [0, 0, 4])
        #expect(try read(work.head(), 2, at: 0) == [5, 6])
        try work.content.write([9], at: 3)
        try work.synchronize()
        #expect(try work.content.length() == 4)
    }

    @Test func onlyItsOwnerMayReadIt() throws {
        let work = try open().createWork("job")
        #expect(home.contents().contains("data/work/job/content"))
        #expect(!home.contents().contains("data/work/job/scratch"))
        _ = try (work.scratch(), work.head())
        for (name, mode) in [("", 0o700), ("/content", 0o600), ("/scratch", 0o600), ("/head", 0o600)] {
            let attributes = try FileManager.default.attributesOfItem(atPath: data + "/work/job" + name)
            #expect((attributes[.posixPermissions] as? Int) == mode)
        }
    }

    @Test func oneFileEachHoweverOftenItIsAskedFor() throws {
        let work = try open().createWork("job")
        #expect(try work.scratch() === work.scratch())
        #expect(try work.scratch() !== work.head())
    }

    @Test func namesAreTakenOnce() throws {
        let store = try open()
        _ = try store.createWork("x")
        #expect(throws: StoreError.exists(path: data + "/work/x")) { _ = try store.createWork("x") }
    }

    @Test func removedOnceOrTwiceItIsGone() throws {
        let store = try open()
        let work = try store.createWork("x")
        _ = try work.scratch()
        try store.removeWork("x")
        try store.removeWork("x")
        #expect(throws: StoreError.notFound("x")) { _ = try store.work("x") }
        #expect(!home.contents().contains { $0.hasPrefix("data/work/") || $0.hasPrefix("data/staging/") })
        _ = try store.createWork("x")
    }

    /// A process that was killed before anything was acknowledged.
    @Test func withoutContentItIsNotThere() throws {
        let store = try open()
        try FileManager.default.createDirectory(atPath: data + "/work/x", withIntermediateDirectories: true)
        #expect(throws: StoreError.notFound("x")) { _ = try store.work("x") }
        #expect(try store.identifiers(of: .work) == ["x"])
        try store.removeWork("x")
        _ = try store.createWork("x")
    }

    @Test(arguments: ["", "..", "a/b", "A", String(repeating: "a", count: 81)])
    func unsafeNamesAreRefused(id: String) throws {
        let store = try open()
        let expected = StoreError.invalidIdentifier(id)
        #expect(throws: expected) { _ = try store.createWork(id) }
        #expect(throws: expected) { _ = try store.work(id) }
        #expect(throws: expected) { try store.removeWork(id) }
    }

    @Test(arguments: ["content", "scratch", "head"]) func linksAreRefused(name: String) throws {
        let store = try open()
        _ = try store.createWork("x")
        let path = data + "/work/x/" + name
        if name == "content" { try FileManager.default.removeItem(atPath: path) }
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: "/etc/passwd")
        #expect(throws: StoreError.system(operation: "open", path: path, code: ELOOP)) {
            let work = try store.work("x")
            _ = try name == "scratch" ? work.scratch() : work.head()
        }
    }

    @Test func aPipeIsNoContent() throws {
        let store = try open()
        _ = try store.createWork("x")
        let path = data + "/work/x/content"
        try FileManager.default.removeItem(atPath: path)
        #expect(unsafe mkfifo(path, 0o600) == 0)
        #expect(throws: StoreError.self) { _ = try store.work("x") }
    }

    @Test func publishedItStaysUntilItIsRemoved() throws {
        let store = try open()
        let work = try store.createWork("job")
        try work.content.write([7, 8], at: 0)
        try work.scratch().write([1], at: 0)
        try store.publish(store.stage(work), report: [2], as: "made")
        #expect(
            home.contents().filter { $0.hasPrefix("data/artifacts/") || $0.hasPrefix("data/staging/") } == [
                "data/artifacts/made", "data/artifacts/made/content", "data/artifacts/made/report.json",
            ])
        #expect(throws: StoreError.published(path: data + "/work/job/content")) { _ = try store.work("job") }
        try store.removeWork("job")
        #expect(try store.open("made", .content).bytes() == [7, 8])
        #expect(home.contents().filter { $0.hasPrefix("data/work/") } == [])
    }

    /// The process was killed between the rename and the row: the start removes what no row names, and the work is as
    /// it was acknowledged.
    @Test func aPublishWithoutARowCostsTheWorkNothing() throws {
        do {
            let store = try open()
            let work = try store.createWork("job")
            try work.content.write([7, 8], at: 0)
            try work.scratch().write([1], at: 0)
            try store.publish(store.stage(work), report: [2], as: "made")
        }
        let store = try open()
        try store.remove(.artifact, "made")
        let work = try store.work("job")
        #expect(try read(work.content, 2, at: 0) == [7, 8])
        #expect(try read(work.scratch(), 1, at: 0) == [1])
        try store.publish(store.stage(work), report: [2], as: "made")
        #expect(try store.open("made", .content).bytes() == [7, 8])
    }

    /// Killed while it was being published, it is as it was once `staging/` was emptied.
    @Test func anUnfinishedPublishLeavesNothingBehind() throws {
        let store = try open()
        let work = try store.createWork("job")
        try work.content.write([7], at: 0)
        do {
            let staged = try store.stage(work)
            #expect(throws: StoreError.invalidIdentifier("No")) { try store.publish(staged, report: [], as: "No") }
            #expect(throws: StoreError.published(path: data + "/work/job/content")) { _ = try store.work("job") }
        }
        #expect(try read(store.work("job").content, 1, at: 0) == [7])
        #expect(!home.contents().contains { $0.hasPrefix("data/staging/") })
    }

    @Test func theOlderResultStaysAndTheWorkCanBeOpenedAgain() throws {
        let store = try open()
        try store.publish(store.stage(), report: [1], as: "made")
        let work = try store.createWork("job")
        try work.content.write([7], at: 0)
        try store.publish(store.stage(work), report: [2], as: "made")
        #expect(try store.open("made", .content).length == 0)
        #expect(try read(store.work("job").content, 1, at: 0) == [7])
    }
}
