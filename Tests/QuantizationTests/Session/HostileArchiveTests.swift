import Tensors
import Testing

@testable import Quantization

/// Archives that lie: each is refused, for what it is.
@Suite struct HostileArchiveTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let code: String
        let archive: @Sendable () -> [UInt8]

        init(_ name: String, _ code: String, _ archive: @escaping @Sendable () -> [UInt8]) {
            self.name = name
            self.code = code
            self.archive = archive
        }

        /// Two good members, then spoilt.
        init(_ name: String, _ code: String, spoil: @escaping @Sendable (inout ForgedArchive) -> Void) {
            self.init(name, code) {
                var archive = good
                spoil(&archive)
                return archive.bytes
            }
        }

        var testDescription: String { name }
    }

    typealias Member = ForgedArchive.Member

    static let weight = Member.array("weight", "<f4", fortran: false, [2, 64], bytes(of: gaussian(128, seed: 1)))
    static let norm = Member.array("norm", "<f4", fortran: false, [4], bytes(of: [1, 2, 3, 4]))
    static let good = ForgedArchive([weight, norm])

    static let directory: [Case] = [
        Case("encrypted", "npz.encrypted") { $0.set(0, local: 6, entry: 8, 1, 2) },
        Case("strongly encrypted", "npz.encrypted") { $0.set(0, local: 6, entry: 8, 1 << 6, 2) },
        Case("masked headers", "npz.encrypted") { $0.set(0, local: 6, entry: 8, 1 << 13, 2) },
        Case("patched data", "npz.directory") { $0.set(0, local: 6, entry: 8, 1 << 5, 2) },
        Case("bzip2", "npz.compression") { $0.set(0, local: 8, entry: 10, 12, 2) },
        Case("zstd", "npz.compression") { $0.set(1, local: 8, entry: 10, 93, 2) },
        Case("stored with two sizes", "npz.size_mismatch") { $0.set(0, local: 18, entry: 20, 600, 4) },
        Case("no entry", "npz.directory") { $0.set($0.entries[1], 0, 4) },
        Case("fewer than there are", "npz.directory") { archive in
            for place in [8, 10] { archive.set(archive.end + place, 1, 2) }
        },
        Case("more than there are", "npz.directory") { archive in
            for place in [8, 10] { archive.set(archive.end + place, 3, 2) }
        },
        Case("an entry beyond the directory", "npz.directory") { $0.set($0.entries[1] + 32, 1, 2) },
        Case("on another disk", "npz.directory") { $0.set($0.entries[0] + 34, 1, 2) },
        Case("wide without the wide number", "npz.directory") { $0.set($0.entries[0] + 24, 0xFFFF_FFFF, 4) },
        Case("too few wide numbers", "npz.directory") { archive in
            archive.insert(extra: [1, 0, 8, 0] + ForgedArchive.number(640, 8), entry: 0)
            archive.set(archive.entries[0] + 20, 0xFFFF_FFFF, 4)
            archive.set(archive.entries[0] + 24, 0xFFFF_FFFF, 4)
        },
        Case("wide beyond 63 bits", "npz.directory") { archive in
            archive.insert(extra: [1, 0, 8, 0] + ForgedArchive.number(.max, 8), entry: 0)
            archive.set(archive.entries[0] + 24, 0xFFFF_FFFF, 4)
        },
        Case("wide twice", "npz.directory") { archive in
            archive.insert(extra: [1, 0, 0, 0, 1, 0, 0, 0], entry: 0)
        },
        Case("half an extra field", "npz.directory") { $0.insert(extra: [2, 0], entry: 0) },
        Case("an extra field that ends later", "npz.directory") { $0.insert(extra: [2, 0, 9, 0, 1], entry: 1) },
        Case("offset beyond the directory", "npz.directory") { $0.set($0.entries[1] + 42, 1 << 20, 4) },
        Case("two names", "npz.duplicate_name") { ForgedArchive([weight, norm, weight]).bytes },
    ]

    static let places: [Case] = [
        Case("two entries for one member", "npz.overlap") { $0.set($0.entries[1] + 42, 0, 4) },
        Case("data that reaches into the next", "npz.overlap") { archive in
            for place in [20, 24] { archive.set(archive.entries[0] + place, 1000, 4) }
        },
        Case("a header that reaches into the next", "npz.overlap") { $0.set($0.locals[0] + 28, 0xFFFF, 2) },
        Case("an offset inside of the first", "npz.overlap") { $0.set($0.entries[1] + 42, 100, 4) },
        Case("bytes before the first", "npz.hole") { ForgedArchive([weight], gap: 7).magicInFront },
        Case("bytes between", "npz.hole") {
            // The first begins at 0, the second after a gap.
            let archive = ForgedArchive([weight, norm], gap: 5)
            return archive.shifted(by: -5)
        },
        Case("bytes behind the last", "npz.hole") { archive in
            archive.insert(hole: 9)
        },
        Case("bytes behind the archive", "npz.end_record") { good.bytes + [0] },
        Case("another archive behind", "npz.directory_place") { good.bytes + ForgedArchive([norm]).bytes },
        Case("a comment", "npz.end_record") { archive in
            archive.set(archive.end + 20, 5, 2)
        },
        Case("a comment that is there", "npz.end_record") {
            var archive = good
            archive.set(archive.end + 20, 5, 2)
            return archive.bytes + Array("hello".utf8)
        },
        Case("a directory elsewhere", "npz.directory_place") { $0.set($0.end + 16, 0, 4) },
        Case("a longer directory", "npz.directory_place") { $0.set($0.end + 12, 1 << 20, 4) },
        Case("a second disk", "npz.multi_disk") { $0.set($0.end + 4, 1, 2) },
        Case("entries on other disks", "npz.multi_disk") { $0.set($0.end + 8, 1, 2) },
        Case("a locator of nothing", "npz.end_record") {
            var archive = good
            let locator = ForgedArchive.number(0x0706_4B50, 4) + [UInt8](repeating: 0, count: 16)
            archive.insert(beforeEnd: locator)
            return archive.bytes
        },
        Case("an end record alone", "npz.end_record") { Array("PK".utf8) + [3, 4] + [UInt8](repeating: 0, count: 40) },
        Case("nothing but the magic", "npz.end_record") { Array("PK".utf8) + [3, 4] },
        Case("empty", "container.unknown") { ForgedArchive([]).bytes },
    ]

    static let local: [Case] = [
        Case("another name", "npz.local_header") { $0.set($0.locals[0] + 30, 0x58, 1) },
        Case("a shorter name", "npz.local_header") { archive in
            archive.set(archive.locals[0] + 26, 8, 2)
            archive.set(archive.locals[0] + 28, 2, 2)
        },
        Case("other flags", "npz.local_header") { $0.set($0.locals[0] + 6, 1 << 11, 2) },
        Case("another method", "npz.local_header") { $0.set($0.locals[0] + 8, 8, 2) },
        Case("another CRC", "npz.local_header") { $0.set($0.locals[0] + 14, 1, 4) },
        Case("another size", "npz.local_header") { $0.set($0.locals[0] + 22, 641, 4) },
        Case("another stored size", "npz.local_header") { $0.set($0.locals[1] + 18, 1, 4) },
        Case("wide without the wide number", "npz.local_header") { $0.set($0.locals[0] + 22, 0xFFFF_FFFF, 4) },
        Case("no member", "npz.local_header") { $0.set($0.locals[1], 0, 4) },
        Case("no descriptor", "npz.hole") { $0.set(0, local: 6, entry: 8, 1 << 3, 2) },
        Case("a changed weight", "npz.crc_mismatch") { $0.set($0.locals[1] - 4, 0, 4) },
        Case("another CRC in both", "npz.crc_mismatch") { $0.set(0, local: 14, entry: 16, 1, 4) },
        Case("stored, called deflated", "npz.crc_mismatch") { $0.set(0, local: 8, entry: 10, 8, 2) },
    ]

    static let arrays: [Case] =
        [
            "../x.npy", "a/../x.npy", "/x.npy", "a//x.npy", "a/./x.npy", "a\\x.npy", ".npy", "x.txt", "x.npy/", "x",
            "a\u{0}.npy", "a\n.npy", "__metadata__.npy", "archive/data.pkl", "", "a/.npy/b",
        ].map { name in
            Case("called \(name.debugDescription)", "npz.member_name") {
                ForgedArchive([weight, Member(name, [])]).bytes
            }
        } + [
            Case("a name that is not UTF-8", "npz.member_name") {
                var member = norm
                member.name = [0xFF] + Array(".npy".utf8)
                member.flags = 1 << 11
                return ForgedArchive([weight, member]).bytes
            },
            Case("a name beyond ASCII and not marked", "npz.member_name") {
                ForgedArchive([weight, Member("é.npy", norm.data)]).bytes
            },
            Case("no array", "npz.not_an_array") {
                ForgedArchive([weight, Member("x.npy", Array("hello, world".utf8))]).bytes
            },
            Case("nothing", "npz.not_an_array") { ForgedArchive([weight, Member("x.npy", [])]).bytes },
            Case("half a magic", "npz.not_an_array") { ForgedArchive([weight, Member("x.npy", [0x93, 0x4E])]).bytes },
            Case("an archive", "npz.not_an_array") { ForgedArchive([Member("x.npy", good.bytes)]).bytes },
            Case("less than the header", "npy.header_past_end") {
                ForgedArchive([weight, Member("x.npy", Array(norm.data[..<60]))]).bytes
            },
            Case("less than the shape", "npy.data_truncated") {
                ForgedArchive([weight, Member("x.npy", norm.data.dropLast())]).bytes
            },
            Case("more than the shape", "npy.tail_bytes") {
                ForgedArchive([weight, Member("x.npy", norm.data + [0])]).bytes
            },
            Case("objects", "npy.object_type") {
                ForgedArchive([weight, Member.array("x", "|O", fortran: false, [1], [])]).bytes
            },
            Case("three dimensions by columns", "npz.fortran_rank") {
                ForgedArchive([
                    weight, Member.array("x", "<f4", fortran: true, [2, 2, 2], [UInt8](repeating: 0, count: 32)),
                ])
                .bytes
            },
        ]

    @Test(arguments: directory + places + local + arrays)
    func eachIsRefused(_ bad: Case) throws {
        let archive = bad.archive()
        for declared in [true, false] {
            do {
                _ = try SessionRun(archive, [("method", "nf4")], pieceBytes: 301, declared: declared)
                Issue.record("\(bad.name) is accepted")
            } catch QuantizationError.container(let error) {
                #expect(error.code == bad.code, "\(error)")
                #expect(!error.detail.isEmpty)
            } catch {
                Issue.record("\(bad.name): \(error)")
            }
        }
    }

    @Test func theGoodOneIsAccepted() throws {
        #expect(try SessionRun(Self.good.bytes, [("method", "nf4")]).tensors()["norm"] == bytes(of: [1, 2, 3, 4]))
    }

    private func code(_ limits: SessionLimits, _ archive: [UInt8] = good.bytes) -> String? {
        do {
            _ = try SessionRun(archive, [("method", "nf4")], limits: limits)
            return nil
        } catch QuantizationError.container(let error) {
            return error.code
        } catch {
            return "\(error)"
        }
    }

    @Test func everyLimitHolds() {
        func refusal(_ set: (inout ContainerLimits) -> Void) -> String? {
            var limits = SessionLimits()
            set(&limits.container)
            return code(limits)
        }
        let (weight, norm) = (Self.weight.data.count, Self.norm.data.count)
        let directory = Self.good.end - Self.good.entries[0]
        #expect(refusal { $0.maxMembers = 2 } == nil)
        #expect(refusal { $0.maxMembers = 1 } == "npz.too_many_members")
        #expect(refusal { $0.maxDirectoryBytes = directory } == nil)
        #expect(refusal { $0.maxDirectoryBytes = directory - 1 } == "npz.directory_too_large")
        #expect(refusal { $0.maxNameBytes = 10 } == nil)
        #expect(refusal { $0.maxNameBytes = 9 } == "npz.name_too_long")
        #expect(refusal { $0.maxMemberBytes = weight } == nil)
        #expect(refusal { $0.maxMemberBytes = weight - 1 } == "npz.member_too_large")
        #expect(refusal { $0.maxInflatedBytes = weight + norm } == nil)
        #expect(refusal { $0.maxInflatedBytes = weight + norm - 1 } == "npz.inflated_too_large")
        #expect(refusal { $0.maxNumpyHeaderBytes = 117 } == "npy.header_too_large")
    }

    /// 4 MiB of zeros deflate a thousandfold.
    @Test func aBombIsRefusedByItsDirectory() throws {
        let bomb = try FP8SessionTests.fixture("bomb.npz")
        #expect(code(SessionLimits(), bomb) == "npz.ratio_too_large")
        var limits = SessionLimits()
        limits.container.maxInflateRatio = 2000
        #expect(code(limits, bomb) == nil)
        limits.container.maxInflateRatio = 200
        limits.container.inflateRatioFloor = 5 << 20
        #expect(code(limits, bomb) == nil)
    }

    @Test(arguments: [true, false])
    func theArchiveItselfIsLimited(_ declared: Bool) throws {
        var limits = SessionLimits()
        #expect(limits.maximumArchiveBytes == 1 << 40)
        limits.maximumArchiveBytes = Self.good.bytes.count
        _ = try SessionRun(Self.good.bytes, [("method", "nf4")], limits: limits, declared: declared)
        limits.maximumArchiveBytes -= 1
        do {
            _ = try SessionRun(
                Self.good.bytes, [("method", "nf4")], pieceBytes: 100, limits: limits, declared: declared)
            Issue.record("a limit is not held")
        } catch QuantizationError.limit(let name, _, let limit, _) {
            #expect(name == "archive_bytes" && limit == Self.good.bytes.count - 1)
        }
    }

    /// Room is asked for before it is used: all of a known length at once, steps of an unknown one.
    @Test(arguments: [true, false])
    func roomIsReservedBeforeItIsUsed(_ declared: Bool) throws {
        let input = Self.good.bytes
        let storage = MemoryStorage()
        var asked: [Int] = []
        let intake = ArchiveIntake(
            codec: ZlibCodec(), declaredBytes: declared ? input.count : nil,
            openScratch: { () throws(StorageFailure) in storage },
            reserve: { (bytes) throws(QuantizationError) in
                #expect(storage.bytes.isEmpty)
                asked.append(bytes)
            })
        try unsafe intake.consume(input.span.bytes, for: [])
        #expect(asked == [declared ? input.count : 64 << 20])
        let full = ArchiveIntake(
            codec: ZlibCodec(), declaredBytes: nil, openScratch: { () throws(StorageFailure) in FullStorage() })
        #expect(throws: QuantizationError.storage(StorageFailure(operation: "write", code: 28))) {
            try unsafe full.consume(input.span.bytes, for: [])
        }
    }

    @Test func theMemoryOfManyMembersIsCounted() throws {
        let archive = ForgedArchive(
            [Self.weight] + (0..<1100).map { Member.array("a\($0)", "<f4", fortran: false, [0], []) })
        func run(_ memory: MemoryBudget) throws {
            let session = try QuantizingSession(
                recipe: Recipe(options: [RecipeOption("method", "nf4")]), declaration: .recognise, declaredBytes: nil,
                engine: "viva test", output: MemoryStorage(), scratch: MemoryStorage(), memory: memory)
            let intake = ArchiveIntake(
                codec: ZlibCodec(), declaredBytes: nil, memory: memory,
                openScratch: { () throws(StorageFailure) in MemoryStorage() })
            try unsafe intake.consume(archive.bytes.span.bytes, for: [session])
            try intake.finish(for: [session])
            _ = try session.finish(inputDigest: SessionRun.digest)
        }
        let budget = MemoryBudget(bytes: 5 << 20)
        try run(budget)
        #expect(budget.takenBytes == 0)
        #expect(throws: QuantizationError.self) { try run(MemoryBudget(bytes: 4 << 20)) }
    }
}

extension ForgedArchive {
    /// The archive with the magic at its start, where the gap is.
    var magicInFront: [UInt8] { Array("PK".utf8) + [3, 4] + bytes.dropFirst(4) }

    /// The archive without its first bytes, every offset moved.
    func shifted(by distance: Int) -> [UInt8] {
        var moved = self
        for (entry, local) in zip(entries, locals) { moved.set(entry + 42, UInt64(local + distance), 4) }
        moved.set(end + 16, UInt64(entries[0] + distance), 4)
        return Array(moved.bytes.dropFirst(-distance))
    }

    /// Puts bytes of nothing before the directory.
    mutating func insert(hole count: Int) {
        set(end + 16, UInt64(entries[0] + count), 4)
        insert([UInt8](repeating: 0, count: count), at: entries[0])
    }

    /// Puts bytes before the end record.
    mutating func insert(beforeEnd added: [UInt8]) { insert(added, at: end) }
}
