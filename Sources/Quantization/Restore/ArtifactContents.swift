import Tensors

/// What an artifact holds: weights that were recognised by the names, types and shapes of their parts, and tensors that
/// are no part of one.
struct ArtifactContents {
    private(set) var weights: [QuantizedWeight] = []
    private(set) var copied: [TensorEntry] = []

    /// Recognises every weight; refuses what contradicts itself, what is half there, and files without any weight.
    ///
    /// - Parameter bits: the width of codes where shapes leave it open and the file does not say.
    init(
        _ input: InputDescription, bits: Int?, _ reader: ArtifactReader, _ limits: RestoreLimits
    ) throws(QuantizationError) {
        var table = PartTable(input)
        let widths = CodeWidths(stated: bits, metadata: input.metadata, limits: limits)
        for entry in input.entries {
            if let weight = try Self.weight(givenAwayBy: entry, &table, widths, reader, limits) {
                weights.append(weight)
            }
        }
        for (index, entry) in input.entries.enumerated() where !table.isClaimed(index) {
            try Self.refuseStray(entry, table)
            copied.append(entry)
        }
        guard !weights.isEmpty else { throw Self.nothing(input) }
        var names: Set<ExactName> = []
        for name in weights.map(\.name) + copied.map(\.name) {
            guard names.insert(ExactName(name)).inserted else {
                throw .artifact(
                    code: "artifact.name_conflict", detail: "Two restored tensors would be called '\(name)'.",
                    tensor: name)
            }
        }
    }

    /// The weight that one of its parts, a different one in each format, gives away by its name.
    private static func weight(
        givenAwayBy entry: TensorEntry, _ table: inout PartTable, _ widths: CodeWidths, _ reader: ArtifactReader,
        _ limits: RestoreLimits
    ) throws(QuantizationError) -> QuantizedWeight? {
        for (kind, suffix) in BitsandbytesParts.stateSuffixes {
            guard let name = entry.name.before(suffix: suffix) else { continue }
            _ = table.claim(entry.name)
            return try BitsandbytesParts.blocks(name, kind: kind, state: entry, &table, reader, limits)
        }
        if let module = entry.name.before(suffix: "SCB") {
            _ = table.claim(entry.name)
            return try BitsandbytesParts.int8(module: module, scales: entry, &table, reader)
        }
        if entry.type == .i32 || entry.type == .u8, let name = entry.name.before(suffix: "_packed") {
            _ = table.claim(entry.name)
            return try CompressedTensorsParts.packed(name, entry, &table, reader, widths)
        }
        if let name = entry.name.before(suffix: "_scale"), let type = table.entry(name)?.type,
            type == .i8 || type == .f8E4M3
        {
            _ = table.claim(entry.name)
            return try CompressedTensorsParts.bytes(name, scales: entry, &table)
        }
        if let module = entry.name.before(suffix: "qweight") {
            _ = table.claim(entry.name)
            return try TransposedParts.awq(module: module, entry, &table, limits)
        }
        if let module = entry.name.before(suffix: "biases"),
            let weight = try MLXParts.affine(module: module, biases: entry, &table, widths)
        {
            _ = table.claim(entry.name)
            return weight
        }
        return nil
    }

    /// Endings of parts without which a weight cannot be what it was: alone they mean that the rest is missing.
    private static let partEndings = [
        ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", "qzeros", "weight_zero_point", "weight_scale",
        "weight_scale_inv", "weight_shape", "weight_format",
    ]

    private static func refuseStray(_ entry: TensorEntry, _ table: PartTable) throws(QuantizationError) {
        if entry.type == .u32, let module = entry.name.before(suffix: "weight"), table.entry(module + "scales") != nil {
            throw PartTable.unsupported(entry, "a weight of MLX without biases (mxfp4, nvfp4)")
        }
        guard let ending = partEndings.first(where: { entry.name.before(suffix: $0) != nil }) else { return }
        throw .artifact(
            code: "artifact.missing_part",
            detail: "'\(entry.name)' ends in '\(ending)' like a part of a quantized weight, "
                + "but the rest of that weight is not there or of no known format.",
            tensor: entry.name)
    }

    private static func nothing(_ input: InputDescription) -> QuantizationError {
        let types = Set(input.entries.map(\.type.rawValue)).sorted().joined(separator: ", ")
        return .artifact(
            code: "artifact.not_quantized",
            detail: "None of the \(input.entries.count) tensors (\(types)) is a quantized weight of bitsandbytes, AWQ, "
                + "compressed-tensors or MLX.",
            tensor: nil)
    }
}
