/// What a model's `config.json` says that decides which tensors a library quantizes.
package struct Architecture: Sendable, Hashable {
    /// The key `model_type`, `llama` for instance.
    package let modelType: String
    /// The key `tie_word_embeddings`: whether the output head is the embedding; nil where the model's default holds.
    package let isTied: Bool?

    /// The longest `model_type`.
    package static let maximumTypeBytes = 64

    /// Takes the keys of a configuration; nil for a type that is not 1 to 64 letters, digits, `_`, `-` or `.`.
    package init?(modelType: String, isTied: Bool?) {
        guard (1...Self.maximumTypeBytes).contains(modelType.utf8.count), modelType.utf8.allSatisfy(Self.isNameByte)
        else { return nil }
        self.modelType = modelType
        self.isTied = isTied
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."):
            true
        default: false
        }
    }

    /// The architecture that the options name, if they do.
    static func read(_ reader: inout OptionReader) throws(QuantizationError) -> Architecture? {
        let isTied = try reader.flag("tied")
        guard let modelType = reader.text("model_type") else {
            guard isTied == nil else {
                throw .recipe(
                    code: "recipe.invalid_option", detail: "tied goes with model_type, both as config.json has them.")
            }
            return nil
        }
        guard let architecture = Architecture(modelType: modelType, isTied: isTied) else {
            throw .recipe(
                code: "recipe.invalid_option",
                detail: "model_type is the text of that key in config.json: 1 to \(maximumTypeBytes) letters, digits, "
                    + "'_', '-' or '.'.")
        }
        return architecture
    }
}
