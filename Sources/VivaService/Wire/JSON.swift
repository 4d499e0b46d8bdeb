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
    /// As many items as said, each made when it is written and then forgotten: a report has very many tensors.
    case list(count: Int, item: @Sendable (Int) -> JSON)
    /// Text that is JSON already.
    case raw(String)

    /// What was read, with the numbers as they were written.
    init(_ value: JSONValue) {
        self =
            switch value {
            case .null: .null
            case .bool(let flag): .bool(flag)
            case .number(let digits): .raw(digits)
            case .string(let text): .string(text)
            case .array(let items): .array(items.map { JSON($0) })
            case .object(let members): .object(members.map { ($0.name, JSON($0.value)) })
            }
    }

    /// A number, or null for nil.
    static func optional(_ value: Double?) -> JSON { value.map { .number($0) } ?? .null }
    /// A string, or null for nil.
    static func optional(_ value: String?) -> JSON { value.map { .string($0) } ?? .null }
    /// A page of a list; `next` is the cursor of the one behind it.
    static func page(_ items: [JSON], next: String?) -> JSON {
        .object([("items", .array(items)), ("next", .optional(next))])
    }
    /// An array of strings.
    static func strings(_ values: [String]) -> JSON { .array(values.map { .string($0) }) }

    /// The text, indented by two spaces, ending in a newline.
    func bytes() -> [UInt8] {
        var text: [UInt8] = []
        write(into: &text, indent: 0)
        text += "\n"
        return text
    }

    /// The text as it stands in an object that is indented by `indent` spaces, from its own first letter on; without
    /// `indent` on one line.
    func text(indentedBy indent: Int? = nil) -> String {
        var text: [UInt8] = []
        write(into: &text, indent: indent)
        return String(decoding: text, as: UTF8.self)
    }

    private func write(into text: inout [UInt8], indent: Int?) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += "\(value)"
        case .number(let value): text += value.isFinite ? "\(value)" : "null"
        case .string(let value): text += "\"\(jsonEscaped(value))\""
        case .raw(let json): text += json
        case .array(let items):
            let isShort = items.allSatisfy { $0.isScalar }
            Self.write(items.count, "[", "]", into: &text, indent: isShort ? nil : indent) { (nil, items[$0]) }
        case .list(let count, let item): Self.write(count, "[", "]", into: &text, indent: indent) { (nil, item($0)) }
        case .object(let members): Self.write(members.count, "{", "}", into: &text, indent: indent) { members[$0] }
        }
    }

    private var isScalar: Bool {
        switch self {
        case .array, .list, .object: false
        default: true
        }
    }

    private static func write(
        _ count: Int, _ open: String, _ close: String, into text: inout [UInt8], indent: Int?,
        member: (Int) -> (name: String?, value: JSON)
    ) {
        text += open
        let inner = indent.map { $0 + 2 }
        for index in 0..<count {
            let (name, value) = member(index)
            if index > 0 { text += indent == nil ? ", " : "," }
            if let inner { text += "\n" + String(repeating: " ", count: inner) }
            if let name { text += "\"\(jsonEscaped(name))\": " }
            value.write(into: &text, indent: inner)
        }
        if let indent, count > 0 { text += "\n" + String(repeating: " ", count: indent) }
        text += close
    }
}

extension [UInt8] {
    fileprivate static func += (bytes: inout [UInt8], text: String) { bytes.append(contentsOf: text.utf8) }
}
