import Tensors

/// Takes one member out of a stored artifact JSON, letter for letter.
///
/// Decoding and encoding it again would turn 6.0 into 6, which transformers refuses where it expects a float.
enum ManifestReader {
    /// The text of the top-level member `name`; nil where there is none, or none but `null`.
    static func text(of name: String, in manifest: String) throws(TensorFormatError) -> String? {
        var limits = JSONValue.Limits()
        // The text is the service's own, and names every module of a model.
        limits.maximumValues = .max
        let manifest = try JSONObjectText(Array(manifest.utf8), limits: limits)
        guard manifest.root[name] != .null else { return nil }
        return manifest.text(name).map { String(decoding: $0, as: UTF8.self) }
    }
}
