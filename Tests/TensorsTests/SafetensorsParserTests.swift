import Tensors
import Testing

/// What the strict header grammar takes and refuses, beyond the corpus.
struct SafetensorsParserTests {
    static let entry = #"{"dtype":"U8","shape":[2],"data_offsets":[0,2]}"#

    @Test func describesTensorsInOrderOfPosition() throws {
        let header = """
            {"b":{"data_offsets":[6,10],"dtype":"BF16","shape":[1,2]},
             "__metadata__":{"format":"pt","a":"1"},
             "z2":{"dtype":"F32","shape":[0,7],"data_offsets":[6,6]},
             "z1":{"dtype":"F32","shape":[0],"data_offsets":[6,6]},
             "a":{"dtype":"F16","shape":[3],"data_offsets":[0,6]}}
            """
        let description = try parse(safetensors(header + "     ", dataBytes: 10))
        #expect(description.container == .safetensors)
        #expect(description.entries.map(\.name) == ["a", "z2", "z1", "b"])
        #expect(
            description.entries.last
                == TensorEntry(name: "b", type: .bf16, shape: [1, 2], elementCount: 2, bytes: 6..<10))
        #expect(description.entries[1].elementCount == 0)
        #expect(
            description.metadata == [MetadataItem(name: "format", value: "pt"), MetadataItem(name: "a", value: "1")])
        #expect(description.dataOffset == 8 + header.utf8.count + 5)
        #expect(description.dataBytes == 10)
        #expect(description.totalBytes == description.dataOffset + 10)
        #expect(description.entries.allSatisfy { !$0.isFortranOrder && !$0.isBigEndian })
    }

    @Test(arguments: [
        (#"\u0061\n\t\r\b\f\/\\\""#, "a\n\t\r\u{8}\u{C}/\\\""),
        (#"\uD834\udd1e"#, "\u{1D11E}"), (#"\ud7ff\ue000\uFFFF"#, "\u{D7FF}\u{E000}\u{FFFF}"),
        (#"\udbff\udfff"#, "\u{10FFFF}"), (#"\u0000"#, "\0"), ("Gewicht-é-重-𝄞", "Gewicht-é-重-𝄞"),
        ("\u{7F}\u{2028}", "\u{7F}\u{2028}"), ("", ""),
    ])
    func namesAreUnescaped(_ written: String, _ name: String) throws {
        let description = try parse(safetensors(#"{"\#(written)":\#(Self.entry)}"#, dataBytes: 2))
        #expect(description.entries.map { Array($0.name.utf8) } == [Array(name.utf8)])
    }

    @Test(arguments: [
        #""\ud800":"#, #""\ud800x":"#, #""\ud800\u0041":"#, #""\udc00":"#, #""\udc00\ud800":"#, #""\ud800\n":"#,
        #""\u00g0":"#, #""\u00":"#, #""\x41":"#, #""\'":"#, #""\U00000041":"#, "\"a\u{1F}\":", "\"a\n\":",
        #""\u00"#, #"""#, #""\"#, #""abc"#, #"'a':"#, #"a:"#, #"1:"#, #"null:"#,
    ])
    func malformedNamesAreSyntaxErrors(_ name: String) {
        #expect(refusal(of: safetensors("{\(name)\(Self.entry)}", dataBytes: 2))?.code == "safetensors.header_syntax")
    }

    @Test(
        arguments: [
            [0xC0, 0x80], [0xC1, 0xBF], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF],
            [0xF0, 0x80, 0x80, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0x80], [0xC3], [0xE2, 0x82],
            [0xFF], [0xFE],
        ] as [[UInt8]])
    func malformedUTF8IsRefused(_ bytes: [UInt8]) {
        for escape in ["", #"\n"#] {
            let header = Array(#"{"\#(escape)"#.utf8) + bytes + Array("\":\(Self.entry)}".utf8)
            let error = refusal(of: safetensors(header, dataBytes: 2))
            #expect(error?.code == "safetensors.not_utf8")
            #expect(error?.offset == 9)
        }
        let value = Array(#"{"__metadata__":{"a":""#.utf8) + bytes + Array(#""}}"#.utf8)
        #expect(refusal(of: safetensors(value))?.code == "safetensors.not_utf8")
        let outside = Array("{".utf8) + bytes + Array("}".utf8)
        #expect(refusal(of: safetensors(outside))?.code == "safetensors.header_syntax")
    }

    @Test func namesDifferByTheirBytesAlone() throws {
        // U+00E9, and U+0065 U+0301: one letter to a reader, two names to the format.
        let composed = #""\#u{E9}":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#
        let decomposed = #""e\#u{301}":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}"#
        #expect(try parse(safetensors("{\(composed),\(decomposed)}", dataBytes: 2)).entries.count == 2)
        let again = #""\u00e9":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}"#
        let error = refusal(of: safetensors("{\(composed),\(again)}", dataBytes: 2))
        #expect(error?.code == "safetensors.duplicate_name")
        #expect(error?.tensor == "\u{E9}")
    }

    @Test(arguments: [
        "1.0", "1e0", "1E0", "01", "00", "-0", "-1", "+1", "0x1", "1_0", "\"1\"", "true", "null", "[1]", "",
    ])
    func onlyPlainIntegersAreNumbers(_ number: String) {
        let shape = #"{"a":{"dtype":"U8","shape":[1,\#(number)],"data_offsets":[0,1]}}"#
        #expect(refusal(of: safetensors(shape, dataBytes: 1))?.code == "safetensors.number")
        let offsets = #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,\#(number)]}}"#
        let error = refusal(of: safetensors(offsets, dataBytes: 1))
        #expect(error?.code == "safetensors.number")
    }

    @Test(arguments: [
        "9223372036854775808", "18446744073709551615", "18446744073709551616", "99999999999999999999999999999",
    ])
    func numbersBeyond63BitsAreRefused(_ number: String) {
        let header = #"{"a":{"dtype":"U8","shape":[\#(number)],"data_offsets":[0,\#(number)]}}"#
        #expect(refusal(of: safetensors(header))?.code == "safetensors.number_too_large")
    }

    @Test func theLargestTensorDoesNotOverflow() {
        // 2^60 - 1 bytes are the most whose bits fit 63; one more overflows.
        let most = (1 << 60) - 1
        let one = #"{"a":{"dtype":"U8","shape":[\#(most)],"data_offsets":[0,\#(most)]}}"#
        #expect(refusal(of: safetensors(one))?.code == "safetensors.data_truncated")
        let more = #"{"a":{"dtype":"U8","shape":[\#(most + 1)],"data_offsets":[0,\#(most + 1)]}}"#
        #expect(refusal(of: safetensors(more))?.code == "safetensors.shape_overflow")
        let whole = #"{"a":{"dtype":"U8","shape":[0],"data_offsets":[\#(Int.max),\#(Int.max)]}}"#
        #expect(refusal(of: safetensors(whole))?.code == "safetensors.hole")
    }

    @Test func theEndOfTheDataMustFit63Bits() throws {
        let part = (1 << 60) - 1
        let bounds = (0...8).map { $0 * part } + [Int.max]
        let entries = zip(bounds, bounds.dropFirst()).enumerated().map { index, pair in
            #""t\#(index)":{"dtype":"U8","shape":[\#(pair.1 - pair.0)],"data_offsets":[\#(pair.0),\#(pair.1)]}"#
        }
        let header = safetensors("{\(entries.joined(separator: ","))}")
        let error = refusal { _ = try parse(prefix: header, totalBytes: nil) }
        #expect(error?.code == "safetensors.data_too_large")
    }

    @Test(arguments: [
        ("[0,4611686018427387904,4]", "safetensors.shape_overflow"),
        ("[4611686018427387904,4,0]", "safetensors.shape_overflow"), ("[0,9223372036854775807]", "shape_overflow"),
    ])
    func emptyShapesMustStillHaveStrides(_ shape: String, _ code: String) {
        let header = #"{"a":{"dtype":"U8","shape":\#(shape),"data_offsets":[0,0]}}"#
        #expect(refusal(of: safetensors(header))?.code.hasSuffix(code) == true)
    }

    @Test(arguments: [
        ("{,}", "header_syntax"), (#"{"a"}"#, "header_syntax"), (#"{"a":}"#, "entry_type"),
        (#"{"a":"#, "header_syntax"), (#"{"a":{"shape":"#, "header_syntax"),
        (#"{"a":[]}"#, "entry_type"), (#"{"a":null}"#, "entry_type"), (#"{"a":"x"}"#, "entry_type"),
        (#"{"a":{}}"#, "missing_field"), (#"{"a":{"dtype":1}}"#, "field_type"),
        (#"{"a":{"dtype":null}}"#, "field_type"), (#"{"a":{"shape":1}}"#, "field_type"),
        (#"{"a":{"shape":{}}}"#, "field_type"), (#"{"a":{"data_offsets":"x"}}"#, "field_type"),
        (#"{"a":{"data_offsets":[1,]}}"#, "number"), (#"{"a":{"shape":[1 2]}}"#, "header_syntax"),
        (#"{"a":{"shape":[1"#, "header_syntax"), (#"{"a":{"dtype":"U8",}}"#, "header_syntax"),
        (#"{"a":{"DTYPE":"U8"}}"#, "unknown_field"), (#"{"a":{"dtype ":"U8"}}"#, "unknown_field"),
        (#"{"a":{"data_offsets":[0]}}"#, "missing_field"), (#"{"__metadata__":null}"#, "metadata_type"),
        (#"{"__metadata__":[]}"#, "metadata_type"), (#"{"__metadata__":{"a":null}}"#, "metadata_type"),
        (#"{"__metadata__":{"a":"b",}}"#, "header_syntax"), (#"{"__\u006detadata__":{"a":1}}"#, "metadata_type"),
        ("{}\n", "trailing_bytes"), ("{}\t", "trailing_bytes"), ("{} {}", "trailing_bytes"),
        ("{}\0", "trailing_bytes"), ("{}}", "trailing_bytes"), ("{", "header_syntax"), ("\u{FEFF}{}", "header_start"),
        ("{\u{A0}}", "header_syntax"), ("{/**/}", "header_syntax"), (#"{"__metadata__":{}"#, "header_syntax"),
    ])
    func malformedHeaders(_ header: String, _ code: String) {
        #expect(refusal(of: safetensors(header))?.code == "safetensors.\(code)")
    }

    @Test(arguments: [
        ("[0]", "offsets_pair"), ("[]", "offsets_pair"), ("[0,1,2]", "offsets_pair"), ("[1,0]", "offsets_reversed"),
        ("[0,3]", "size_mismatch"), ("[1,3]", "hole"),
    ])
    func malformedOffsets(_ offsets: String, _ code: String) {
        let header = #"{"a":{"dtype":"U8","shape":[2],"data_offsets":\#(offsets)}}"#
        let error = refusal(of: safetensors(header, dataBytes: 2))
        #expect(error?.code == "safetensors.\(code)")
        #expect(error?.tensor == "a")
    }

    @Test func aZeroSizeTensorInsideAnotherIsRefused() {
        let header = #"{"a":\#(Self.entry),"z":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}"#
        #expect(refusal(of: safetensors(header, dataBytes: 2))?.code == "safetensors.overlap")
        let behind = #"{"a":\#(Self.entry),"z":{"dtype":"U8","shape":[0],"data_offsets":[3,3]}}"#
        #expect(refusal(of: safetensors(behind, dataBytes: 2))?.code == "safetensors.hole")
    }

    @Test func blanksBetweenTokensAreTaken() throws {
        let header = "{ \n\t\r\"a\" : { \"dtype\" : \"U8\" , \"shape\" : [ 2 ] , \"data_offsets\" : [ 0 , 2 ] } } "
        #expect(try parse(safetensors(header, dataBytes: 2)).entries.count == 1)
    }

    @Test func deepNestingIsRefusedAtItsFirstBracket() {
        for open in ["[", #"{"a":"#] {
            let deep = String(repeating: open, count: 1_000_000)
            for header in [#"{"a":\#(deep)"#, #"{"a":{"shape":\#(deep)"#, #"{"__metadata__":{"a":\#(deep)"#] {
                #expect(refusal(of: safetensors(header)) != nil)
            }
        }
    }

    @Test func aHeaderIsRefusedBeforeItHasArrived() {
        let arrived = [0x10, 0, 0, 0, 0, 0, 0, 0] + Array(" ".utf8)
        #expect(refusal { _ = try parse(prefix: arrived, totalBytes: nil) }?.code == "safetensors.header_start")
        let beyond = [0x10, 0, 0, 0, 0, 0, 0, 0] + Array("{".utf8)
        #expect(refusal { _ = try parse(prefix: beyond, totalBytes: 23) }?.code == "safetensors.header_past_end")
    }
}
