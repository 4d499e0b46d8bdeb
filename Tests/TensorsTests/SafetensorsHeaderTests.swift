import Foundation
import Tensors
import Testing

/// Written headers, read back by this module and by Foundation's JSON.
struct SafetensorsHeaderTests {
    @Test func spelledOut() throws {
        let entries = [
            TensorEntry(name: "b", type: .bf16, shape: [2, 1], elementCount: 2, bytes: 0..<4),
            TensorEntry(name: "a\"", type: .f32, shape: [], elementCount: 1, bytes: 4..<8),
        ]
        let json = SafetensorsHeader.serialize(entries: entries, metadata: [MetadataItem(name: "k", value: "v\n")])
        let text = """
            {"__metadata__":{"k":"v\\n"},"b":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]},\
            "a\\"":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}
            """
        #expect(String(validating: json, as: UTF8.self) == text)
        #expect(SafetensorsHeader.serialize(entries: [], metadata: []) == Array("{}".utf8))
    }

    @Test func theLengthCountsThePadding() throws {
        let json = Array(#"{"__metadata__":{}}"#.utf8)
        let file = SafetensorsHeader.file(prefixing: json, paddedTo: 259)
        #expect(file.prefix(8) == [3, 1, 0, 0, 0, 0, 0, 0])
        #expect(Array(file[8..<(8 + json.count)]) == json)
        #expect(file[(8 + json.count)...].allSatisfy { $0 == 0x20 })
        #expect(file.count == 8 + 259)
        #expect(try parse(file).dataOffset == file.count)
        #expect(SafetensorsHeader.file(prefixing: json, paddedTo: json.count).count == 8 + json.count)
    }

    @Test(arguments: 0..<200 as Range<UInt64>)
    func whatIsWrittenIsReadBack(_ seed: UInt64) throws {
        var generator = SeededGenerator(state: seed)
        let entries = Self.entries(using: &generator)
        var metadata: [MetadataItem] = []
        for index in 0..<Int.random(in: 0...4, using: &generator) {
            let name = Self.text(using: &generator) + "\(index)"
            metadata.append(MetadataItem(name: name, value: Self.text(using: &generator)))
        }
        let json = SafetensorsHeader.serialize(entries: entries, metadata: metadata)
        let padding = Int.random(in: 0...9, using: &generator)
        let file = SafetensorsHeader.file(prefixing: json, paddedTo: json.count + padding)
        let dataBytes = entries.last?.bytes.upperBound ?? 0
        guard case .complete(let read) = try parse(prefix: file, totalBytes: file.count + dataBytes) else {
            Issue.record("the header is whole")
            return
        }
        expectSound(read)
        #expect(read.entries == entries)
        #expect(read.entries.map { Array($0.name.utf8) } == entries.map { Array($0.name.utf8) })
        #expect(read.metadata == metadata)
        #expect(read.dataOffset == file.count)

        let object = try JSONSerialization.jsonObject(with: Data(json)) as? [String: Any]
        for entry in entries {
            let fields = try #require(object?[entry.name] as? [String: Any])
            #expect(fields["dtype"] as? String == entry.type.rawValue)
            #expect(fields["shape"] as? [Int] == entry.shape)
            #expect(fields["data_offsets"] as? [Int] == [entry.bytes.lowerBound, entry.bytes.upperBound])
        }
    }

    @Test func everyCharacterSurvivesEscaping() throws {
        let values =
            (0...0x2FF).compactMap { Unicode.Scalar($0) } + ["\u{2028}", "\u{FFFF}", "\u{1D11E}", "\u{10FFFF}"]
        for scalar in values {
            let text = "x\(scalar)y"
            let json = Data("\"\(jsonEscaped(text))\"".utf8)
            let read = try JSONSerialization.jsonObject(with: json, options: .fragmentsAllowed) as? String
            #expect(read.map { Array($0.utf8) } == Array(text.utf8), "U+\(String(scalar.value, radix: 16))")
            #expect(!json.contains { $0 < 0x20 })
        }
        #expect(jsonEscaped("plain é") == "plain é")
    }

    private static func entries(using generator: inout SeededGenerator) -> [TensorEntry] {
        var entries: [TensorEntry] = []
        var begin = 0
        for index in 0..<Int.random(in: 0...12, using: &generator) {
            let type = ElementType.allCases.randomElement(using: &generator) ?? .f32
            var shape = (0..<Int.random(in: 0...4, using: &generator)).map { _ in
                Int.random(in: 0...9, using: &generator)
            }
            // Four elements fill whole bytes in every type.
            if type.bitWidth < 8 { shape.append(4) }
            let count = shape.reduce(1, *)
            let end = begin + count * type.bitWidth / 8
            let name = text(using: &generator) + ".\(index)"
            entries.append(
                TensorEntry(name: name, type: type, shape: shape, elementCount: count, bytes: begin..<end))
            begin = end
        }
        return entries
    }

    private static func text(using generator: inout SeededGenerator) -> String {
        let ranges: [ClosedRange<UInt32>] = [0x20...0x7E, 0x20...0x7E, 0...0x1F, 0xA0...0x2FF, 0x1F300...0x1F5FF]
        var text = ""
        for _ in 0..<Int.random(in: 0...10, using: &generator) {
            let range = ranges.randomElement(using: &generator) ?? 0x20...0x7E
            guard let scalar = Unicode.Scalar(UInt32.random(in: range, using: &generator)) else { continue }
            text.unicodeScalars.append(scalar)
        }
        return text
    }
}
