/// Takes one member out of a stored artifact JSON, letter for letter.
///
/// Decoding and encoding it again would turn 6.0 into 6, which transformers refuses where it expects a float.
enum ManifestReader {
    /// The text of the top-level member `name`, which must be an object; nil when there is none.
    static func object(_ name: String, in manifest: String) -> String? {
        let bytes = Array(manifest.utf8)
        let key = Array("\"\(name)\"".utf8)
        var (depth, isText, isEscaped) = (0, false, false)
        var start: Int?
        for (index, byte) in bytes.enumerated() {
            if isText {
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else if byte == UInt8(ascii: "\"") {
                    isText = false
                }
                continue
            }
            switch byte {
            case UInt8(ascii: "\""): isText = true
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                if depth == 1, start == nil, byte == UInt8(ascii: "{"), Self.follows(key, bytes[..<index]) {
                    start = index
                }
                depth += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                depth -= 1
                if depth == 1, let start { return String(decoding: bytes[start...index], as: UTF8.self) }
            default: break
            }
        }
        return nil
    }

    /// Whether `before` ends in the key, a colon and white space.
    private static func follows(_ key: [UInt8], _ before: ArraySlice<UInt8>) -> Bool {
        var rest = before
        while rest.last == UInt8(ascii: " ") { rest.removeLast() }
        guard rest.popLast() == UInt8(ascii: ":") else { return false }
        return rest.suffix(key.count).elementsEqual(key)
    }
}
