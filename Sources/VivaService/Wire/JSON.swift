import Tensors

/// A JSON value whose members keep the order in which they were written, for people read answers too.
enum JSON: Sendable {
    case null
    case bool(Bool)
    case integer(Int)
    /// Non-finite numbers become null: JSON has no word for them.
    case number(Double)
    case string(String)
    case array([JSON])
    case object([(String, JSON)])
    /// Text that is JSON already.
    case raw(String)

    /// A number, or null for nil.
    static func optional(_ value: Double?) -> JSON { value.map { .number($0) } ?? .null }
    /// A string, or null for nil.
    static func optional(_ value: String?) -> JSON { value.map { .string($0) } ?? .null }
    /// An array of strings.
    static func strings(_ values: [String]) -> JSON { .array(values.map { .string($0) }) }

    /// The text, indented by two spaces, ending in a newline.
    func bytes() -> [UInt8] {
        var text = ""
        write(into: &text, indent: 0)
        text += "\n"
        return Array(text.utf8)
    }

    /// The text as it stands in an object that is indented by `indent` spaces, from its own first letter on.
    func text(indentedBy indent: Int) -> String {
        var text = ""
        write(into: &text, indent: indent)
        return text
    }

    /// The text on one line.
    func text() -> String {
        var text = ""
        write(into: &text, indent: nil)
        return text
    }

    private func write(into text: inout String, indent: Int?) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += "\(value)"
        case .number(let value): text += value.isFinite ? "\(value)" : "null"
        case .string(let value): text += "\"\(jsonEscaped(value))\""
        case .raw(let json): text += json
        case .array(let items):
            let isShort = items.allSatisfy { $0.isScalar }
            Self.write(items.map { ("", $0) }, "[", "]", into: &text, indent: isShort ? nil : indent)
        case .object(let members): Self.write(members, "{", "}", into: &text, indent: indent)
        }
    }

    private var isScalar: Bool {
        switch self {
        case .array, .object: false
        default: true
        }
    }

    private static func write(
        _ members: [(String, JSON)], _ open: String, _ close: String, into text: inout String, indent: Int?
    ) {
        text += open
        let inner = indent.map { $0 + 2 }
        for (index, member) in members.enumerated() {
            if index > 0 { text += indent == nil ? ", " : "," }
            if let inner { text += "\n" + String(repeating: " ", count: inner) }
            if open == "{" { text += "\"\(jsonEscaped(member.0))\": " }
            member.1.write(into: &text, indent: inner)
        }
        if let indent, !members.isEmpty { text += "\n" + String(repeating: " ", count: indent) }
        text += close
    }
}
