import ArtifactStore
import Foundation
import OpenSSL
import Testing

/// What gc and fsck see of the files, and what they do with them.
@Suite struct StocktakingTests {
    private let home: TemporaryFolder
    private let store: ArtifactStore

    init() throws {
        home = try TemporaryFolder()
        store = try ArtifactStore(folder: home.path + "/data")
    }

    private func publish(_ id: String, _ bytes: [UInt8]) throws {
        let staged = try store.stage()
        try staged.content.write(bytes, at: 0)
        try store.publish(staged, report: [1], as: id)
    }

    @Test func everyKindIsListedAndRemoved() throws {
        let hex = String(repeating: "a", count: 64)
        try publish("b", [1])
        try publish("a", [1])
        try store.publishInput(store.stage(), as: hex)
        _ = try store.createWork("w")
        let staged = try store.stage()
        try staged.content.write([1], at: 0)
        try publish("bad", [1])
        let quarantined = try store.quarantine(.artifact, "bad")
        // What nobody but a person can have put there is left alone.
        try Data().write(to: URL(filePath: home.path + "/data/inputs/READ.ME"))
        #expect(try store.identifiers(of: .artifact) == ["a", "b"])
        #expect(try store.identifiers(of: .input) == [hex])
        #expect(try store.identifiers(of: .work) == ["w"])
        #expect(try store.identifiers(of: .staged).count == 1)
        #expect(try store.identifiers(of: .quarantined) == [quarantined])
        for kind in StoredKind.allCases {
            for id in try store.identifiers(of: kind) { try store.remove(kind, id) }
            #expect(try store.identifiers(of: kind) == [])
        }
        #expect(throws: StoreError.self) { try store.publish(staged, report: [], as: "late") }
    }

    /// The oracle is du(1).
    @Test func bytesAreThoseOfTheDisk() throws {
        try publish("x", [UInt8](repeating: 7, count: 1_000_000))
        let sparse = try store.createWork("sparse")
        try sparse.content.write([1], at: 50_000_000)
        for (kind, id, path) in [(StoredKind.artifact, "x", "artifacts/x"), (.work, "sparse", "work/sparse")] {
            let du = try run("du", "-s", "--block-size=1", home.path + "/data/" + path)
            #expect(try store.allocatedBytes(of: kind, id) == Int(du.prefix { $0 != "\t" }))
        }
        #expect(try store.allocatedBytes(of: .artifact, "x") >= 1_000_000)
        #expect(try store.allocatedBytes(of: .work, "sparse") < 1_000_000)
        #expect(throws: StoreError.notFound("y")) { _ = try store.allocatedBytes(of: .artifact, "y") }
    }

    @Test func whatFailsItsCheckIsKeptAside() throws {
        for number in 1...3 {
            try publish("x", [UInt8(number)])
            #expect(try store.quarantine(.artifact, "x") == "artifact-x-\(number)")
            #expect(throws: StoreError.notFound("x")) { _ = try store.open("x", .content).length }
            let kept = home.path + "/data/quarantine/artifact-x-\(number)"
            #expect(FileManager.default.contents(atPath: kept + "/content") == Data([UInt8(number)]))
            #expect(FileManager.default.contents(atPath: kept + "/report.json") == Data([1]))
        }
        #expect(throws: StoreError.notFound("x")) { _ = try store.quarantine(.artifact, "x") }
    }

    @Test func inputsAreKeptAsideToo() throws {
        let hex = String(repeating: "0", count: 64)
        try store.publishInput(store.stage(), as: hex)
        #expect(try store.quarantine(.input, hex) == "input-\(hex)-1")
        #expect(try store.identifiers(of: .input) == [])
    }

    /// Damage can put a file in a folder's place: it replaces nothing that was kept before, nor stands in its way.
    @Test func whatIsKeptAsideIsNeverReplaced() throws {
        let artifact = home.path + "/data/artifacts/x"
        let kept = home.path + "/data/quarantine/artifact-x-"
        for number in 1...3 {
            try Data([UInt8(number)]).write(to: URL(filePath: artifact))
            #expect(try store.quarantine(.artifact, "x") == "artifact-x-\(2 * number - 1)")
            try publish("x", [UInt8(number)])
            #expect(try store.quarantine(.artifact, "x") == "artifact-x-\(2 * number)")
        }
        for number in 1...3 {
            #expect(FileManager.default.contents(atPath: kept + "\(2 * number - 1)") == Data([UInt8(number)]))
            #expect(FileManager.default.contents(atPath: kept + "\(2 * number)/content") == Data([UInt8(number)]))
        }
    }

    @Test func theDigestOfAnArtifactIsThatOfItsContent() throws {
        try publish("x", Array("abc".utf8))
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        #expect(try store.open("x", .content).digest().hex == abc)
    }
}

/// What a program of the system prints.
func run(_ arguments: String...) throws -> String {
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = arguments
    process.standardOutput = output
    try process.run()
    let text = try output.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    return String(decoding: text, as: UTF8.self)
}
