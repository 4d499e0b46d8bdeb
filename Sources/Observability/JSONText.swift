/// JSON text under construction (RFC 8259): pieces are appended in order, the caller places the punctuation.
struct JSONText {
    private(set) var bytes: [UInt8] = []

    /// Makes room for `count` bytes in all.
    mutating func reserve(_ count: Int) { bytes.reserveCapacity(count) }

    /// Appends structure that holds no value from outside.
    mutating func append(_ punctuation: StaticString) {
        bytes += punctuation.description.utf8
    }

    /// Appends structure or text of the program's own; cheaper than a `StaticString`, which becomes a String first.
    mutating func append(plain text: String) { bytes += text.utf8 }

    /// Appends a quoted string; control characters, quotes and backslashes are escaped, other text stays as it is.
    mutating func append(string: String) {
        bytes.append(UInt8(ascii: "\""))
        append(contentsOf: string)
        bytes.append(UInt8(ascii: "\""))
    }

    /// Appends what stands between the quotes of a string.
    mutating func append(contentsOf string: String) {
        // Most text has nothing to escape, and is copied as a whole.
        guard Self.needsEscapes(string) else {
            bytes += string.utf8
            return
        }
        for byte in string.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
            case UInt8(ascii: "\n"): append("\\n")
            case UInt8(ascii: "\r"): append("\\r")
            case UInt8(ascii: "\t"): append("\\t")
            case 0..<0x20:
                append(byte < 0x10 ? "\\u000" : "\\u001")
                bytes += String(byte & 15, radix: 16).utf8
            default: bytes.append(byte)
            }
        }
    }

    private static func needsEscapes(_ string: String) -> Bool {
        let octets = string.utf8Span.span
        for index in octets.indices {
            let octet = octets[index]
            if octet < 0x20 || octet == UInt8(ascii: "\"") || octet == UInt8(ascii: "\\") { return true }
        }
        return false
    }

    /// Appends a number, or `null` where JSON has none (not a number, infinities).
    mutating func append(number: Double) {
        if number.isFinite { bytes += decimalText(number).utf8 } else { append("null") }
    }

    /// Appends an integer in full; readers with 64-bit floating point lose digits beyond 2^53.
    mutating func append(integer: some BinaryInteger) {
        bytes += integer.description.utf8
    }

    /// Appends one byte of structure.
    mutating func append(octet: UInt8) { bytes.append(octet) }

    /// Appends the decimal digits of a number that is not negative, from the one that `divisor` counts.
    mutating func append(digitsOf number: Int, from divisor: Int) {
        var divisor = divisor
        while divisor > 0 {
            bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: number / divisor % 10))
            divisor /= 10
        }
    }

    mutating func append(bool: Bool) {
        append(bool ? "true" : "false")
    }

    /// Appends the items with commas between them.
    mutating func append<Item>(list items: some Sequence<Item>, _ item: (inout JSONText, Item) -> Void) {
        var isFirst = true
        for element in items {
            if !isFirst { append(",") }
            isFirst = false
            item(&self, element)
        }
    }
}

/// A finite number in the fewest digits that read back as the same number; whole numbers have no fraction.
func decimalText(_ number: Double) -> String {
    guard let whole = Int64(exactly: number), abs(number) < 1e15 else { return number.description }
    return whole.description
}
