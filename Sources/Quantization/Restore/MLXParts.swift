import Tensors

/// The weights of MLX 0.32.4, mode `affine`, 4 or 8 bits.
enum MLXParts {
    /// MLX's group sizes.
    private static let groupSizes = [32, 64, 128]
    /// MLX's widths that fill words of 32 bits evenly; 2 is not restored, but may be what a shape means.
    private static let widths = [2, 4, 8]

    /// The weight of `module` whose biases are `biases`, named `<module>biases`; nil if there are no words beside them.
    static func affine(
        module: String, biases: TensorEntry, _ table: inout PartTable, _ widths: CodeWidths
    ) throws(QuantizationError) -> QuantizedWeight? {
        let names = [module + "weight"] + [module.before(suffix: ".")].compactMap { $0 }
        guard let name = names.first(where: { table.entry($0)?.type == .u32 }) else { return nil }
        let words = try table.require(name, besides: biases.name)
        guard words.shape.count >= 2, let wordsOfRow = words.shape.last,
            let returned = RestoredType(exactly: biases.type),
            let groups = biases.shape.last, groups > 0, biases.shape.dropLast() == words.shape.dropLast()
        else { throw PartTable.mismatch(biases, expected: "F32, F16 or BF16 [rows, groups] for \(words.shape)") }
        let scales = try table.require(module + "scales", besides: name, [biases.type], biases.shape)
        let fitting = Self.widths.filter { bits in
            let columns = wordsOfRow * (32 / bits)
            return columns % groups == 0 && groupSizes.contains(columns / groups)
        }
        guard !fitting.isEmpty else {
            throw PartTable.mismatch(words, expected: "words of 4 or 8 bits in groups of \(groupSizes)")
        }
        let bits = try widths.bits(of: name, among: fitting, supported: [4, 8])
        let columns = wordsOfRow * (32 / bits)
        return QuantizedWeight(
            name: name, shape: words.shape.dropLast() + [columns], elementCount: words.elementCount * (32 / bits),
            returned: returned,
            coding: .groups(
                GroupCoding(
                    code: .affine(bits: bits), codes: table.part(words), columns: columns, groups: groups,
                    scales: scales, biases: table.part(biases), zeros: nil)))
    }
}
