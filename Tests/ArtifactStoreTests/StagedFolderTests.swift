import ArtifactStore
import Foundation
import Testing

/// A folder that appears whole or not at all, beside the one it is made from.
@Suite struct StagedFolderTests {
    private let home: TemporaryFolder
    private let source: String

    init() throws {
        home = try TemporaryFolder()
        source = home.path + "/source"
        try FileManager.default.createDirectory(atPath: source, withIntermediateDirectories: true)
        try Data("text".utf8).write(to: URL(filePath: source + "/a.txt"))
    }

    private func contents() -> [String] { home.contents().filter { !$0.hasPrefix("source") } }

    @Test func itAppearsWhenItIsCommitted() throws {
        let folder = try StagedFolder.beside(path: home.path + "/made/", outside: SourceFolder(opening: source))
        let file = try folder.file("b")
        try file.write(Array("whole".utf8))
        try folder.write(Array("c".utf8), to: "c")
        #expect(contents().filter { !$0.hasPrefix(".made.") } == [])
        try folder.commit()
        #expect(contents() == ["made", "made/b", "made/c"])
        #expect(FileManager.default.contents(atPath: home.path + "/made/b") == Data("whole".utf8))
    }

    @Test func whatIsNotCommittedGoes() throws {
        do {
            let folder = try StagedFolder.beside(path: home.path + "/made", outside: SourceFolder(opening: source))
            try folder.write([1], to: "a")
            let scratch = try folder.scratch()
            try scratch.write([2])
            #expect(throws: StoreError.self) { try folder.file("a") }
            #expect(contents().count == 2)
        }
        #expect(contents().isEmpty)
    }

    @Test func aPlaceThatWasTakenMeanwhileIsKept() throws {
        let folder = try StagedFolder.beside(path: home.path + "/made", outside: SourceFolder(opening: source))
        try Data("theirs".utf8).write(to: URL(filePath: home.path + "/made"))
        #expect(throws: StoreError.exists(path: home.path + "/made")) { try folder.commit() }
        #expect(FileManager.default.contents(atPath: home.path + "/made") == Data("theirs".utf8))
    }

    @Test(arguments: ["", "/", ".", "..", "source", "source/inner", "source/../source/inner", "missing/made"])
    func otherPlacesAreRefused(_ place: String) throws {
        let source = try SourceFolder(opening: source)
        #expect(throws: StoreError.self) {
            try StagedFolder.beside(path: place.hasPrefix("/") ? place : home.path + "/" + place, outside: source)
        }
        #expect(contents().isEmpty)
    }

    @Test func onlyFilesOfTheFolderAreRead() throws {
        let files = FileManager.default
        try Data("secret".utf8).write(to: URL(filePath: home.path + "/secret"))
        try files.createSymbolicLink(atPath: source + "/inside", withDestinationPath: "a.txt")
        try files.createSymbolicLink(atPath: source + "/outside", withDestinationPath: "../secret")
        try files.createSymbolicLink(atPath: source + "/nowhere", withDestinationPath: "missing")
        try files.createDirectory(atPath: source + "/folder", withIntermediateDirectories: true)
        #expect(unsafe mkfifo(source + "/pipe", 0o600) == 0)
        let folder = try SourceFolder(opening: source)
        let entries = try folder.entries()
        #expect(entries.map(\.name) == ["a.txt", "folder", "inside", "nowhere", "outside", "pipe"])
        #expect(entries.filter { $0.kind == .file(bytes: 4) }.map(\.name) == ["a.txt", "inside"])
        #expect(entries.count { $0.kind == .other } == 4)
        let linked = try folder.file("inside")
        #expect(try linked.next(100) == Array("text".utf8))
        #expect(throws: StoreError.escapes(path: folder.path + "/outside", to: home.path + "/secret")) {
            try lengthOfLink(in: source)
        }
    }

    private func lengthOfLink(in path: String) throws -> Int? {
        let folder = try SourceFolder(opening: path)
        let file = try folder.file("outside")
        return file.length
    }
}
