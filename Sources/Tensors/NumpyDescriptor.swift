/// The element type and byte order that the `descr` string of an npy header names.
struct NumpyDescriptor: Equatable {
    let type: ElementType
    /// Whether the most significant byte comes first; false for one-byte types.
    let isBigEndian: Bool

    /// Reads `<f4`, `>f8`, `|u1` and the like; `=`, `|` and no sign mean little-endian, the order of this machine.
    ///
    /// Source: the array interface protocol, `typestr`.
    init(_ descr: String, at offset: Int) throws(TensorFormatError) {
        let order = descr.utf8.first ?? 0
        let hasOrder = [UInt8(ascii: "<"), UInt8(ascii: ">"), UInt8(ascii: "="), UInt8(ascii: "|")].contains(order)
        let name = hasOrder ? String(descr.dropFirst()) : descr
        if name.utf8.first == UInt8(ascii: "O") {
            throw numpyError("object_type", "an array of Python objects is a pickle, which is never loaded", at: offset)
        }
        if name.utf8.first == UInt8(ascii: "V") {
            let detail = """
                numpy stores types that it does not know, bfloat16 and float8 among them, as bare bytes (\(name)): \
                the type is lost; send safetensors, or raw bytes with their type
                """
            throw numpyError("void_type", detail, at: offset)
        }
        guard let type = Self.types[name] else {
            let known = Self.types.keys.sorted().joined(separator: " ")
            throw numpyError("unsupported_type", "descr must be one of \(known)", at: offset)
        }
        self.type = type
        isBigEndian = order == UInt8(ascii: ">") && type.bitWidth > 8
    }

    private static let types: [String: ElementType] = [
        "f2": .f16, "f4": .f32, "f8": .f64, "i1": .i8, "i2": .i16, "i4": .i32, "i8": .i64, "u1": .u8, "u2": .u16,
        "u4": .u32, "u8": .u64, "b1": .bool, "c8": .c64,
    ]
}
