import ArtifactStore
import Foundation
import OpenSSL
import Testing

/// Inputs, by the digest of their bytes.
@Suite struct InputTests {
    private let home: TemporaryFolder
    private let store: ArtifactStore
    /// SHA-256 of the bytes 1, 2, 3 (`printf '\1\2\3' | sha256sum`).
    private let hex = "039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81"

    init() throws {
        home = try TemporaryFolder()
        store = try ArtifactStore(folder: home.path + "/data")
    }

    @Test(arguments: [false, true]) func publishedItIsReadBack(fromWork: Bool) throws {
        let staged = try fromWork ? store.stage(store.createWork("upload")) : store.stage()
        try staged.content.write([1, 2, 3], at: 0)
        try store.publishInput(staged, as: hex)
        let input = try store.openInput(hex)
        #expect(input.length == 3)
        #expect(try input.bytes() == [1, 2, 3])
        #expect(try input.digest().hex == hex)
        #expect(try store.identifiers(of: .input) == [hex])
        let files = home.contents().filter { $0.hasPrefix("data/inputs/") || $0.hasPrefix("data/staging/") }
        #expect(files == ["data/inputs/\(hex)", "data/inputs/\(hex)/content"])
        #expect(try store.identifiers(of: .work) == (fromWork ? ["upload"] : []))
    }

    @Test func theOlderOneStays() throws {
        for byte in UInt8(1)...2 {
            let staged = try store.stage()
            try staged.content.write([byte], at: 0)
            try store.publishInput(staged, as: hex)
        }
        #expect(try store.openInput(hex).bytes() == [1])
        #expect(try store.identifiers(of: .staged) == [])
    }

    @Test func removedItIsGoneButForThoseWhoReadIt() throws {
        let staged = try store.stage()
        try staged.content.write([1, 2, 3], at: 0)
        try store.publishInput(staged, as: hex)
        let input = try store.openInput(hex)
        try store.remove(.input, hex)
        #expect(try input.bytes() == [1, 2, 3])
        #expect(throws: StoreError.notFound(hex)) { _ = try store.openInput(hex).length }
        #expect(throws: StoreError.notFound(hex)) { try store.remove(.input, hex) }
    }

    @Test(arguments: [
        "", "abc", String(repeating: "0", count: 63), String(repeating: "0", count: 65),
        String(repeating: "A", count: 64), String(repeating: "g", count: 64), "../" + String(repeating: "0", count: 61),
    ])
    func otherNamesAreRefused(name: String) throws {
        let staged = try store.stage()
        let expected = StoreError.invalidIdentifier(name)
        #expect(throws: expected) { try store.publishInput(staged, as: name) }
        #expect(throws: expected) { _ = try store.openInput(name).length }
        #expect(throws: expected) { try store.remove(.input, name) }
        #expect(throws: expected) { _ = try store.quarantine(.input, name) }
        #expect(throws: expected) { _ = try store.allocatedBytes(of: .input, name) }
    }

    @Test func aDigestIsThatOfWhatLiesThereNow() throws {
        let staged = try store.stage()
        try staged.content.write([1, 2, 3], at: 0)
        try store.publishInput(staged, as: hex)
        try Data([1, 2, 4]).write(to: URL(filePath: home.path + "/data/inputs/\(hex)/content"))
        #expect(try store.openInput(hex).digest().hex != hex)
    }
}
