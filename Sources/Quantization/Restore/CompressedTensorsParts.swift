import Tensors

/// The weights of compressed-tensors 0.20.0: `pack-quantized`, `int-quantized`, `float-quantized`.
enum CompressedTensorsParts {
    private static let scaleTypes: Set<ElementType> = [.f32, .f16, .bf16]

    /// The weight `name` whose codes are the words of `packed`, named `<name>_packed`.
    static func packed(
        _ name: String, _ packed: TensorEntry, _ table: inout PartTable, _ reader: ArtifactReader,
        _ widths: CodeWidths
    ) throws(QuantizationError) -> QuantizedWeight {
        for (suffix, what) in [("_global_scale", "NVFP4"), ("_g_idx", "columns in activation order")] {
            if let entry = table.entry(name + suffix) { throw PartTable.unsupported(entry, what) }
        }
        guard packed.type == .i32, packed.shape.count == 2 else {
            throw PartTable.mismatch(packed, expected: "I32 [rows, words]")
        }
        let (rows, words) = (packed.shape[0], packed.shape[1])
        let shapeEntry = try table.require("\(name)_shape", besides: packed.name)
        try PartTable.check(shapeEntry, [.i64], [2])
        let columns = try columns(table.part(shapeEntry), rows: rows, reader)
        let fitting = [4, 8].filter { GroupCoding.wordBytes(columns: columns, bits: $0) == words * 4 }
        guard !fitting.isEmpty else {
            throw PartTable.mismatch(packed, expected: "words of 4 or 8 bits for \(columns) columns")
        }
        let bits = try widths.bits(of: name, among: fitting, supported: fitting)
        let scales = try table.require("\(name)_scale", besides: packed.name)
        guard let returned = RestoredType(exactly: scales.type), scales.shape.count == 2, scales.shape[0] == rows,
            scales.shape[1] > 0, columns % scales.shape[1] == 0
        else { throw PartTable.mismatch(scales, expected: "F32, F16 or BF16 [\(rows), groups of \(columns) columns]") }
        let groups = scales.shape[1]
        var zeros: StoredPart?
        if table.entry("\(name)_zero_point") != nil {
            zeros = try table.require(
                "\(name)_zero_point", besides: packed.name, [.i32], [(rows * bits + 31) / 32, groups])
        }
        return QuantizedWeight(
            name: name, shape: [rows, columns], elementCount: rows * columns, returned: returned,
            coding: .groups(
                GroupCoding(
                    code: .packed(bits: bits), codes: table.part(packed), columns: columns, groups: groups,
                    scales: table.part(scales), biases: nil, zeros: zeros)))
    }

    /// The weight `name` of plain bytes whose scales are `scales`, named `<name>_scale`.
    static func bytes(
        _ name: String, scales: TensorEntry, _ table: inout PartTable
    ) throws(QuantizationError) -> QuantizedWeight {
        let codes = try table.require(name, besides: scales.name)
        if let zeros = table.entry("\(name)_zero_point") { throw PartTable.unsupported(zeros, "asymmetric bytes") }
        guard codes.shape.count == 2 else { throw PartTable.mismatch(codes, expected: "[rows, columns]") }
        try PartTable.check(scales, scaleTypes, [codes.shape[0], 1])
        guard let returned = RestoredType(exactly: scales.type) else {
            throw PartTable.mismatch(scales, expected: "F32, F16 or BF16")
        }
        return QuantizedWeight(
            name: name, shape: codes.shape, elementCount: codes.elementCount, returned: returned,
            coding: .groups(
                GroupCoding(
                    code: codes.type == .i8 ? .int8 : .e4m3, codes: table.part(codes), columns: codes.shape[1],
                    groups: 1, scales: table.part(scales), biases: nil, zeros: nil)))
    }

    /// The columns that `<name>_shape` states; its rows must be the rows of the words.
    private static func columns(
        _ part: StoredPart, rows: Int, _ reader: ArtifactReader
    ) throws(QuantizationError) -> Int {
        var bytes: [UInt8] = []
        try reader.read(16, at: part.offset, into: &bytes)
        let values = [0, 8].map { start in
            (0..<8).reduce(Int64(0)) { $0 | Int64(bytes[start + $1]) << Int64(8 * $1) }
        }
        guard values[0] == Int64(rows), let columns = Int(exactly: values[1]), columns >= 0,
            StoredQuantState.product([rows, columns]) != nil
        else {
            throw .artifact(
                code: "artifact.part_mismatch",
                detail: "'\(part.name)' says \(values), the words have \(rows) rows.", tensor: part.name)
        }
        return columns
    }
}
