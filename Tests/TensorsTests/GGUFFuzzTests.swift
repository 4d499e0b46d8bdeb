import Tensors
import Testing

/// Damaged GGUF headers: nothing crashes, and whatever is accepted keeps every promise.
struct GGUFFuzzTests {
    /// Numbers at which sums and products go wrong.
    static let numbers: [UInt64] = [
        0, 1, 4, 9, 12, 31, 32, 33, 64, 65, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 32, 1 << 60, 1 << 61, 1 << 62,
        UInt64(Int.max), 1 << 63, .max,
    ]

    @Test func everyFlippedBit() throws {
        let bytes = try Fixtures.bytes(of: "imatrix/imatrix.gguf")
        let header = try #require(accepted(bytes, totalBytes: bytes.count))
        for index in 0..<header.dataOffset {
            for bit in 0..<8 {
                var damaged = bytes
                damaged[index] ^= 1 << bit
                check(damaged)
            }
        }
    }

    /// Small files, so that the damage is often where it counts.
    @Test func damagedFields() throws {
        var file = GGUFText()
        file.add("general.type", kind: 8, GGUFText.string("imatrix"))
        file.add("general.alignment", kind: 4, GGUFText.little(UInt32(32)))
        file.add("k", kind: 9, GGUFText.little(UInt32(8)) + GGUFText.little(UInt64(1)) + GGUFText.string("x"))
        file.add("a", [4, 2], offset: 0)
        file.add("b", [1, 2], offset: 32)
        file.data = [UInt8](repeating: 0, count: 64)
        let whole = file.bytes
        let dataOffset = try #require(accepted(whole, totalBytes: whole.count)).dataOffset
        var generator = SeededGenerator(state: 5)
        for _ in 0..<90_000 {
            var damaged = whole
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let place = Int.random(in: 0..<min(dataOffset, damaged.count), using: &generator)
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: damaged[place] = UInt8.random(in: 0...255, using: &generator)
                case 1: damaged.removeLast(Int.random(in: 0..<damaged.count - place, using: &generator))
                case 2: damaged.remove(at: place)
                default:
                    let number = Self.numbers.randomElement(using: &generator) ?? 0
                    let width = min(Bool.random(using: &generator) ? 4 : 8, damaged.count - place)
                    for index in 0..<width { damaged[place + index] = UInt8(truncatingIfNeeded: number >> (8 * index)) }
                }
                if damaged.isEmpty { break }
            }
            check(damaged)
        }
    }

    private func accepted(_ bytes: [UInt8], totalBytes: Int?) -> GGUFHeader? {
        guard case .complete(let header)? = try? unsafe GGUFParser.parse(bytes.span.bytes, totalBytes: totalBytes)
        else { return nil }
        return header
    }

    private func check(_ bytes: [UInt8]) {
        for totalBytes in [nil, bytes.count] {
            guard let header = accepted(bytes, totalBytes: totalBytes) else { continue }
            if totalBytes != nil, header.totalBytes != bytes.count { Issue.record("a wrong length passed: \(bytes)") }
            var position = 0
            for entry in header.entries {
                let size = entry.shape.reduce(entry.type.bitWidth / 8, *)
                if entry.bytes.lowerBound < position || entry.bytes.count != size
                    || header.dataOffset + entry.bytes.upperBound > header.totalBytes
                {
                    Issue.record("a tensor lies outside or across another: \(bytes)")
                }
                position = entry.bytes.upperBound
            }
            if Set(header.entries.map { ExactName($0.name) }).count != header.entries.count {
                Issue.record("a name passed twice: \(bytes)")
            }
        }
    }
}
