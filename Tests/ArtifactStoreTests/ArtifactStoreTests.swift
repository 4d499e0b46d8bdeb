import ArtifactStore
import Foundation
import Testing

@Suite struct ArtifactStoreTests {
    let folder: TemporaryFolder
    let store: ArtifactStore

    init() throws {
        folder = try TemporaryFolder()
        store = try ArtifactStore(folder: folder.path + "/a/b")
    }

    private func publish(_ id: String, _ content: [UInt8], report: String = "{}") throws {
        let staged = try store.stage()
        try staged.content.write(content, at: 0)
        try store.publish(staged, report: [UInt8](report.utf8), as: id)
    }

    private func content(_ id: String) throws -> [UInt8] {
        try store.open(id, .content).bytes()
    }

    @Test func aPublishedArtifactIsReadBackInBothParts() throws {
        try publish("nf4-0_a", [1, 2, 3], report: #"{"ok":true}"#)
        let file = try store.open("nf4-0_a", .content)
        #expect(file.length == 3)
        #expect(try file.bytes() == [1, 2, 3])
        #expect(try store.open("nf4-0_a", .report).bytes() == [UInt8](#"{"ok":true}"#.utf8))
        #expect(try store.identifiers(of: .artifact) == ["nf4-0_a"])
        #expect(
            folder.contents() == [
                "a", "a/b", "a/b/artifacts", "a/b/artifacts/nf4-0_a", "a/b/artifacts/nf4-0_a/content",
                "a/b/artifacts/nf4-0_a/report.json", "a/b/inputs", "a/b/lock", "a/b/quarantine", "a/b/staging",
                "a/b/turns", "a/b/turns.gate", "a/b/work",
            ])
    }

    @Test func onlyTheOwnerMayEnterTheFolders() throws {
        try publish("x", [1])
        for path in ["/a", "/a/b", "/a/b/artifacts", "/a/b/staging", "/a/b/artifacts/x"] {
            let attributes = try FileManager.default.attributesOfItem(atPath: folder.path + path)
            #expect((attributes[.posixPermissions] as? Int) == 0o700)
        }
    }

    @Test func theDescriptorIsHandedOverOnceAndOutlivesItsGiver() throws {
        try publish("x", [5, 6])
        let opened = try store.open("x", .content)
        let length = opened.length
        let handle = FileHandle(fileDescriptor: opened.takeDescriptor(), closeOnDealloc: true)
        #expect(length == 2)
        #expect(try handle.readToEnd() == Data([5, 6]))
    }

    @Test func droppedStagingLeavesNothing() throws {
        do {
            let staged = try store.stage()
            try staged.content.write([1], at: 0)
            #expect(folder.contents().contains { $0.hasPrefix("a/b/staging/") })
        }
        #expect(!folder.contents().contains { $0.hasPrefix("a/b/staging/") })
        #expect(try store.identifiers(of: .artifact) == [])
    }

    @Test func theOlderArtifactStays() throws {
        try publish("same", [1], report: "old")
        try publish("same", [2], report: "new")
        #expect(try content("same") == [1])
        #expect(try store.open("same", .report).bytes() == [UInt8]("old".utf8))
        #expect(!folder.contents().contains { $0.hasPrefix("a/b/staging/") })
    }

    @Test func concurrentPublishesOfOneIdentifierAllSucceedWithOneArtifact() async throws {
        let store = store
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in UInt8(0)..<16 {
                group.addTask {
                    let staged = try store.stage()
                    try staged.content.write([UInt8](repeating: writer, count: 4096), at: 0)
                    try store.publish(staged, report: [writer], as: "contested")
                }
            }
            try await group.waitForAll()
        }
        #expect(try store.identifiers(of: .artifact) == ["contested"])
        let report = try store.open("contested", .report).bytes()
        #expect(try content("contested") == [UInt8](repeating: report[0], count: 4096))
        #expect(!folder.contents().contains { $0.hasPrefix("a/b/staging/") })
    }

    @Test func aPublishedStagingCannotBePublishedAgain() throws {
        let staged = try store.stage()
        try store.publish(staged, report: [], as: "first")
        #expect(throws: StoreError.self) { try store.publish(staged, report: [], as: "second") }
        #expect(try store.identifiers(of: .artifact) == ["first"])
    }

    @Test(arguments: ["", "..", ".", "a/b", "/etc", "A", "é", "a b", "a\0b", String(repeating: "a", count: 81)])
    func unsafeIdentifiersAreRefusedEverywhere(id: String) throws {
        let staged = try store.stage()
        let expected = StoreError.invalidIdentifier(id)
        #expect(throws: expected) { try store.publish(staged, report: [], as: id) }
        #expect(throws: expected) { _ = try store.open(id, .content).length }
        #expect(throws: expected) { try store.remove(.artifact, id) }
    }

    @Test func theLongestIdentifierWorks() throws {
        let id = String(repeating: "z", count: ArtifactStore.maximumIdentifierLength)
        try publish(id, [1])
        #expect(try content(id) == [1])
    }

    @Test func unknownIdentifiersAreNotFound() {
        #expect(throws: StoreError.notFound("absent")) { _ = try store.open("absent", .report).length }
        #expect(throws: StoreError.notFound("absent")) { try store.remove(.artifact, "absent") }
    }

    @Test func aLinkInPlaceOfTheContentIsRefused() throws {
        try publish("x", [1])
        let path = folder.path + "/a/b/artifacts/x/content"
        try FileManager.default.removeItem(atPath: path)
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: "/etc/passwd")
        #expect(throws: StoreError.self) { _ = try store.open("x", .content).length }
    }

    @Test func aPipeInPlaceOfTheContentIsRefusedAndNotWaitedFor() throws {
        try publish("x", [1])
        let path = folder.path + "/a/b/artifacts/x/content"
        try FileManager.default.removeItem(atPath: path)
        let made = unsafe mkfifo(path, 0o600)
        #expect(made == 0)
        let error = #expect(throws: StoreError.self) { _ = try store.open("x", .content).length }
        #expect(error?.isDamage == true)
    }

    @Test func anOpenArtifactStaysReadableAfterRemoval() throws {
        try publish("x", [1, 2, 3])
        let opened = try store.open("x", .content)
        try store.remove(.artifact, "x")
        #expect(try store.identifiers(of: .artifact) == [])
        #expect(throws: StoreError.notFound("x")) { _ = try store.open("x", .content).length }
        #expect(try opened.bytes() == [1, 2, 3])
        #expect(!folder.contents().contains { $0.hasPrefix("a/b/staging/") })
        try publish("x", [9])
        #expect(try content("x") == [9])
    }

    @Test func leftoversAreSweptAtTheStartAndArtifactsKept() throws {
        let path = folder.path + "/again"
        do {
            let first = try ArtifactStore(folder: path)
            let staged = try first.stage()
            try first.publish(staged, report: [1], as: "kept")
        }
        let leftover = path + "/staging/crashed/deep/er"
        try FileManager.default.createDirectory(atPath: leftover, withIntermediateDirectories: true)
        try Data([1]).write(to: URL(fileURLWithPath: leftover + "/content"))
        let outside = folder.path + "/outside"
        try Data([1]).write(to: URL(fileURLWithPath: outside))
        try FileManager.default.createSymbolicLink(atPath: leftover + "/link", withDestinationPath: folder.path)
        let second = try ArtifactStore(folder: path)
        #expect(try FileManager.default.contentsOfDirectory(atPath: path + "/staging") == [])
        #expect(FileManager.default.fileExists(atPath: outside))
        #expect(try second.identifiers(of: .artifact) == ["kept"])
    }

    @Test func scratchHasNoName() throws {
        let file = try store.scratch()
        try file.write([1, 2], at: 0)
        #expect(try read(file, 2, at: 0) == [1, 2])
        #expect(!folder.contents().contains { $0.hasPrefix("a/b/staging/") })
    }

    @Test func spaceIsThatOfTheFileSystem() throws {
        let space = try store.space()
        let attributes = try FileManager.default.attributesOfFileSystem(forPath: folder.path)
        #expect((attributes[.systemSize] as? NSNumber)?.intValue == space.total)
        #expect(space.free > 0 && space.free <= space.total)
    }
}
