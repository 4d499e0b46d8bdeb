import Catalogue
import Foundation
import Testing

@Suite struct CatalogueTests {
    let folder: TemporaryFolder
    let path: String
    let catalogue: Catalogue

    init() throws {
        folder = try TemporaryFolder()
        path = folder.path + "/catalogue.sqlite"
        catalogue = try Catalogue(path: path)
    }

    @Test func aRecordComesBackAsItWas() throws {
        let record = record("a", name: nil)
        #expect(try catalogue.insert(record))
        #expect(try catalogue.artifact("a", owner: "ann") == record)
    }

    @Test(arguments: [
        "", "'; DROP TABLE artifacts; --", "\"", "naïve 模型 🧊", "a\0b", "line\nbreak",
        String(repeating: "x", count: 70_000),
    ])
    func anyTextSurvives(text: String) throws {
        let record = record("a", owner: text, name: text, manifest: text)
        #expect(try catalogue.insert(record))
        #expect(try catalogue.artifact("a", owner: text) == record)
        #expect(try catalogue.artifacts(owner: text, after: nil, limit: 5, method: nil, name: text).items == [record])
        #expect(try catalogue.totals().count == 1)
    }

    @Test func extremeNumbersSurvive() throws {
        let record = record("a", bytes: .max, createdAt: .min)
        #expect(try catalogue.insert(record))
        #expect(try catalogue.artifact("a", owner: "ann") == record)
    }

    @Test func aTakenIdentifierChangesNothing() throws {
        let first = record("a", bytes: 10)
        #expect(try catalogue.insert(first))
        #expect(try !catalogue.insert(record("a", bytes: 99)))
        #expect(try !catalogue.insert(record("a", owner: "bob")))
        #expect(try catalogue.artifact("a", owner: "ann") == first)
        #expect(try catalogue.totals() == (1, 10))
    }

    @Test func severalRecordsComeTogetherOrNotAtAll() throws {
        #expect(try catalogue.insert(record("b")))
        #expect(try catalogue.insert([record("a"), record("b"), record("c")]) == [true, false, true])
        #expect(try catalogue.totals().count == 3)
    }

    @Test func ownersSeeOnlyTheirOwn() throws {
        #expect(try catalogue.insert(record("a", owner: "ann")))
        #expect(try catalogue.insert(record("b", owner: "bob")))
        #expect(try catalogue.artifact("b", owner: "ann") == nil)
        #expect(try !catalogue.remove("b", owner: "ann"))
        #expect(try ids(owner: "ann") == ["a"])
        #expect(try catalogue.contains("b"))
        #expect(try !catalogue.contains("c"))
    }

    @Test func artifactsOfOneInputAreNewestFirstAndTheOwners() throws {
        for number in 0..<5 {
            #expect(try catalogue.insert(record("a\(number)", createdAt: Int64(number), input: "sha256:aa")))
        }
        #expect(try catalogue.insert(record("b", owner: "bob", input: "sha256:aa")))
        #expect(try catalogue.insert(record("c", input: "sha256:cc")))
        func ids(_ digest: String, _ limit: Int) throws -> [String] {
            try catalogue.artifacts(owner: "ann", ofInput: digest, limit: limit).map(\.id)
        }
        #expect(try ids("sha256:aa", 100) == ["a4", "a3", "a2", "a1", "a0"])
        #expect(try ids("sha256:aa", 2) == ["a4", "a3"])
        #expect(try ids("sha256:cc", 0) == ["c"])
        #expect(try ids("sha256:dd", 9).isEmpty)
    }

    @Test func removalTakesTheRowAndItsBytes() throws {
        #expect(try catalogue.insert(record("a", bytes: 10)))
        #expect(try catalogue.insert(record("b", bytes: 5)))
        #expect(try catalogue.totals() == (2, 15))
        #expect(try catalogue.remove("a", owner: "ann"))
        #expect(try !catalogue.remove("a", owner: "ann"))
        #expect(try catalogue.artifact("a", owner: "ann") == nil)
        #expect(try catalogue.totals() == (1, 5))
    }

    /// The oracle is a plain sort of what was inserted; equal times are told apart by the identifier.
    @Test(arguments: [1, 2, 3, 7, 100]) func pagesAreTheSortedListInPieces(limit: Int) throws {
        var expected: [(Int64, String)] = []
        for number in 0..<23 {
            let (time, id) = (Int64(number % 5), "id\((number * 7) % 23)")
            expected.append((time, id))
            #expect(try catalogue.insert(record(id, createdAt: time)))
            #expect(try catalogue.insert(record("other-\(number)", owner: "bob", createdAt: time)))
        }
        expected.sort { $0 > $1 }
        var (seen, cursor): ([String], String?) = ([], nil)
        repeat {
            let page = try catalogue.artifacts(owner: "ann", after: cursor, limit: limit, method: nil, name: nil)
            #expect(page.items.count == limit || page.next == nil)
            seen += page.items.map(\.id)
            cursor = page.next
        } while cursor != nil
        #expect(seen == expected.map(\.1))
    }

    @Test func aCursorStaysValidWhileRowsComeAndGo() throws {
        for number in Int64(1)...6 { #expect(try catalogue.insert(record("t\(number)", createdAt: number))) }
        let first = try catalogue.artifacts(owner: "ann", after: nil, limit: 3, method: nil, name: nil)
        #expect(first.items.map(\.id) == ["t6", "t5", "t4"])
        #expect(try catalogue.insert(record("newer", createdAt: 7)))
        #expect(try catalogue.remove("t4", owner: "ann"))
        #expect(try catalogue.remove("t2", owner: "ann"))
        let second = try catalogue.artifacts(owner: "ann", after: first.next, limit: 3, method: nil, name: nil)
        #expect(second.items.map(\.id) == ["t3", "t1"])
        #expect(second.next == nil)
    }

    @Test func aFullLastPageHasNoNext() throws {
        for number in Int64(1)...4 { #expect(try catalogue.insert(record("t\(number)", createdAt: number))) }
        #expect(try catalogue.artifacts(owner: "ann", after: nil, limit: 4, method: nil, name: nil).next == nil)
    }

    @Test func filtersNarrow() throws {
        #expect(try catalogue.insert(record("a", name: "x", method: "nf4", createdAt: 1)))
        #expect(try catalogue.insert(record("b", name: "x", method: "int8", createdAt: 2)))
        #expect(try catalogue.insert(record("c", name: "y", method: "nf4", createdAt: 3)))
        #expect(try catalogue.insert(record("d", name: nil, method: "nf4", createdAt: 4)))
        #expect(try ids(method: "nf4") == ["d", "c", "a"])
        #expect(try ids(name: "x") == ["b", "a"])
        #expect(try ids(method: "nf4", name: "x") == ["a"])
        #expect(try ids(method: "awq") == [])
        let page = try catalogue.artifacts(owner: "ann", after: nil, limit: 2, method: "nf4", name: nil)
        let rest = try catalogue.artifacts(owner: "ann", after: page.next, limit: 2, method: "nf4", name: nil)
        #expect(rest.items.map(\.id) == ["a"])
    }

    @Test(arguments: [0, -5, Int.min]) func aSenselessLimitStillAnswersOneRow(limit: Int) throws {
        for number in Int64(1)...2 { #expect(try catalogue.insert(record("t\(number)", createdAt: number))) }
        let page = try catalogue.artifacts(owner: "ann", after: nil, limit: limit, method: nil, name: nil)
        #expect(page.items.count == 1)
        #expect(page.next != nil)
    }

    @Test func aPageIsBounded() throws {
        for number in 0...Int64(Catalogue.maximumPageSize) {
            #expect(try catalogue.insert(record("t\(number)", createdAt: number)))
        }
        let page = try catalogue.artifacts(owner: "ann", after: nil, limit: .max, method: nil, name: nil)
        #expect(page.items.count == Catalogue.maximumPageSize)
        #expect(page.next != nil)
    }

    /// Some manifests have millions of bytes: a page ends with the one that fills it, and the next one goes on behind.
    @Test func aPageOfLargeManifestsIsShort() throws {
        let large = String(repeating: "m", count: Catalogue.maximumPageBytes / 2)
        for number in Int64(1)...9 {
            #expect(try catalogue.insert(record("t\(number)", manifest: large, createdAt: number)))
        }
        var (seen, sizes, cursor): ([String], [Int], String?) = ([], [], nil)
        repeat {
            let page = try catalogue.artifacts(owner: "ann", after: cursor, limit: 100, method: nil, name: nil)
            seen += page.items.map(\.id)
            sizes.append(page.items.count)
            cursor = page.next
        } while cursor != nil
        #expect(seen == (1...9).reversed().map { "t\($0)" })
        #expect(sizes.allSatisfy { (1...3).contains($0) }, "\(sizes)")
        #expect(try catalogue.artifacts(owner: "ann", ofInput: "sha256:00", limit: 100).count <= 4)
    }

    @Test(arguments: ["", "0", "zz", "3a61", "313a", "2b313a61", "30313a61", "ffff", "' OR 1=1", "31"])
    func aForeignCursorIsRefused(cursor: String) {
        #expect(throws: CatalogueError.invalidCursor(cursor)) {
            _ = try catalogue.artifacts(owner: "ann", after: cursor, limit: 1, method: nil, name: nil)
        }
    }

    @Test func writersAndReadersAtOnce() async throws {
        let catalogue = catalogue
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<8 {
                group.addTask {
                    for number in 0..<25 {
                        // Every identifier is tried by two writers.
                        _ = try catalogue.insert(record("\(writer / 2)-\(number)", bytes: 1))
                        _ = try catalogue.artifacts(owner: "ann", after: nil, limit: 10, method: nil, name: nil)
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try catalogue.totals() == (100, 100))
        try catalogue.check()
    }

    private func ids(owner: String = "ann", method: String? = nil, name: String? = nil) throws -> [String] {
        try catalogue.artifacts(owner: owner, after: nil, limit: 100, method: method, name: name).items.map(\.id)
    }
}

func record(
    _ id: String, owner: String = "ann", name: String? = "weights", method: String = "nf4", bytes: Int = 1_234,
    manifest: String = #"{"id":"a"}"#, createdAt: Int64 = 1_763_852_400_000, input: String = "sha256:00"
) -> ArtifactRecord {
    ArtifactRecord(
        id: id, owner: owner, name: name, method: method, format: "bitsandbytes", mode: "best",
        inputDigest: input, inputBytes: 9_876, bytes: bytes, digest: "sha256:11", manifest: manifest,
        createdAt: createdAt)
}

extension Catalogue {
    /// Adds one artifact; false when the identifier exists already.
    func insert(_ record: ArtifactRecord) throws -> Bool { try insert([record]) == [true] }
}
