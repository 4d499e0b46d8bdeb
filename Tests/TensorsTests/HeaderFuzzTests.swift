import Tensors
import Testing

/// Damaged headers: nothing crashes, and whatever is accepted keeps every promise.
struct HeaderFuzzTests {
    /// Fragments that mean something to the grammars, to be spliced into good headers.
    static let fragments: [[UInt8]] = [
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "\\ud800", "0", "1", "-1", "1.5", "1e9",
        "18446744073709551615",
        "9223372036854775807", "\"shape\":", "\"dtype\":\"F4\"", "\"data_offsets\":[0,0]", "\"__metadata__\":{}",
        "null",
        "(", ")", "'", "True", "False", "'descr'", "'>f8'", "(3)", " ", "\n", "\0",
    ].map { Array($0.utf8) }

    @Test(arguments: Fixtures.goodContainers)
    func everyFlippedBit(_ file: ContainerCase) throws {
        let bytes = try file.bytes
        for index in 0..<(try parse(bytes).dataOffset) {
            for bit in 0..<8 {
                var damaged = bytes
                damaged[index] ^= 1 << bit
                check(damaged)
            }
        }
    }

    @Test(arguments: Fixtures.goodContainers)
    func splicedHeaders(_ file: ContainerCase) throws {
        let bytes = try file.bytes
        let dataOffset = try parse(bytes).dataOffset
        var generator = SeededGenerator(state: UInt64(bytes.count))
        for _ in 0..<400 {
            var damaged = bytes
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let place = Int.random(in: 0..<min(dataOffset, damaged.count), using: &generator)
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: damaged[place] = UInt8.random(in: 0...255, using: &generator)
                case 1: damaged.remove(at: place)
                case 2:
                    damaged.replaceSubrange(place..<place, with: Self.fragments.randomElement(using: &generator) ?? [])
                default:
                    let end = min(damaged.count, place + Int.random(in: 0...12, using: &generator))
                    let fragment = Self.fragments.randomElement(using: &generator) ?? []
                    damaged.replaceSubrange(place..<end, with: fragment)
                }
            }
            if file.format == "safetensors", damaged.count > 8, Bool.random(using: &generator) {
                // Make the length agree again, so that the damage reaches the JSON and not only the length check.
                let length = max(0, dataOffset - 8 + damaged.count - bytes.count)
                for index in 0..<8 { damaged[index] = UInt8(truncatingIfNeeded: length >> (8 * index)) }
            }
            check(damaged)
        }
    }

    /// Parses with and without the length known; what is accepted must be sound and survive being written again.
    private func check(_ bytes: [UInt8]) {
        for totalBytes in [nil, bytes.count] {
            guard case .complete(let description)? = try? parse(prefix: bytes, totalBytes: totalBytes) else { continue }
            expectSound(description)
            if totalBytes != nil { #expect(description.totalBytes == bytes.count) }
            guard description.container == .safetensors else { continue }
            let json = SafetensorsHeader.serialize(entries: description.entries, metadata: description.metadata)
            let file = SafetensorsHeader.file(prefixing: json, paddedTo: json.count)
            let total = file.count + description.dataBytes
            guard case .complete(let again)? = try? parse(prefix: file, totalBytes: total) else {
                Issue.record("an accepted header does not survive being written: \(bytes)")
                continue
            }
            #expect(again.entries == description.entries)
            #expect(again.metadata == description.metadata)
        }
    }
}
