import Tensors

/// A weight of an artifact: how it is coded, and where its parts lie. All figures agree with each other and with the
/// lengths of the parts.
struct QuantizedWeight: Sendable {
    /// The name of the restored tensor.
    let name: String
    /// The shape of the restored tensor, rows first.
    let shape: [Int]
    /// The product of `shape`.
    let elementCount: Int
    /// The type that the library of the format returns.
    let returned: RestoredType
    let coding: Coding

    enum Coding: Sendable {
        case blocks(BlockCoding)
        case groups(GroupCoding)
        case awq(AWQCoding)
    }
}

/// bitsandbytes 4-bit: codes into a table of 16 values, one scale for each block of the flattened weight.
struct BlockCoding: Sendable {
    let codes: StoredPart
    let map: StoredPart
    let blockSize: Int
    /// F32, or U8 codes of `nested`.
    let absmax: StoredPart
    let nested: Nested?

    /// Double quantization: scale = map[code] · absmax + offset, each operation in float32.
    struct Nested: Sendable {
        let absmax: StoredPart
        let map: StoredPart
        let offset: Float
    }
}

/// Codes row by row, a scale for each group of columns: LLM.int8(), compressed-tensors and MLX.
struct GroupCoding: Sendable {
    /// What a code stands for.
    enum Code: Sendable, Equatable {
        /// I8 · SCB / 127: bitsandbytes.
        case llmInt8
        /// Unsigned, less 2^(bits−1) and the zero point: compressed-tensors `pack-quantized`.
        case packed(bits: Int)
        /// I8: compressed-tensors `int-quantized`.
        case int8
        /// E4M3: compressed-tensors `float-quantized`.
        case e4m3
        /// Unsigned, with a bias for each group: MLX.
        case affine(bits: Int)
    }

    let code: Code
    let codes: StoredPart
    let columns: Int
    /// Groups of a row.
    let groups: Int
    let scales: StoredPart
    let biases: StoredPart?
    /// I32 words, packed along the rows.
    let zeros: StoredPart?

    /// Columns of a group.
    var groupSize: Int { columns / groups }

    /// Bits of one code.
    var bits: Int {
        switch code {
        case .packed(let bits), .affine(let bits): bits
        case .llmInt8, .int8, .e4m3: 8
        }
    }

    /// Bytes of the codes of a row: whole words where they are packed.
    var rowBytes: Int {
        switch code {
        case .packed(let bits), .affine(let bits): Self.wordBytes(columns: columns, bits: bits)
        case .llmInt8, .int8, .e4m3: columns
        }
    }

    /// Bytes of the 32-bit words that hold `columns` codes.
    static func wordBytes(columns: Int, bits: Int) -> Int { (columns * bits + 31) / 32 * 4 }
}

/// AWQ GEMM: words of eight output channels, transposed against the weight.
struct AWQCoding: Sendable {
    let words: StoredPart
    let zeros: StoredPart
    let scales: StoredPart
    /// What the weights were multiplied by before they were coded, one value for each column.
    let inputScales: StoredPart?
    let rows: Int
    let columns: Int
    let groups: Int
}
