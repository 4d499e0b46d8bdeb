/// What the header of a GGUF file says: pairs of metadata, and where its tensors lie.
///
/// Source: docs/gguf.md of ggml, versions 2 and 3, little-endian; tensors of quantized types are not described.
package struct GGUFHeader: Sendable, Equatable {
    /// The format's version, 2 or 3.
    package let version: Int
    /// The pairs in the order of the file; keys are unique.
    package let metadata: [GGUFItem]
    /// The tensors in the order of the file, by ascending position; names are unique.
    package let entries: [TensorEntry]
    /// Where the data buffer begins, in bytes from the start of the file.
    package let dataOffset: Int
    /// The length of the file in bytes; the last tensor is padded like all others.
    package let totalBytes: Int

    /// The value of that key.
    package func value(of key: String) -> GGUFValue? {
        metadata.first { ExactName($0.key) == ExactName(key) }?.value
    }

    /// The tensors as those of any other file; between two of them there may be padding.
    package var input: InputDescription {
        InputDescription(
            container: .gguf, entries: entries, metadata: [], dataOffset: dataOffset, dataBytes: totalBytes - dataOffset
        )
    }
}

/// One pair of a GGUF file's metadata.
package struct GGUFItem: Sendable, Equatable {
    /// The key, for instance `general.type`.
    package let key: String
    /// The value.
    package let value: GGUFValue
}

/// A value of a GGUF file's metadata.
package enum GGUFValue: Sendable, Equatable {
    /// Unsigned integers of 8 to 64 bits.
    case unsigned(UInt64)
    /// Signed integers of 8 to 64 bits.
    case signed(Int64)
    /// Floats of 32 and 64 bits.
    case float(Double)
    /// `true` or `false`.
    case bool(Bool)
    /// UTF-8.
    case string(String)
    /// An array of strings.
    case strings([String])
    /// An array of numbers, which are passed over: how many there are.
    case numbers(count: Int)
}

/// How far the header of a GGUF file could be read.
package enum GGUFParse: Sendable, Equatable {
    /// The header is not all there: at least so many bytes from the start of the file are needed.
    case needsMore(atLeast: Int)
    /// The header is whole and valid.
    case complete(GGUFHeader)
}
