import Tensors
import Testing

/// Directories of archives, without their data; whole archives are tested where sessions read them.
struct ZipArchiveTests {
    private func members(_ archive: [UInt8], limits: ContainerLimits = ContainerLimits()) throws -> [ZipMember] {
        let tail = Array(archive.suffix(ZipArchive.tailBytes))
        let zip = try unsafe ZipArchive(tail: tail.span.bytes, totalBytes: archive.count, limits: limits)
        let directory = Array(archive[zip.directory])
        return try unsafe zip.members(in: directory.span.bytes, limits: limits)
    }

    /// What Python's zipfile lists for the same files.
    @Test(arguments: ["stored.npz", "deflated.npz", "zip64.npz", "streamed_stored.npz", "streamed_deflated.npz"])
    func theDirectoryIsThatOfZipfile(_ name: String) throws {
        let archive = try Fixtures.bytes(of: "inputs/\(name)")
        let begins = unsafe ZipArchive.begins(archive.span.bytes)
        #expect(begins)
        let members = try members(archive)
        #expect(
            members.map(\.name) == ["layer.0/q.weight", "layer.0/k.weight", "größe.weight", "norm", "steps", "empty"])
        #expect(members.map(\.bytes) == [6272, 4224, 8320, 384, 176, 128])
        #expect(members.allSatisfy { $0.isDeflated == name.contains("deflated") })
        #expect(members.first?.extent.lowerBound == 0)
        for (member, next) in zip(members, members.dropFirst()) {
            #expect(member.extent.upperBound == next.extent.lowerBound)
        }
        for member in members {
            let local = Array(archive[member.extent])
            let headerBytes = try unsafe member.localHeaderBytes(fixed: local.span.bytes)
            try unsafe member.check(local: local.span.extracting(first: headerBytes).bytes)
            let descriptor = member.descriptor(localHeaderBytes: headerBytes)
            #expect((descriptor != nil) == name.contains("streamed"))
            if let descriptor { try unsafe member.check(descriptor: archive.span.extracting(descriptor).bytes) }
        }
    }

    @Test func noNoiseTraps() {
        var generator = SeededGenerator(state: 5)
        let end: [UInt8] = [0x50, 0x4B, 5, 6, 0, 0, 0, 0, 1, 0, 1, 0]
        for _ in 0..<20_000 {
            // A directory of noise behind the right signature, found by a right end record.
            let count = Int.random(in: 46...150, using: &generator)
            var directory = (0..<count).map { _ in
                Bool.random(using: &generator) ? 0 : UInt8.random(in: 0...255, using: &generator)
            }
            directory.replaceSubrange(0..<4, with: [0x50, 0x4B, 1, 2])
            if Bool.random(using: &generator) { directory.replaceSubrange(28..<34, with: [5, 0, 0, 0, 0, 0]) }
            let data = [UInt8](repeating: 0, count: Int.random(in: 0...100, using: &generator))
            let place = [UInt8(count), 0, 0, 0, UInt8(data.count), 0, 0, 0, 0, 0]
            _ = try? members(data + directory + end + place)
            let tail = (0..<Int.random(in: 0...98, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            _ = try? members(tail)
        }
    }
}
