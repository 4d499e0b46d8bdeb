import ArtifactStore
import Foundation
import Testing

/// One server a folder, and helpers beside it.
@Suite struct LockTests {
    private let home: TemporaryFolder
    private var data: String { home.path + "/data" }

    init() throws {
        home = try TemporaryFolder()
    }

    @Test func aSecondServerIsRefusedWhileTheFirstLives() throws {
        let first = try ArtifactStore(folder: data)
        #expect(throws: StoreError.locked(path: data)) { _ = try ArtifactStore(folder: data, lockWait: .zero) }
        #expect(try first.isServed())
    }

    @Test func theLimitOfTheWait() {
        #expect(ArtifactStore.lockWait == .seconds(2))
    }

    /// The one before it was killed, and its lock is released when the kernel comes to it.
    @Test func aServerWaitsForTheOneBeforeIt() throws {
        _ = try ArtifactStore(folder: data)
        let holder = Process()
        holder.executableURL = URL(filePath: "/usr/bin/flock")
        holder.arguments = ["--no-fork", "--exclusive", data + "/lock", "sleep", "0.3"]
        try holder.run()
        while try !ArtifactStore(beside: data).isServed() { usleep(1000) }
        #expect(throws: StoreError.locked(path: data)) { _ = try ArtifactStore(folder: data, lockWait: .zero) }
        // A minute, for what is tested is that it waits at all.
        #expect(try ArtifactStore(folder: data, lockWait: .seconds(60)).isServed())
        holder.waitUntilExit()
    }

    @Test func aHelperWorksBesideTheServer() throws {
        let server = try ArtifactStore(folder: data)
        let staged = try server.stage()
        let helper = try ArtifactStore(beside: data)
        #expect(try helper.isServed())
        #expect(try helper.identifiers(of: .staged).count == 1)
        try server.publish(staged, report: [1], as: "x")
        #expect(try helper.identifiers(of: .artifact) == ["x"])
        try helper.remove(.artifact, "x")
        #expect(try server.identifiers(of: .artifact) == [])
    }

    @Test func aHelperIsNoServer() throws {
        do { _ = try ArtifactStore(folder: data) }
        let helper = try ArtifactStore(beside: data)
        // A process that another test is spawning at this moment may still share the lock of the store above.
        while try helper.isServed() { usleep(1000) }
        let server = try ArtifactStore(folder: data)
        #expect(try helper.isServed())
        #expect(try server.isServed())
    }

    @Test func aHelperMakesNoFolderUnlessItIsToldTo() throws {
        #expect(throws: StoreError.noStore(path: data)) { _ = try ArtifactStore(beside: data) }
        #expect(throws: StoreError.noStore(path: home.path)) { _ = try ArtifactStore(beside: home.path) }
        #expect(home.contents() == [])
        let helper = try ArtifactStore(beside: data, creating: true)
        #expect(try !helper.isServed())
        #expect(try ArtifactStore(beside: data).identifiers(of: .artifact) == [])
    }

    /// A folder from before there were inputs and work.
    @Test func anOlderFolderIsCompleted() throws {
        for name in ["artifacts", "staging"] {
            try FileManager.default.createDirectory(
                atPath: data + "/" + name, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        }
        #expect(try ArtifactStore(beside: data).identifiers(of: .work) == [])
    }
}
