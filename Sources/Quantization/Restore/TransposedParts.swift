import Tensors

/// The weights of AutoAWQ 0.2.9 in GEMM layout, told from those of GPTQ, which have the same names.
enum TransposedParts {
    /// The weight of `module` whose words are `words`, named `<module>qweight`.
    static func awq(
        module: String, _ words: TensorEntry, _ table: inout PartTable, _ limits: RestoreLimits
    ) throws(QuantizationError) -> QuantizedWeight {
        if table.entry(module + "g_idx") != nil { throw PartTable.unsupported(words, "a GPTQ weight") }
        guard words.type == .i32, words.shape.count == 2 else {
            throw PartTable.mismatch(words, expected: "I32 [columns, rows / 8], the GEMM layout of AWQ")
        }
        let scales = try table.require(module + "scales", besides: words.name)
        guard scales.type == .f16, scales.shape.count == 2, scales.shape[0] > 0 else {
            throw PartTable.mismatch(scales, expected: "F16 [groups, rows]")
        }
        let (groups, rows) = (scales.shape[0], scales.shape[1])
        let (columns, wordsOfRow) = (words.shape[0], words.shape[1])
        guard rows.isMultiple(of: 8), wordsOfRow == rows / 8 else {
            if wordsOfRow == rows { throw PartTable.unsupported(words, "a GPTQ weight") }
            throw PartTable.mismatch(words, expected: "I32 [columns, \(rows) / 8]")
        }
        guard columns.isMultiple(of: groups) else {
            throw PartTable.mismatch(scales, expected: "F16 [groups, rows] for \(columns) columns")
        }
        guard columns <= limits.maximumAWQColumns else {
            throw .limit(name: "awq_columns", value: columns, limit: limits.maximumAWQColumns, tensor: words.name)
        }
        let zeros = try table.require(module + "qzeros", besides: words.name, [.i32], [groups, wordsOfRow])
        var inputScales: StoredPart?
        if table.entry(module + "input_scales") != nil {
            inputScales = try table.require(module + "input_scales", besides: words.name, [.f32], [columns])
        }
        return QuantizedWeight(
            name: module + "weight", shape: [rows, columns], elementCount: rows * columns,
            returned: inputScales == nil ? .f16 : .f32,
            coding: .awq(
                AWQCoding(
                    words: table.part(words), zeros: zeros, scales: table.part(scales), inputScales: inputScales,
                    rows: rows, columns: columns, groups: groups)))
    }
}
