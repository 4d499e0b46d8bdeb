/// `uri-host [ ":" port ]` of a Host field or an absolute-form target (RFC 9110 section 7.2, RFC 3986 section 3.2).
enum Authority {
    /// Checks and copies an authority; user information is refused (RFC 9110 section 4.2.4).
    static func read(_ bytes: RawSpan, _ range: Range<Int>) throws(WireError) -> String {
        let malformed = WireError("host", "The host is empty or malformed.")
        guard let hostEnd = hostEnd(bytes, range), hostEnd > range.lowerBound,
            isPort(bytes, hostEnd..<range.upperBound), let text = bytes.text(range)
        else { throw malformed }
        return text
    }

    /// Where the host ends; nil when it is malformed.
    private static func hostEnd(_ bytes: RawSpan, _ range: Range<Int>) -> Int? {
        guard !range.isEmpty else { return nil }
        if bytes[octet: range.lowerBound] == UInt8(ascii: "[") {
            return addressEnd(bytes, range)
        }
        var offset = range.lowerBound
        while offset < range.upperBound, bytes[octet: offset] != UInt8(ascii: ":") {
            let octet = bytes[octet: offset]
            guard OctetSet.registeredName.contains(octet) else { return nil }
            if octet == UInt8(ascii: "%") {
                guard range.upperBound - offset > 2, bytes[octet: offset + 1].hexValue != nil,
                    bytes[octet: offset + 2].hexValue != nil
                else { return nil }
            }
            offset += 1
        }
        return offset
    }

    /// The offset after the `]` of an IPv6 literal; its digits and colons are checked, not its value.
    private static func addressEnd(_ bytes: RawSpan, _ range: Range<Int>) -> Int? {
        guard let close = bytes.firstOffset(of: UInt8(ascii: "]"), in: range) else { return nil }
        var colons = 0
        for offset in range.lowerBound + 1..<close {
            let octet = bytes[octet: offset]
            if octet == UInt8(ascii: ":") {
                colons += 1
            } else if octet.hexValue == nil, octet != UInt8(ascii: ".") {
                return nil
            }
        }
        return (2...8).contains(colons) ? close + 1 : nil
    }

    /// Nothing, or a colon and at most five digits that fit 16 bits.
    private static func isPort(_ bytes: RawSpan, _ range: Range<Int>) -> Bool {
        guard !range.isEmpty else { return true }
        guard bytes[octet: range.lowerBound] == UInt8(ascii: ":"), range.count <= 6 else { return false }
        var port = 0
        for offset in range.dropFirst() {
            guard bytes[octet: offset].isDigit else { return false }
            port = port * 10 + Int(bytes[octet: offset] - 0x30)
        }
        return port <= 65535
    }
}
