import Tensors
import Testing

/// Headers of GGUF files: the one that llama.cpp's layout gives, and every way to be wrong.
@Suite("GGUF headers")
struct GGUFParserTests {
    private func parse(
        _ bytes: [UInt8], totalBytes: Int? = nil, limits: ContainerLimits = ContainerLimits()
    ) throws -> GGUFParse {
        try unsafe GGUFParser.parse(bytes.span.bytes, totalBytes: totalBytes, limits: limits)
    }

    private func refusal(_ file: GGUFText, limits: ContainerLimits = ContainerLimits()) -> String? {
        do {
            let bytes = file.bytes
            _ = try parse(bytes, totalBytes: bytes.count, limits: limits)
            return nil
        } catch {
            return (error as? TensorFormatError)?.code
        }
    }

    /// Two tensors of one number each, the second behind padding.
    private var small: GGUFText {
        var file = GGUFText()
        file.add("general.type", kind: 8, GGUFText.string("imatrix"))
        file.add("a", [1], offset: 0)
        file.add("b", [1, 1], offset: 32)
        file.data = [UInt8](repeating: 0, count: 64)
        return file
    }

    /// Tensors that are well placed one behind the other, and end behind all 64-bit offsets.
    private static func addHugeTensors(_ file: inout GGUFText) {
        let bytes = UInt64(1 << 60) - 32
        for index in 0..<9 { file.add("huge.\(index)", [bytes / 4], offset: 64 + UInt64(index) * bytes) }
    }

    @Test("every kind of metadata is read or passed over")
    func metadata() throws {
        var file = small
        file.version = 2
        let cases: [(UInt32, [UInt8], GGUFValue)] = [
            (0, [200], .unsigned(200)), (1, [200], .signed(-56)), (2, [1, 2], .unsigned(513)),
            (3, [0xFF, 0xFF], .signed(-1)), (4, GGUFText.little(UInt32.max), .unsigned(4_294_967_295)),
            (5, GGUFText.little(Int32.min), .signed(-2_147_483_648)),
            (6, GGUFText.little(Float(0.5).bitPattern), .float(0.5)), (7, [1], .bool(true)),
            (8, GGUFText.string("größe"), .string("größe")), (10, GGUFText.little(UInt64.max), .unsigned(.max)),
            (11, GGUFText.little(Int64.min), .signed(.min)), (12, GGUFText.little((-2.25).bitPattern), .float(-2.25)),
            (
                9, GGUFText.little(UInt32(5)) + GGUFText.little(UInt64(2)) + [UInt8](repeating: 7, count: 8),
                .numbers(count: 2)
            ),
            (9, GGUFText.little(UInt32(8)) + GGUFText.little(UInt64(1)) + GGUFText.string("x"), .strings(["x"])),
        ]
        for (index, item) in cases.enumerated() { file.add("key.\(index)", kind: item.0, item.1) }
        guard case .complete(let header) = try parse(file.bytes, totalBytes: file.bytes.count) else {
            Issue.record("the header is whole")
            return
        }
        #expect(header.version == 2)
        #expect(header.value(of: "general.type") == .string("imatrix"))
        for (index, item) in cases.enumerated() { #expect(header.value(of: "key.\(index)") == item.2) }
    }

    @Test("a header is whole only with its last byte, and what is missing is asked for")
    func prefixes() throws {
        let bytes = small.bytes
        guard case .complete(let header) = try parse(bytes) else {
            Issue.record("the header is whole")
            return
        }
        #expect(header.totalBytes == bytes.count)
        #expect(header.entries.map(\.name) == ["a", "b"])
        #expect(header.entries[1].shape == [1, 1])
        #expect(header.entries[1].bytes == 32..<36)
        var end = 0
        while case .needsMore(let wanted) = try parse(Array(bytes.prefix(end)), totalBytes: bytes.count) {
            #expect(wanted > end)
            end = wanted
        }
        #expect(end <= header.dataOffset)
        for count in 0..<end {
            guard case .needsMore = try parse(Array(bytes.prefix(count))) else {
                Issue.record("a header of \(count) bytes passed for whole")
                return
            }
        }
    }

    @Test("what contradicts the format is refused by its name")
    func refusals() throws {
        func changed(_ change: (inout GGUFText) -> Void) -> GGUFText {
            var file = small
            change(&file)
            return file
        }
        let alignments: [UInt32] = [0, 4, 24, 1 << 17]
        let cases: [(String, GGUFText)] = [
            ("gguf.version", changed { $0.version = 1 }), ("gguf.version", changed { $0.version = 4 }),
            ("gguf.version", changed { $0.version = UInt32(3).byteSwapped }),
            ("gguf.too_many_metadata", changed { $0.claimedPairs = .max }),
            ("gguf.too_many_tensors", changed { $0.claimedInfos = 200_001 }),
            ("gguf.header_past_end", changed { ($0.claimedInfos, $0.data) = (3, []) }),
            ("gguf.duplicate_key", changed { $0.add("general.type", kind: 7, [0]) }),
            ("gguf.bool", changed { $0.add("k", kind: 7, [2]) }),
            ("gguf.value_type", changed { $0.add("k", kind: 13, [2]) }),
            (
                "gguf.value_type",
                changed { $0.add("k", kind: 9, GGUFText.little(UInt32(9)) + GGUFText.little(UInt64(0))) }
            ),
            (
                "gguf.too_many_elements",
                changed { $0.add("k", kind: 9, GGUFText.little(UInt32(0)) + GGUFText.little(UInt64.max)) }
            ),
            ("gguf.text_encoding", changed { $0.add("k", kind: 8, GGUFText.little(UInt64(1)) + [0xFF]) }),
            ("gguf.text_too_long", changed { $0.add("k", kind: 8, GGUFText.little(UInt64.max)) }),
            ("gguf.name_too_long", changed { $0.add(String(repeating: "k", count: 4097), kind: 7, [0]) }),
            ("gguf.name_too_long", changed { $0.add(String(repeating: "n", count: 65), [1], offset: 64) }),
            ("gguf.duplicate_name", changed { $0.add("a", [1], offset: 64) }),
            ("gguf.rank_too_large", changed { $0.add("c", [1, 1, 1, 1, 1], offset: 64) }),
            ("gguf.shape_overflow", changed { $0.add("c", [.max], offset: 64) }),
            ("gguf.shape_overflow", changed { $0.add("c", [1 << 32, 1 << 32], offset: 64) }),
            ("gguf.shape_overflow", changed { $0.add("c", [0, 1 << 40, 1 << 40], offset: 64) }),
            ("gguf.data_too_large", changed { Self.addHugeTensors(&$0) }),
            ("gguf.tensor_type", changed { $0.add("c", [32], type: 12, offset: 64) }),
            ("gguf.offset", changed { $0.add("c", [1], offset: 96) }),
            ("gguf.offset", changed { $0.add("c", [1], offset: 32) }),
            ("gguf.offset", changed { $0.add("c", [1], offset: .max) }),
            ("gguf.data_truncated", changed { $0.data.removeLast() }),
            ("gguf.tail_bytes", changed { $0.data.append(0) }),
        ]
        for (code, file) in cases { #expect(refusal(file) == code) }
        for value in alignments {
            #expect(
                refusal(changed { $0.add("general.alignment", kind: 4, GGUFText.little(value)) }) == "gguf.alignment")
        }
        let wrongKind = changed { $0.add("general.alignment", kind: 10, GGUFText.little(UInt64(64))) }
        #expect(refusal(wrongKind) == "gguf.alignment")
    }

    @Test("the alignment that the file names places its data")
    func alignment() throws {
        var file = GGUFText(alignment: 128)
        file.add("general.alignment", kind: 4, GGUFText.little(UInt32(128)))
        file.add("a", [1], offset: 0)
        file.add("b", [1], type: 30, offset: 128)
        file.data = [UInt8](repeating: 0, count: 256)
        #expect(refusal(file) == nil)
    }

    @Test("each limit holds what it allows and refuses one more")
    func limits() throws {
        var limits = ContainerLimits()
        #expect(limits.maxTextBytes == 1 << 20)
        #expect(limits.maxArrayItems == 1 << 20)
        limits.maxTextBytes = 7
        #expect(refusal(small, limits: limits) == nil)
        limits.maxTextBytes = 6
        #expect(refusal(small, limits: limits) == "gguf.text_too_long")
        limits = ContainerLimits()
        (limits.maxTensors, limits.maxMetadataItems) = (2, 1)
        #expect(refusal(small, limits: limits) == nil)
        limits.maxTensors = 1
        #expect(refusal(small, limits: limits) == "gguf.too_many_tensors")
        (limits.maxTensors, limits.maxMetadataItems) = (2, 0)
        #expect(refusal(small, limits: limits) == "gguf.too_many_metadata")
        limits = ContainerLimits()
        limits.maxHeaderBytes = 100
        #expect(refusal(small, limits: limits) == "gguf.header_too_large")
        limits = ContainerLimits()
        limits.maxArrayItems = 1
        var file = small
        file.add("k", kind: 9, GGUFText.little(UInt32(0)) + GGUFText.little(UInt64(2)) + [1, 2])
        #expect(refusal(file, limits: limits) == "gguf.too_many_elements")
    }
}
