/// The members of a JSON object with their text letter for letter (RFC 8259).
///
/// For files that are changed in one place and otherwise kept as they are: `6.0` stays `6.0`, the order stays, and so
/// do the blanks. Stricter than most readers: a name that occurs twice is refused, for readers disagree about which of
/// the two counts.
package struct JSONObjectText: Sendable {
    /// One member: its name, unescaped, and where its value stands.
    private struct Member {
        let name: String
        let value: Range<Int>
    }

    /// Objects and arrays within each other, beyond which a text is refused.
    package static let maximumDepth = 64

    private let bytes: [UInt8]
    private let members: [Member]
    /// Where the closing brace stands.
    private let close: Int

    /// Reads a whole text whose root is an object; `subject` is the first part of the codes of its errors.
    ///
    /// - Throws: `<subject>.header_syntax`, `.duplicate_name`, `.too_deep`, `.not_object`, `.not_utf8` or `.number`.
    package init(_ bytes: [UInt8], subject: String) throws(TensorFormatError) {
        let span = unsafe bytes.span.bytes
        var scanner = HeaderScanner(subject, range: 0..<bytes.count)
        scanner.skipBlanks(in: span)
        guard scanner.peek(in: span) == UInt8(ascii: "{") else {
            throw scanner.error("not_object", "expected a JSON object")
        }
        scanner.advance()
        var members: [Member] = []
        var names: Set<ExactName> = []
        var isFirst = true
        while try scanner.nextElement(isFirst: &isFirst, close: UInt8(ascii: "}"), in: span) {
            let start = scanner.position
            let name = try scanner.memberName(in: span)
            guard names.insert(ExactName(name)).inserted else {
                throw scanner.error("duplicate_name", "'\(name)' occurs twice", at: start)
            }
            let value = scanner.position
            try scanner.passValue(depth: 1, in: span)
            members.append(Member(name: name, value: value..<scanner.position))
        }
        close = scanner.position - 1
        scanner.skipBlanks(in: span)
        guard scanner.position == bytes.count else {
            throw scanner.unexpected("expected the end", in: span)
        }
        self.bytes = bytes
        self.members = members
    }

    /// The names in the order of the text.
    package var names: [String] { members.map(\.name) }

    /// The value's text, letter for letter; nil when there is no such member.
    package func text(_ name: String) -> String? {
        value(name).map { String(decoding: bytes[$0], as: UTF8.self) }
    }

    /// The value as a string, its escapes undone; nil when there is no such member, or it is no string.
    package func string(_ name: String) throws(TensorFormatError) -> String? {
        guard let place = value(name), bytes[place.lowerBound] == UInt8(ascii: "\"") else { return nil }
        var scanner = HeaderScanner("json", range: place)
        return try scanner.jsonString(in: unsafe bytes.span.bytes)
    }

    /// The value as a truth value; nil when there is no such member, or it is neither `true` nor `false`.
    package func flag(_ name: String) -> Bool? {
        switch text(name) {
        case "true": true
        case "false": false
        default: nil
        }
    }

    /// The value as an object; nil when there is no such member, or it is none.
    package func object(_ name: String, subject: String) throws(TensorFormatError) -> JSONObjectText? {
        guard let place = value(name), bytes[place.lowerBound] == UInt8(ascii: "{") else { return nil }
        return try JSONObjectText(Array(bytes[place]), subject: subject)
    }

    /// Every member as name and string; refused where a value is none.
    package func strings() throws(TensorFormatError) -> [(name: String, value: String)] {
        var pairs: [(String, String)] = []
        pairs.reserveCapacity(members.count)
        for member in members {
            var scanner = HeaderScanner("json", range: member.value)
            pairs.append((member.name, try scanner.jsonString(in: unsafe bytes.span.bytes)))
        }
        return pairs
    }

    /// The text with the member's value replaced, or the member appended in the style of a two-space indent.
    package func setting(_ name: String, to text: String) -> [UInt8] {
        guard let place = value(name) else {
            let head = bytes[..<close].reversed().drop { $0 == 0x20 || $0 == 0x0A || $0 == 0x0D || $0 == 0x09 }
            let comma = members.isEmpty ? "" : ","
            return head.reversed() + Array("\(comma)\n  \"\(jsonEscaped(name))\": \(text)\n".utf8) + bytes[close...]
        }
        return bytes[..<place.lowerBound] + Array(text.utf8) + bytes[place.upperBound...]
    }

    private func value(_ name: String) -> Range<Int>? {
        members.first { ExactName($0.name) == ExactName(name) }?.value
    }
}

extension HeaderScanner {
    /// Reads a name and the colon behind it.
    fileprivate mutating func memberName(in bytes: RawSpan) throws(TensorFormatError) -> String {
        let name = try jsonString(in: bytes)
        skipBlanks(in: bytes)
        try expect(UInt8(ascii: ":"), in: bytes)
        skipBlanks(in: bytes)
        return name
    }

    /// Passes a value of any kind.
    fileprivate mutating func passValue(depth: Int, in bytes: RawSpan) throws(TensorFormatError) {
        guard depth < JSONObjectText.maximumDepth else {
            throw error("too_deep", "more than \(JSONObjectText.maximumDepth) values within each other")
        }
        var isFirst = true
        switch peek(in: bytes) {
        case UInt8(ascii: "\""): _ = try jsonString(in: bytes)
        case UInt8(ascii: "{"):
            advance()
            while try nextElement(isFirst: &isFirst, close: UInt8(ascii: "}"), in: bytes) {
                _ = try memberName(in: bytes)
                try passValue(depth: depth + 1, in: bytes)
            }
        case UInt8(ascii: "["):
            advance()
            while try nextElement(isFirst: &isFirst, close: UInt8(ascii: "]"), in: bytes) {
                try passValue(depth: depth + 1, in: bytes)
            }
        case UInt8(ascii: "t"): try pass("true", in: bytes)
        case UInt8(ascii: "f"): try pass("false", in: bytes)
        case UInt8(ascii: "n"): try pass("null", in: bytes)
        // Python writes these two though JSON has no word for them, and configurations of models hold them.
        case UInt8(ascii: "N"): try pass("NaN", in: bytes)
        case UInt8(ascii: "I"): try pass("Infinity", in: bytes)
        default: try passNumber(in: bytes)
        }
    }

    private mutating func pass(_ word: String, in bytes: RawSpan) throws(TensorFormatError) {
        for byte in word.utf8 {
            guard take(byte, in: bytes) else { throw unexpected("expected \(word)", in: bytes) }
        }
    }

    /// Passes a number: sign, digits without a leading zero, fraction, exponent.
    private mutating func passNumber(in bytes: RawSpan) throws(TensorFormatError) {
        let isNegative = take(UInt8(ascii: "-"), in: bytes)
        if isNegative, peek(in: bytes) == UInt8(ascii: "I") { return try pass("Infinity", in: bytes) }
        guard let first = peek(in: bytes), isDigit(first) else { throw unexpected("expected a value", in: bytes) }
        let start = position
        passDigits(in: bytes)
        guard first != UInt8(ascii: "0") || position == start + 1 else {
            throw error("number", "a number begins with 0", at: start)
        }
        if take(UInt8(ascii: "."), in: bytes) { try passDigitsAtLeastOne(in: bytes) }
        if take(UInt8(ascii: "e"), in: bytes) || take(UInt8(ascii: "E"), in: bytes) {
            if !take(UInt8(ascii: "+"), in: bytes) { _ = take(UInt8(ascii: "-"), in: bytes) }
            try passDigitsAtLeastOne(in: bytes)
        }
    }

    private mutating func passDigitsAtLeastOne(in bytes: RawSpan) throws(TensorFormatError) {
        guard let byte = peek(in: bytes), isDigit(byte) else { throw unexpected("expected a digit", in: bytes) }
        passDigits(in: bytes)
    }

    private mutating func passDigits(in bytes: RawSpan) {
        while let byte = peek(in: bytes), isDigit(byte) { advance() }
    }

    private func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }
}
