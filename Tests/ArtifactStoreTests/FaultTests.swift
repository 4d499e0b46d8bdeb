import ArtifactStore
import Glibc
import Testing

@Suite struct FaultTests {
    private static let needsMount: Comment = "mounting a tmpfs is not permitted here"

    @Test func aFolderThatCannotBeCreatedIsAnError() {
        #expect(throws: StoreError.self) { _ = try ArtifactStore(folder: "/proc/viva") }
        #expect(throws: StoreError.self) { _ = try ArtifactStore(folder: "/dev/null/viva") }
        #expect(throws: StoreError.self) { _ = try ArtifactStore(folder: "") }
    }

    @Test func noRoomIsToldApart() {
        #expect(StoreError.full(path: "x").isDiskFull)
        #expect(StoreError.system(operation: "openat", path: "x", code: EMFILE).isOutOfDescriptors)
        #expect(!StoreError.system(operation: "openat", path: "x", code: EIO).isOutOfDescriptors)
        #expect(!StoreError.system(operation: "open", path: "x", code: 5).isDiskFull)
        #expect(!StoreError.locked(path: "x").isDiskFull)
    }

    @Test(.enabled(if: TinyFileSystem.isAvailable, needsMount))
    func aFullDiskIsReportedAndGivenBack() throws {
        let disk = try TinyFileSystem(kibibytes: 256)
        let store = try ArtifactStore(folder: disk.path + "/store")
        let before = try store.space().free
        do {
            let staged = try store.stage()
            let error = try #require(throws: StoreError.self) {
                try staged.content.write([UInt8](repeating: 7, count: 1 << 20), at: 0)
            }
            #expect(error.isDiskFull)
            let other = try store.stage()
            let atReport = try #require(throws: StoreError.self) {
                try store.publish(other, report: [UInt8](repeating: 7, count: 4096), as: "x")
            }
            #expect(atReport.isDiskFull)
        }
        #expect(try store.identifiers(of: .artifact) == [])
        #expect(try store.space().free == before)
        let staged = try store.stage()
        try staged.content.write([1], at: 0)
        try store.publish(staged, report: [], as: "afterwards")
        #expect(try store.open("afterwards", .content).bytes() == [1])
    }

    @Test(.enabled(if: TinyFileSystem.isAvailable, needsMount))
    func aReadOnlyDiskIsAnErrorAtEveryStep() throws {
        let disk = try TinyFileSystem(kibibytes: 256)
        do {
            let store = try ArtifactStore(folder: disk.path + "/store")
            let staged = try store.stage()
            try store.publish(staged, report: [1], as: "x")
        }
        try disk.makeReadOnly()
        let readOnly = { (error: StoreError) in
            if case .system(_, _, EROFS) = error { return true }
            return false
        }
        let opening = try #require(throws: StoreError.self) { _ = try ArtifactStore(folder: disk.path + "/store") }
        #expect(readOnly(opening))
        let creating = try #require(throws: StoreError.self) { _ = try ArtifactStore(folder: disk.path + "/new") }
        #expect(readOnly(creating))
        let beside = try #require(throws: StoreError.self) { _ = try StagedFile.beside(path: disk.path + "/out") }
        #expect(readOnly(beside))
    }
}
