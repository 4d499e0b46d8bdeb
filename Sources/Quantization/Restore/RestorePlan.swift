import Tensors

/// The restored file computed from the artifact's header: its own header, and what comes behind it in which order.
struct RestorePlan {
    /// One tensor of the restored file.
    enum Item {
        /// Bytes that stay as they are, from an offset of the artifact on.
        case copied(offset: Int, bytes: Int)
        case restored(QuantizedWeight, as: RestoredType)

        /// Bytes of the tensor.
        var byteCount: Int {
            switch self {
            case .copied(_, let bytes): bytes
            case .restored(let weight, let type): weight.elementCount * type.width
            }
        }
    }

    /// The 8 length bytes and the header.
    let prefix: [UInt8]
    /// The tensors in the order of the data, wide elements first: so each is aligned.
    let items: [Item]
    /// Bytes of the restored file.
    let byteCount: Int

    /// Alignment of the data, as of an artifact's.
    private static let alignment = ArtifactLayout.alignment
    /// Metadata that says how the artifact was made, which is no longer so.
    private static let dropped: Set<String> = ["format", "viva"]

    init(_ contents: ArtifactContents, _ input: InputDescription, elements: RestoredElements) {
        var tensors: [(name: String, type: ElementType, shape: [Int], item: Item)] = contents.weights.map { weight in
            let type = elements.type(returned: weight.returned)
            return (weight.name, type.elementType, weight.shape, .restored(weight, as: type))
        }
        tensors += contents.copied.map { entry in
            let offset = input.dataOffset + entry.bytes.lowerBound
            return (entry.name, entry.type, entry.shape, .copied(offset: offset, bytes: entry.bytes.count))
        }
        // Sorting keeps the order of equals.
        tensors.sort { $0.type.bitWidth > $1.type.bitWidth }
        var position = 0
        var entries: [TensorEntry] = []
        entries.reserveCapacity(tensors.count)
        for tensor in tensors {
            let bytes = tensor.item.byteCount
            entries.append(
                TensorEntry(
                    name: tensor.name, type: tensor.type, shape: tensor.shape,
                    elementCount: bytes * 8 / tensor.type.bitWidth, bytes: position..<position + bytes))
            position += bytes
        }
        let kept = input.metadata.filter { !Self.dropped.contains($0.name) }
        let json = SafetensorsHeader.serialize(
            entries: entries, metadata: [MetadataItem(name: "format", value: "pt")] + kept)
        let start = (8 + json.count + Self.alignment - 1) / Self.alignment * Self.alignment
        prefix = SafetensorsHeader.file(prefixing: json, paddedTo: start - 8)
        items = tensors.map(\.item)
        byteCount = start + position
    }
}
