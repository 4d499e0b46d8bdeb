/// What a `Content-Digest` or `Repr-Digest` field says about SHA-256 (RFC 9530).
package enum ContentDigest: Sendable, Equatable {
    /// No field, or none of its algorithms is sha-256.
    case absent
    /// The 32 bytes of the sha-256 digest.
    case sha256([UInt8])
    /// The field is not a dictionary of byte sequences, or the digest is not 32 bytes long.
    case malformed

    /// Reads the field's value, nil when the field is missing (dictionary syntax: RFC 8941 section 3.2).
    ///
    /// Of a repeated key the last value counts, as for any dictionary.
    package static func parse(_ value: String?) -> ContentDigest {
        guard let value else { return .absent }
        var outcome = ContentDigest.absent
        for member in value.split(separator: ",", omittingEmptySubsequences: false) {
            let octets = Array(member.trimmingBlanks.utf8)
            guard let equals = octets.firstIndex(of: UInt8(ascii: "=")), isKey(octets[..<equals]),
                let content = byteSequence(octets[(equals + 1)...])
            else { return .malformed }
            guard octets[..<equals].elementsEqual("sha-256".utf8) else { continue }
            guard content.count == 32 else { return .malformed }
            outcome = .sha256(content)
        }
        return outcome
    }

    private static func isKey(_ octets: ArraySlice<UInt8>) -> Bool {
        guard let first = octets.first, first == UInt8(ascii: "*") || (0x61...0x7A).contains(first) else {
            return false
        }
        return octets.allSatisfy { (0x61...0x7A).contains($0) || $0.isDigit || "_-.*".utf8.contains($0) }
    }

    /// Decodes `:base64:`; parameters are not defined for digests, so nothing may follow.
    private static func byteSequence(_ octets: ArraySlice<UInt8>) -> [UInt8]? {
        let colon = UInt8(ascii: ":")
        guard octets.count >= 2, octets.first == colon, octets.last == colon else { return nil }
        return decodeBase64(octets.dropFirst().dropLast())
    }
}

/// Decodes padded base64 (RFC 4648 section 4); unused bits must be zero. Nil for anything else.
package func decodeBase64(_ octets: ArraySlice<UInt8>) -> [UInt8]? {
    let padding = octets.reversed().prefix { $0 == UInt8(ascii: "=") }.count
    guard octets.count % 4 == 0, padding <= 2 else { return nil }
    var decoded: [UInt8] = []
    var bits = 0
    var count = 0
    for octet in octets.dropLast(padding) {
        guard let sextet = sextet(octet) else { return nil }
        bits = (bits << 6 | Int(sextet)) & 0xFFFF
        count += 6
        if count >= 8 {
            count -= 8
            decoded.append(UInt8(truncatingIfNeeded: bits >> count))
        }
    }
    return bits & (1 << count - 1) == 0 ? decoded : nil
}

private func sextet(_ octet: UInt8) -> UInt8? {
    switch octet {
    case 0x41...0x5A: octet - 0x41
    case 0x61...0x7A: octet - 0x61 + 26
    case 0x30...0x39: octet - 0x30 + 52
    case UInt8(ascii: "+"): 62
    case UInt8(ascii: "/"): 63
    default: nil
    }
}
