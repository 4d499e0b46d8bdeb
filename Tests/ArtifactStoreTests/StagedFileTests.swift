import ArtifactStore
import Foundation
import OpenSSL
import Testing

@Suite struct StagedFileTests {
    @Test func positionedWritesReadBack() throws {
        let folder = try TemporaryFolder()
        let file = try StagedFile.anonymous(in: folder.path)
        try file.write(bytes(4, 5, 6), at: 3)
        try file.write(bytes(1, 2, 3), at: 0)
        #expect(try file.length() == 6)
        #expect(try read(file, 4, at: 1) == [2, 3, 4, 5])
    }

    @Test func aHoleReadsAsZeros() throws {
        let folder = try TemporaryFolder()
        let file = try StagedFile.anonymous(in: folder.path)
        try file.write(bytes(9), at: 100_000)
        #expect(try read(file, 3, at: 99_998) == [0, 0, 9])
    }

    @Test func readingPastTheEndIsTruncated() throws {
        let folder = try TemporaryFolder()
        let file = try StagedFile.anonymous(in: folder.path)
        try file.write(bytes(1, 2, 3), at: 0)
        let error = try #require(throws: StoreError.self) { _ = try read(file, 5, at: 1) }
        guard case .truncated(_, let offset, let missing) = error else {
            Issue.record("unexpected \(error)")
            return
        }
        #expect(offset == 1)
        #expect(missing == 3)
    }

    @Test(arguments: [-1, Int.min, Int.max]) func impossibleOffsetsAreErrors(offset: Int) throws {
        let folder = try TemporaryFolder()
        let file = try StagedFile.anonymous(in: folder.path)
        #expect(throws: StoreError.self) { try file.write(bytes(1, 2), at: offset) }
        #expect(throws: StoreError.self) { _ = try read(file, 2, at: offset) }
    }

    @Test func anAnonymousFileHasNoName() throws {
        let folder = try TemporaryFolder()
        let file = try StagedFile.anonymous(in: folder.path)
        try file.write(bytes(1), at: 0)
        #expect(folder.contents() == [])
    }

    /// The oracle is Python's hashlib, over lengths around the chunk.
    @Test(arguments: [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (1_048_576, "d12d0182a4797ab1c11f5c225073ab9d5a4d8061bbbd595e23dc6e0b4a69319e"),
        (1_048_577, "5a7bd5a5ac28434eeef35b1d774b065b1592023f502bd85d0b9cd606e885c3ee"),
        (3_000_001, "6a740b7bf73019c9ba722440d20acca1dc942f24ec4e1b8413fa724003ac22f2"),
    ])
    func digestIsThatOfTheWholeContent(count: Int, hex: String) throws {
        let folder = try TemporaryFolder()
        let file = try StagedFile.anonymous(in: folder.path)
        try file.write((0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ ($0 >> 9)) }, at: 0)
        #expect(try file.digest().hex == hex)
    }

    @Test func commitReplacesInOneStepAndLeavesNothingElse() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/model.safetensors"
        try Data([1, 2]).write(to: URL(fileURLWithPath: path))
        let file = try StagedFile.beside(path: path)
        try file.write(bytes(7, 8, 9), at: 0)
        #expect(folder.contents().count == 2)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data([1, 2]))
        try file.commit(to: path)
        #expect(folder.contents() == ["model.safetensors"])
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data([7, 8, 9]))
        #expect(throws: StoreError.self) { try file.commit(to: path) }
    }

    /// A rename over a device, a link or a pipe would end what others reach by that name.
    @Test func whatIsNoPlainFileIsNotReplaced() throws {
        let folder = try TemporaryFolder()
        let files = FileManager.default
        try files.createDirectory(atPath: folder.path + "/folder", withIntermediateDirectories: true)
        #expect(files.createFile(atPath: folder.path + "/file", contents: nil))
        try files.createSymbolicLink(atPath: folder.path + "/link", withDestinationPath: "file")
        try files.createSymbolicLink(atPath: folder.path + "/null", withDestinationPath: "/dev/null")
        #expect(unsafe mkfifo(folder.path + "/pipe", 0o600) == 0)
        for name in ["folder", "link", "null", "pipe"] {
            let path = folder.path + "/" + name
            #expect(throws: StoreError.notReplaced(path: path)) { _ = try StagedFile.beside(path: path) }
        }
        #expect(folder.contents() == ["file", "folder", "link", "null", "pipe"])
    }

    @Test func anAbandonedFileBesideIsRemoved() throws {
        let folder = try TemporaryFolder()
        do {
            let file = try StagedFile.beside(path: folder.path + "/out")
            try file.write(bytes(1), at: 0)
            #expect(folder.contents().count == 1)
        }
        #expect(folder.contents() == [])
    }

    @Test(arguments: ["/nowhere/at/all/out", "", "/tmp/"]) func unusablePathsAreErrors(path: String) {
        #expect(throws: StoreError.self) { _ = try StagedFile.beside(path: path) }
    }

    @Test func closedWithTheObject() throws {
        let folder = try TemporaryFolder()
        let name: String
        do {
            let file = try StagedFile.beside(path: folder.path + "/counted")
            name = try linkTarget(file.descriptor)
            #expect(openPaths().contains(name))
        }
        #expect(!openPaths().contains { $0.hasPrefix(name) })
    }
}

/// A span over a few literal bytes cannot leave a function, hence an array and its span in one place.
func bytes(_ values: UInt8...) -> [UInt8] { values }

extension StagedFile {
    func write(_ bytes: [UInt8], at offset: Int) throws(StoreError) {
        try write(unsafe bytes.span.bytes, at: offset)
    }
}

func read(_ file: StagedFile, _ count: Int, at offset: Int) throws(StoreError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0xA5, count: count)
    var span = bytes.mutableSpan
    var raw = unsafe span.mutableBytes
    try file.read(into: &raw, at: offset)
    return bytes
}

func linkTarget(_ descriptor: Int32) throws -> String {
    try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(descriptor)")
}

/// The targets of all open descriptors of this process.
func openPaths() -> [String] {
    let numbers = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
    return numbers.compactMap { try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)") }
}
