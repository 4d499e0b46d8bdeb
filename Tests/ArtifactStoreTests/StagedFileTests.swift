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

    /// The oracle is `sha256sum` of coreutils, over sizes around the chunk.
    @Test(arguments: [0, 1, 1 << 20, (1 << 20) + 1, 3_000_001])
    func digestIsThatOfTheWholeContent(count: Int) throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/content"
        let content = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 9) }
        let file = try StagedFile.beside(path: path)
        try file.write(unsafe content.span.bytes, at: 0)
        let digest = try file.digest()
        try file.commit(to: path)
        #expect(digest.hex == (try sha256sum(path)))
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

private func sha256sum(_ path: String) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["sha256sum", path]
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let answer = try output.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    return String(decoding: answer.prefix(64), as: UTF8.self)
}

func linkTarget(_ descriptor: Int32) throws -> String {
    try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(descriptor)")
}

/// The targets of all open descriptors of this process.
func openPaths() -> [String] {
    let numbers = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
    return numbers.compactMap { try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)") }
}
