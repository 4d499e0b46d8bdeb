import Quantization

/// A recipe as answers describe it: its words for people.
struct RecipeCard: Decodable, Sendable {
    let method: String
    let format: String
    let mode: String
    let options: [String: OptionValue]

    /// Method, and mode and format where they are not the usual ones.
    var label: String {
        var words = [method]
        let known = Method(rawValue: method)
        if known?.modes.first?.rawValue != mode { words.append(mode) }
        if known?.formats.first?.rawValue != format { words.append(format) }
        return words.joined(separator: " ")
    }

    /// The options in alphabetical order: `block_size=64, double_quant=true`.
    var optionText: String { Self.text(options) }

    /// The label, with the options that are not those of `other` where that has the same label.
    func label(beside other: RecipeCard) -> String {
        guard label == other.label else { return label }
        let different = options.filter { other.options[$0.key]?.text != $0.value.text }
        return different.isEmpty ? label : "\(label) \(Self.text(different))"
    }

    private static func text(_ options: [String: OptionValue]) -> String {
        options.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.text)" }.joined(separator: ", ")
    }
}

/// The value of a recipe's option, for people.
struct OptionValue: Decodable, Sendable {
    let text: String

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            text = "none"
        } else if let flag = try? value.decode(Bool.self) {
            text = "\(flag)"
        } else if let number = try? value.decode(Int.self) {
            text = "\(number)"
        } else if let number = try? value.decode(Double.self) {
            text = "\(number)"
        } else if let word = try? value.decode(String.self) {
            text = HTML.shortened(word)
        } else if let list = try? value.decode([OptionValue].self) {
            text = HTML.shortened(list.map(\.text).joined(separator: " "))
        } else {
            let members = try value.decode([String: OptionValue].self)
            text = HTML.shortened(
                members.sorted { $0.key < $1.key }.map { "\($0.key):\($0.value.text)" }.joined(separator: " "))
        }
    }
}
