/// A JSON object with its text letter for letter: for files that are changed in one place and otherwise kept.
///
/// `6.0` stays `6.0`, the order stays, and so do the blanks.
package struct JSONObjectText: Sendable {
    /// The object.
    package let root: JSONValue
    /// Its text.
    package let bytes: [UInt8]
    /// Where the values of the members stand, in their order.
    private let places: [Range<Int>]

    /// Reads a whole text whose root is an object; throws as `JSONValue.parse` does, and `json.not_object`.
    package init(_ bytes: [UInt8], limits: JSONValue.Limits = JSONValue.Limits()) throws(TensorFormatError) {
        let (root, places) = try JSONValue.located(unsafe bytes.span.bytes, limits: limits)
        guard case .object = root else {
            throw TensorFormatError(code: "json.not_object", detail: "expected an object", offset: 0)
        }
        self.root = root
        self.places = places
        self.bytes = bytes
    }

    /// The value's text; nil when there is no such member.
    package func text(_ name: String) -> [UInt8]? { place(of: name).map { Array(bytes[$0]) } }

    /// The text with the member's value replaced, or the member appended in the style of a two-space indent.
    package func setting(_ name: String, to text: [UInt8]) -> [UInt8] {
        if let place = place(of: name) { return bytes[..<place.lowerBound] + text + bytes[place.upperBound...] }
        // Behind the root's closing brace there is nothing but blanks.
        let close = bytes.lastIndex(of: UInt8(ascii: "}")) ?? bytes.endIndex
        var head = bytes[..<close]
        while let last = head.last, last == 0x20 || last == 0x0A || last == 0x0D || last == 0x09 { head.removeLast() }
        let comma = places.isEmpty ? "" : ","
        var changed = Array(head)
        changed += Array("\(comma)\n  \"\(jsonEscaped(name))\": ".utf8)
        changed += text
        changed.append(UInt8(ascii: "\n"))
        return changed + bytes[close...]
    }

    private func place(of name: String) -> Range<Int>? {
        guard case .object(let members) = root else { return nil }
        return zip(members, places).first { ExactName($0.0.name) == ExactName(name) }?.1
    }
}
