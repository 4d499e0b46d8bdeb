/// A SHA-256 digest: 32 bytes.
package struct Digest: Hashable, Sendable {
    private let octets: SIMD32<UInt8>

    /// Reads exactly 64 hexadecimal digits with small letters; nil for anything else.
    package init?(hex: some StringProtocol) {
        guard hex.utf8.count == 64 else { return nil }
        var octets = SIMD32<UInt8>()
        for (index, digit) in hex.utf8.enumerated() {
            guard let value = Self.value(ofDigit: digit) else { return nil }
            octets[index / 2] = octets[index / 2] << 4 | value
        }
        self.octets = octets
    }

    /// Takes exactly 32 bytes; nil for any other count.
    package init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 32 else { return nil }
        octets = SIMD32(bytes)
    }

    /// Takes the bytes as they stand in memory order.
    init(octets: SIMD32<UInt8>) {
        self.octets = octets
    }

    /// The 64 hexadecimal digits, with small letters.
    package var hex: String { hexadecimal(bytes) }

    /// The 44 characters of padded base64, as the byte sequences of RFC 8941 hold them.
    package var base64: String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".unicodeScalars)
        var text = ""
        for start in stride(from: 0, to: 32, by: 3) {
            let last = min(start + 3, 32)
            var group = 0
            for index in start..<start + 3 { group = group << 8 | (index < last ? Int(octets[index]) : 0) }
            for place in 0..<4 {
                text.unicodeScalars.append(place <= last - start ? alphabet[group >> (18 - 6 * place) & 63] : "=")
            }
        }
        return text
    }

    /// The 32 bytes.
    package var bytes: [UInt8] {
        octets.indices.map { octets[$0] }
    }

    private static func value(ofDigit digit: UInt8) -> UInt8? {
        switch digit {
        case 0x30...0x39: digit - 0x30
        case 0x61...0x66: digit - 0x57
        default: nil
        }
    }
}

/// Two hexadecimal digits with small letters for each byte.
package func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    var text: [UInt8] = []
    func append(_ digit: UInt8) { text.append(digit < 10 ? 0x30 + digit : 0x57 + digit) }
    for byte in bytes {
        append(byte >> 4)
        append(byte & 15)
    }
    return String(decoding: text, as: UTF8.self)
}
