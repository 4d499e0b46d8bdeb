import Tensors

/// The tensors of an artifact by name, and which of them are parts of a weight.
struct PartTable {
    let input: InputDescription
    private let byName: [ExactName: Int]
    private var claimed: [Bool]

    init(_ input: InputDescription) {
        self.input = input
        byName = Dictionary(
            input.entries.enumerated().map { (ExactName($1.name), $0) }, uniquingKeysWith: { first, _ in first })
        claimed = [Bool](repeating: false, count: input.entries.count)
    }

    /// The tensor of that name.
    func entry(_ name: String) -> TensorEntry? { byName[ExactName(name)].map { input.entries[$0] } }

    /// Whether the tensor at that index is part of a weight.
    func isClaimed(_ index: Int) -> Bool { claimed[index] }

    /// The tensor as a part of a weight, if there is one.
    mutating func claim(_ name: String) -> TensorEntry? {
        guard let index = byName[ExactName(name)] else { return nil }
        claimed[index] = true
        return input.entries[index]
    }

    /// The tensor as a part of the weight that `anchor` gives away.
    mutating func require(_ name: String, besides anchor: String) throws(QuantizationError) -> TensorEntry {
        guard let entry = claim(name) else {
            throw .artifact(
                code: "artifact.missing_part", detail: "'\(anchor)' needs a tensor '\(name)', which is not there.",
                tensor: anchor)
        }
        return entry
    }

    /// The same, of one of some types and of an exact shape.
    mutating func require(
        _ name: String, besides anchor: String, _ types: Set<ElementType>, _ shape: [Int]
    ) throws(QuantizationError) -> StoredPart {
        let entry = try require(name, besides: anchor)
        try Self.check(entry, types, shape)
        return part(entry)
    }

    func part(_ entry: TensorEntry) -> StoredPart { StoredPart(entry, dataOffset: input.dataOffset) }

    /// Refuses a part of another type or shape than the rest of its weight needs.
    static func check(
        _ entry: TensorEntry, _ types: Set<ElementType>, _ shape: [Int]
    ) throws(QuantizationError) {
        guard types.contains(entry.type), entry.shape == shape else {
            let names = types.map(\.rawValue).sorted().joined(separator: " or ")
            throw mismatch(entry, expected: "\(names) \(shape)")
        }
    }

    static func mismatch(_ entry: TensorEntry, expected: String) -> QuantizationError {
        .artifact(
            code: "artifact.part_mismatch",
            detail: "'\(entry.name)' is \(entry.type.rawValue) \(entry.shape), expected \(expected).",
            tensor: entry.name)
    }

    static func unsupported(_ entry: TensorEntry, _ what: String) -> QuantizationError {
        .artifact(
            code: "artifact.unsupported", detail: "'\(entry.name)' is part of \(what), which is not restored here.",
            tensor: entry.name)
    }
}
