import ArtifactStore
import Foundation
import Testing

/// Room on the disk that is taken before the work begins.
@Suite struct ReservationTests {
    private static let needsMount: Comment = "mounting a tmpfs is not permitted here"

    private let home: TemporaryFolder
    private let store: ArtifactStore

    init() throws {
        home = try TemporaryFolder()
        store = try ArtifactStore(folder: home.path + "/data")
    }

    /// Bytes of the disk below a file, as stat(2) counts them.
    private func room(_ file: StagedFile) -> Int {
        var status = stat()
        #expect(unsafe fstat(file.descriptor, &status) == 0)
        return status.st_blocks * 512
    }

    @Test func itTakesRoomAndNoLength() throws {
        let file = try store.createWork("x").content
        try file.reserve(1 << 20)
        #expect(room(file) >= 1 << 20)
        #expect(try file.length() == 0)
        try file.write([1], at: 5)
        #expect(try file.length() == 6)
        try file.reserve(0)
        try file.reserve(-1)
    }

    @Test func whatIsPublishedHoldsNoMoreThanItsBytes() throws {
        let staged = try store.stage()
        try staged.content.reserve(1 << 20)
        try staged.content.write([1], at: 0)
        try store.publish(staged, report: [], as: "x")
        #expect(try store.open("x", .content).length == 1)
        #expect(room(staged.content) < 1 << 16)
    }

    @Test func truncationKeepsWhatWasAcknowledged() throws {
        let file = try store.createWork("x").content
        try file.write([1, 2, 3, 4], at: 0)
        try file.reserve(1 << 20)
        try file.truncate(to: 3)
        #expect(try file.length() == 3)
        #expect(try read(file, 3, at: 0) == [1, 2, 3])
        #expect(room(file) < 1 << 16)
        let error = try #require(throws: StoreError.self) { try file.truncate(to: 5) }
        guard case .truncated(_, offset: 3, missing: 2) = error else {
            Issue.record("unexpected \(error)")
            return
        }
        #expect(throws: StoreError.self) { try file.truncate(to: -1) }
        #expect(try file.length() == 3)
    }

    @Test(.enabled(if: TinyFileSystem.isAvailable, needsMount))
    func whoHasReservedCanWriteThoughTheDiskIsFull() throws {
        let disk = try TinyFileSystem(kibibytes: 512)
        let store = try ArtifactStore(folder: disk.path + "/store")
        let reserved = try store.createWork("x").content
        try reserved.reserve(128 << 10)
        let other = try store.scratch()
        let error = try #require(throws: StoreError.self) {
            try other.write([UInt8](repeating: 7, count: 1 << 20), at: 0)
        }
        #expect(error.isDiskFull)
        try reserved.write([UInt8](repeating: 1, count: 128 << 10), at: 0)
        #expect(try reserved.length() == 128 << 10)
    }

    @Test(.enabled(if: TinyFileSystem.isAvailable, needsMount))
    func tooMuchIsRefusedAndGivenBack() throws {
        let disk = try TinyFileSystem(kibibytes: 512)
        let store = try ArtifactStore(folder: disk.path + "/store")
        let work = try store.createWork("x")
        let before = try store.space().free
        let error = try #require(throws: StoreError.self) { try work.content.reserve(1 << 20) }
        #expect(error.isDiskFull)
        #expect(try store.space().free == before)
        #expect(try work.content.length() == 0)
    }

    /// ramfs has no fallocate(2).
    @Test(.enabled(if: TinyFileSystem.isAvailable, needsMount))
    func aFileSystemWithoutReservationsIsNoError() throws {
        let disk = try TinyFileSystem(kibibytes: 0, kind: "ramfs")
        let file = try StagedFile.anonymous(in: disk.path)
        try file.reserve(1 << 20)
        try file.write([1], at: 0)
        #expect(try file.length() == 1)
        #expect(room(file) < 1 << 20)
    }
}
