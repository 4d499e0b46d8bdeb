/// One tensor as its container's header describes it.
package struct TensorEntry: Sendable, Equatable {
    /// The name, unescaped; unique by its UTF-8 bytes within one description.
    package let name: String
    /// The type of the stored elements.
    package let type: ElementType
    /// The size of each dimension, slowest first; empty for a scalar.
    package let shape: [Int]
    /// The product of `shape`; 1 for a scalar.
    package let elementCount: Int
    /// Where the elements lie, in bytes from the start of the data buffer.
    package let bytes: Range<Int>
    /// Whether the elements lie column by column; only npy says so, and only where the order makes a difference.
    package let isFortranOrder: Bool
    /// Whether multi-byte elements are stored most significant byte first; only npy says so.
    package let isBigEndian: Bool

    /// Describes one tensor; parsers check that the figures agree, a writer computes them.
    package init(
        name: String, type: ElementType, shape: [Int], elementCount: Int, bytes: Range<Int>,
        isFortranOrder: Bool = false, isBigEndian: Bool = false
    ) {
        self.name = name
        self.type = type
        self.shape = shape
        self.elementCount = elementCount
        self.bytes = bytes
        self.isFortranOrder = isFortranOrder
        self.isBigEndian = isBigEndian
    }

    /// The same bytes as the transposed tensor.
    package var transposed: TensorEntry {
        TensorEntry(
            name: name, type: type, shape: shape.reversed(), elementCount: elementCount, bytes: bytes,
            isFortranOrder: !isFortranOrder, isBigEndian: isBigEndian)
    }
}

/// One pair of the `__metadata__` object of a safetensors header.
package struct MetadataItem: Sendable, Equatable {
    /// The key, unescaped; unique by its UTF-8 bytes within one header.
    package let name: String
    /// The value, unescaped.
    package let value: String

    /// Pairs a key with its value.
    package init(name: String, value: String) {
        self.name = name
        self.value = value
    }
}

/// The container formats that this module reads.
package enum Container: String, Sendable, Hashable, CaseIterable {
    /// Many named tensors behind a JSON header (safetensors 0.8).
    case safetensors
    /// One array behind a Python literal (numpy.lib.format versions 1.0, 2.0 and 3.0).
    case npy
    /// Named arrays as npy members of a zip archive (`numpy.savez`).
    case npz
    /// Metadata and named tensors (docs/gguf.md of ggml); only importance matrices of llama.cpp are taken.
    case gguf
    /// The bare elements of one tensor, its type and shape given beside them.
    case raw
}

/// What a file's header says about its tensors.
///
/// The entries cover the data buffer exactly: the first begins at 0, each begins where the one before it ends (in GGUF
/// at the next multiple of its alignment).
package struct InputDescription: Sendable, Equatable {
    /// The format that the bytes were recognised as.
    package let container: Container
    /// The tensors by ascending position in the data buffer; zero-size tensors at one place in header order.
    package let entries: [TensorEntry]
    /// The `__metadata__` pairs in header order; only safetensors has them.
    package let metadata: [MetadataItem]
    /// Where the data buffer begins, in bytes from the start of the input; 0 for npz, whose data buffer is the data of
    /// the members one behind the other.
    package let dataOffset: Int
    /// The length of the data buffer in bytes.
    package let dataBytes: Int

    /// The length of the whole input in bytes: header and data.
    package var totalBytes: Int { dataOffset + dataBytes }

    /// An input without a header that holds only `entries`, which cover its data.
    package func holding(only entries: [TensorEntry]) -> InputDescription {
        InputDescription(
            container: container, entries: entries, metadata: [], dataOffset: 0,
            dataBytes: entries.last?.bytes.upperBound ?? 0)
    }

    /// The same input with its tensors described otherwise: as many, of as many bytes.
    package func replacing(entries: [TensorEntry]) -> InputDescription {
        InputDescription(
            container: container, entries: entries, metadata: metadata, dataOffset: dataOffset, dataBytes: dataBytes)
    }

    /// The tensors of several safetensors files, in their order, as those of one file without a header.
    ///
    /// Names may repeat: the caller has looked for them.
    package static func joined(_ files: [InputDescription]) -> InputDescription {
        var entries: [TensorEntry] = []
        var position = 0
        for file in files {
            entries += file.entries.map { entry in
                TensorEntry(
                    name: entry.name, type: entry.type, shape: entry.shape, elementCount: entry.elementCount,
                    bytes: position + entry.bytes.lowerBound..<position + entry.bytes.upperBound)
            }
            position += file.dataBytes
        }
        return InputDescription(
            container: .safetensors, entries: entries, metadata: [], dataOffset: 0, dataBytes: position)
    }
}

/// How far a header could be read.
package enum HeaderParse: Sendable, Equatable {
    /// The header is not all there: come back with at least this many bytes from the start of the input.
    case needsMore(atLeast: Int)
    /// The header is whole and valid.
    case complete(InputDescription)
}
