import Tensors
import Testing

/// What the npy header grammar takes and refuses, beyond the corpus.
struct NumpyParserTests {
    static func header(descr: String = "'<f4'", order: String = "False", shape: String = "(2, 3)") -> String {
        "{'descr': \(descr), 'fortran_order': \(order), 'shape': \(shape), }\n"
    }

    @Test(arguments: [
        ("npy_ok_c.npy", ElementType.f32, false, false), ("npy_ok_fortran.npy", .f32, true, false),
        ("npy_descr_be_f2.npy", .f16, false, true), ("npy_descr_be_f4.npy", .f32, false, true),
        ("npy_descr_be_f8.npy", .f64, false, true), ("npy_descr_le_f2.npy", .f16, false, false),
        ("npy_descr_le_f8.npy", .f64, false, false), ("npy_descr_le_i8.npy", .i64, false, false),
        ("npy_descr_le_u2.npy", .u16, false, false), ("npy_descr_na_b1.npy", .bool, false, false),
        ("npy_descr_na_i1.npy", .i8, false, false), ("npy_descr_eq_f4.npy", .f32, false, false),
        ("npy_ok_v2.npy", .f32, false, false), ("npy_ok_v3.npy", .f32, false, false),
    ])
    func numpyFilesAreDescribed(_ file: String, _ type: ElementType, _ isFortran: Bool, _ isBigEndian: Bool) throws {
        let description = try parse(try Fixtures.bytes(of: "containers/\(file)"))
        #expect(description.container == .npy)
        #expect(description.entries.map(\.name) == ["weight"])
        #expect(description.entries.first?.type == type)
        #expect(description.entries.first?.isFortranOrder == isFortran)
        #expect(description.entries.first?.isBigEndian == isBigEndian)
        #expect(description.metadata.isEmpty)
    }

    @Test(arguments: [
        ("()", []), ("(3,)", [3]), ("(3, )", [3]), ("( 2,3 )", [2, 3]), ("(2, 3,)", [2, 3]), ("(0, 4)", [0, 4]),
    ])
    func shapesAreTuples(_ text: String, _ shape: [Int]) throws {
        let bytes = npy(Self.header(shape: text), dataBytes: 4 * shape.reduce(1, *))
        #expect(try parse(bytes).entries.first?.shape == shape)
    }

    @Test(arguments: [
        ("(3)", "shape"), ("3", "shape"), ("[3]", "shape"), ("None", "shape"), ("(,)", "number"), ("(3,,)", "number"),
        ("(3 4)", "header_syntax"), ("(-1,)", "number"), ("(1.0,)", "number"), ("(1e2,)", "number"),
        ("(03,)", "number"), ("(0x3,)", "number"), ("(1_0,)", "number"), ("(3L,)", "number"), ("('3',)", "number"),
        ("(True,)", "number"), ("((1,),)", "number"), ("(9223372036854775808,)", "number_too_large"),
        ("(4294967296, 4294967296)", "shape_overflow"), ("(1, 2", "number"), ("(1", "number"),
    ])
    func otherShapesAreRefused(_ text: String, _ code: String) {
        #expect(refusal(of: npy(Self.header(shape: text), dataBytes: 12))?.code == "npy.\(code)")
    }

    @Test(
        arguments: [
            ("'<f4'", .f32, false), ("\">f4\"", .f32, true), ("'=f8'", .f64, false), ("'f2'", .f16, false),
            ("'>i1'", .i8, false), ("'>u4'", .u32, true), ("'<u8'", .u64, false), ("'<c8'", .c64, false),
            ("'|b1'", .bool, false), ("'>i2'", .i16, true), ("'<i4'", .i32, false), ("'|u1'", .u8, false),
        ] as [(String, ElementType, Bool)])
    func descriptors(_ descr: String, _ type: ElementType, _ isBigEndian: Bool) throws {
        let description = try parse(npy(Self.header(descr: descr, shape: "()"), dataBytes: type.bitWidth / 8))
        #expect(description.entries.first?.type == type)
        #expect(description.entries.first?.isBigEndian == isBigEndian)
    }

    @Test(arguments: [
        ("'|O'", "object_type"), ("'O'", "object_type"), ("'<O8'", "object_type"), ("'<V2'", "void_type"),
        ("'|V2'", "void_type"), ("'|V1'", "void_type"), ("'<f16'", "unsupported_type"), ("'<c16'", "unsupported_type"),
        ("'<U4'", "unsupported_type"), ("'|S4'", "unsupported_type"), ("'<M8[ns]'", "unsupported_type"),
        ("''", "unsupported_type"), ("'<'", "unsupported_type"), ("'<f'", "unsupported_type"),
        ("'<f04'", "unsupported_type"), ("'!f4'", "unsupported_type"), ("'<<f4'", "unsupported_type"),
        ("'float32'", "unsupported_type"), ("[('a', '<f4')]", "structured_type"), ("('<f4', (2,))", "structured_type"),
        ("u'<f4'", "header_syntax"), ("b'<f4'", "header_syntax"), ("'<f' '4'", "unsupported_type"),
        (#"'\x3cf4'"#, "header_syntax"), ("'<f4' + ''", "header_syntax"), ("None", "header_syntax"),
    ])
    func otherDescriptorsAreRefused(_ descr: String, _ code: String) {
        #expect(refusal(of: npy(Self.header(descr: descr), dataBytes: 24))?.code == "npy.\(code)")
    }

    @Test func theLostBfloat16IsExplained() {
        let error = refusal(of: npy(Self.header(descr: "'<V2'"), dataBytes: 12))
        #expect(error?.detail.contains("bfloat16") == true)
    }

    @Test(arguments: ["0", "1", "None", "true", "'True'", "Tru", "", "not False"])
    func otherOrdersAreRefused(_ order: String) {
        #expect(refusal(of: npy(Self.header(order: order), dataBytes: 24))?.code == "npy.fortran_order")
    }

    @Test(arguments: [
        ("{'descr': '<f4', 'fortran_order': Falsey, 'shape': ()}", "header_syntax"),
        ("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}", "duplicate_key"),
        ("{'descr': '<f4', 'fortran_order': False}", "missing_key"), ("{}", "missing_key"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}", "unknown_key"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': ()} # x", "header_syntax"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': ()", "header_syntax"),
        ("{'descr': '<f4' 'fortran_order': False, 'shape': ()}", "header_syntax"),
        ("{'descr': '<f4', , 'fortran_order': False, 'shape': ()}", "header_syntax"),
        ("dict(descr='<f4')", "header_syntax"), ("", "header_syntax"), ("[]", "header_syntax"),
        ("{'descr", "header_syntax"), ("{'d\u{E9}scr': 1}", "header_syntax"), ("{__import__('os')}", "header_syntax"),
    ])
    func malformedHeaders(_ header: String, _ code: String) {
        for major: UInt8 in [1, 2, 3] {
            #expect(refusal(of: npy(header, major: major, dataBytes: 4))?.code == "npy.\(code)")
        }
    }

    @Test(arguments: [("(4, 1)", false), ("(4,)", false), ("()", false), ("(1, 4, 1)", false), ("(2, 2)", true)])
    func theOrderIsMarkedWhereItMatters(_ shape: String, _ isFortran: Bool) throws {
        let bytes = npy(Self.header(order: "True", shape: shape), dataBytes: shape == "()" ? 4 : 16)
        #expect(try parse(bytes).entries.first?.isFortranOrder == isFortran)
    }

    @Test(arguments: [[0, 0], [1, 1], [2, 1], [3, 1], [4, 0], [255, 255]] as [[UInt8]])
    func otherVersionsAreRefused(_ version: [UInt8]) {
        var bytes = npy(Self.header(), dataBytes: 24)
        bytes.replaceSubrange(6..<8, with: version)
        #expect(refusal(of: bytes)?.code == "npy.version")
    }

    @Test func aLengthBeyondTheInputIsRefusedAtOnce() {
        let prefix = npy(Self.header(), dataBytes: 24).prefix(10)
        #expect(refusal { _ = try parse(prefix: prefix, totalBytes: 20) }?.code == "npy.header_past_end")
    }
}
