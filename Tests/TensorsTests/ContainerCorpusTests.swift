import Foundation
import Tensors
import Testing

/// The corpus of good and malformed files: verdicts of its index, codes of this module.
struct ContainerCorpusTests {
    @Test func corpusIsThere() {
        #expect(Fixtures.containers.count { $0.format == "safetensors" } >= 69)
        #expect(Fixtures.containers.count { $0.format == "npy" } >= 39)
    }

    @Test(arguments: Fixtures.containers)
    func strictVerdict(_ file: ContainerCase) throws {
        let bytes = try file.bytes
        let error = refusal(of: bytes)
        switch file.strict {
        case "accept": #expect(error == nil)
        case "refuse": #expect(error != nil)
        default: #expect(file.strict == "either")
        }
        if let error {
            #expect(error.detail.isEmpty == false)
            #expect(error.code == Self.codes[file.file])
            if let offset = error.offset { #expect((0...bytes.count).contains(offset)) }
        } else {
            #expect(Self.codes[file.file] == nil)
            let description = try parse(bytes)
            expectSound(description)
            #expect(description.totalBytes == bytes.count)
            #expect(description.container.rawValue == file.format)
        }
    }

    @Test(arguments: Fixtures.goodContainers)
    func everyPrefixAsksForMore(_ file: ContainerCase) throws {
        let bytes = try file.bytes
        let dataOffset = try parse(bytes).dataOffset
        for totalBytes in [nil, bytes.count] {
            for length in 0..<dataOffset {
                guard case .needsMore(let wanted) = try parse(prefix: bytes[..<length], totalBytes: totalBytes) else {
                    Issue.record("\(length) bytes are not the whole header")
                    continue
                }
                #expect(length < wanted && wanted <= dataOffset)
            }
            for length in dataOffset...bytes.count {
                let parsed = try parse(prefix: bytes[..<length], totalBytes: totalBytes)
                #expect(parsed == .complete(try parse(bytes)))
            }
        }
    }

    @Test(arguments: Fixtures.goodContainers)
    func everyTruncationIsRefused(_ file: ContainerCase) throws {
        let bytes = try file.bytes
        for length in 0..<bytes.count {
            #expect(refusal(of: Array(bytes[..<length])) != nil)
        }
    }

    @Test(arguments: Fixtures.goodContainers)
    func oneByteTooManyIsRefused(_ file: ContainerCase) throws {
        let error = refusal(of: try file.bytes + [0])
        #expect(error?.code == "\(file.format).tail_bytes")
    }

    /// What each refused file is refused for.
    static let codes: [String: String] = [
        "bad_dtype_F4_odd.safetensors": "safetensors.partial_byte",
        "bad_short_0.safetensors": "container.empty",
        "bad_short_7.safetensors": "container.too_short",
        "bad_header_past_end.safetensors": "safetensors.header_past_end",
        "bad_header_huge.safetensors": "safetensors.header_too_large",
        "bad_header_u64max.safetensors": "safetensors.header_too_large",
        "bad_header_zero.safetensors": "safetensors.header_empty",
        "bad_not_utf8.safetensors": "safetensors.not_utf8",
        "bad_not_json.safetensors": "safetensors.header_syntax",
        "bad_trailing_garbage_in_header.safetensors": "safetensors.trailing_bytes",
        "bad_leading_space.safetensors": "safetensors.header_start",
        "bad_array_root.safetensors": "safetensors.header_start",
        "bad_dup_key.safetensors": "safetensors.duplicate_name",
        "bad_dup_field.safetensors": "safetensors.duplicate_field",
        "bad_dup_metadata.safetensors": "safetensors.duplicate_metadata",
        "bad_dup_metadata_key.safetensors": "safetensors.duplicate_metadata_key",
        "bad_metadata_nonstring.safetensors": "safetensors.metadata_type",
        "bad_metadata_nested.safetensors": "safetensors.metadata_type",
        "bad_missing_dtype.safetensors": "safetensors.missing_field",
        "bad_missing_shape.safetensors": "safetensors.missing_field",
        "bad_missing_offsets.safetensors": "safetensors.missing_field",
        "bad_unknown_field.safetensors": "safetensors.unknown_field",
        "bad_dtype_unknown.safetensors": "safetensors.unknown_type",
        "bad_dtype_lowercase.safetensors": "safetensors.unknown_type",
        "bad_shape_negative.safetensors": "safetensors.number",
        "bad_shape_float.safetensors": "safetensors.number",
        "bad_shape_overflow.safetensors": "safetensors.shape_overflow",
        "bad_shape_bytes_overflow.safetensors": "safetensors.shape_overflow",
        "bad_offsets_three.safetensors": "safetensors.offsets_pair",
        "bad_offsets_reversed.safetensors": "safetensors.offsets_reversed",
        "bad_size_mismatch.safetensors": "safetensors.size_mismatch",
        "bad_hole.safetensors": "safetensors.hole",
        "bad_hole_at_start.safetensors": "safetensors.hole",
        "bad_overlap.safetensors": "safetensors.overlap",
        "bad_same_range.safetensors": "safetensors.overlap",
        "bad_past_end.safetensors": "safetensors.data_truncated",
        "bad_extra_tail.safetensors": "safetensors.tail_bytes",
        "bad_empty_extra_tail.safetensors": "safetensors.tail_bytes",
        "bad_offset_u64.safetensors": "safetensors.number_too_large",
        "bad_deep_json.safetensors": "safetensors.entry_type",
        "bad_dup_escaped.safetensors": "safetensors.duplicate_name",
        "npy_bad_v4.npy": "npy.version",
        "npy_bad_magic.npy": "container.unknown",
        "npy_bad_truncated_header.npy": "npy.header_past_end",
        "npy_bad_data_short.npy": "npy.data_truncated",
        "npy_bad_data_long.npy": "npy.tail_bytes",
        "npy_bad_object.npy": "npy.object_type",
        "npy_bad_struct.npy": "npy.structured_type",
        "npy_bad_missing_key.npy": "npy.missing_key",
        "npy_bad_extra_key.npy": "npy.unknown_key",
        "npy_bad_negative_shape.npy": "npy.number",
        "npy_bad_overflow_shape.npy": "npy.shape_overflow",
        "npy_bad_expression.npy": "npy.header_syntax",
        "npy_bad_fortran_int.npy": "npy.fortran_order",
        "npy_bad_shape_list.npy": "npy.shape",
        "npy_bf16_void.npy": "npy.void_type",
    ]
}

/// Files that the safetensors library wrote, against what their index says they hold.
struct GoldenFileTests {
    struct Index: Decodable {
        struct Case: Decodable {
            let file: String?
            let tensors: [String: Tensor]?
        }
        struct Tensor: Decodable {
            let type: String
            let shape: [Int]

            init(from decoder: any Decoder) throws {
                var pair = try decoder.unkeyedContainer()
                type = try pair.decode(String.self)
                shape = try pair.decode([Int].self)
            }
        }
        let cases: [Case]
    }

    static let types: [String: ElementType] = [
        "float32": .f32, "float16": .f16, "bfloat16": .bf16, "float64": .f64, "uint8": .u8, "int8": .i8,
        "int16": .i16, "int32": .i32, "int64": .i64, "bool": .bool, "float8_e4m3fn": .f8E4M3, "uint32": .u32,
    ]

    @Test func everyGoldenFileIsReadAsItsIndexSays() throws {
        let index = try JSONDecoder().decode(Index.self, from: Data(try Fixtures.bytes(of: "golden/index.json")))
        let folder = Fixtures.folder.appending(path: "golden").path()
        let present = Set(try FileManager.default.contentsOfDirectory(atPath: folder))
        var files = 0
        for golden in index.cases {
            // The index also lists cases of later formats, whose files are not here yet.
            guard let file = golden.file, let tensors = golden.tensors, present.contains(file) else { continue }
            let description = try parse(try Fixtures.bytes(of: "golden/\(file)"))
            expectSound(description)
            files += 1
            #expect(Set(description.entries.map(\.name)) == Set(tensors.keys), "\(file)")
            for entry in description.entries {
                #expect(entry.shape == tensors[entry.name]?.shape, "\(file) \(entry.name)")
                #expect(entry.type == tensors[entry.name].flatMap { Self.types[$0.type] }, "\(file) \(entry.name)")
            }
        }
        #expect(files > 40)
    }
}
