import Tensors

/// The JSON that bitsandbytes stores beside the codes of a 4-bit weight, byte for byte as Python's `json.dumps`
/// writes it.
///
/// Source: `QuantState.as_dict(packed=True)` of bitsandbytes 0.50.2; key order and separators included.
struct QuantState {
    let blockSize: Int
    let restored: RestoredType
    let rows: Int
    let columns: Int
    let isNested: Bool

    /// The longest text that a float32 offset widened to double can have.
    static let longestOffset = 24

    /// The JSON; `offset` is the mean of absmax and present exactly with double quantization.
    func json(offset: Float?) -> [UInt8] {
        Array(text(offset: offset.map { Self.pythonRepresentation(Double($0)) }).utf8)
    }

    /// Bytes that no JSON of this state exceeds, whatever the offset turns out to be.
    var maximumBytes: Int {
        text(offset: isNested ? String(repeating: "0", count: Self.longestOffset) : nil).utf8.count
    }

    private func text(offset: String?) -> String {
        var text = "{\"quant_type\": \"nf4\", \"blocksize\": \(blockSize), \"dtype\": \"\(restored.torchName)\""
        text += ", \"shape\": [\(rows), \(columns)]"
        if let offset {
            text += ", \"nested_blocksize\": \(NestedQuantizer.blockSize), \"nested_dtype\": \"float32\""
            text += ", \"nested_offset\": \(offset)"
        }
        return text + "}"
    }

    /// A finite double as Python's `repr` prints it: shortest digits that round-trip, exponent form from 1e16 on.
    static func pythonRepresentation(_ value: Double) -> String {
        let text = value.description
        // Swift changes to exponents at 2^54, Python at 1e16; between the two the digits must be moved.
        guard value.magnitude >= 1e16, !text.contains("e") else { return text }
        let sign = value < 0 ? "-" : ""
        let digits = text.filter(\.isNumber).dropLast()  // the ".0"
        var mantissa = digits.first.map(String.init) ?? "0"
        let fraction = String(digits.dropFirst()).reversed().drop { $0 == "0" }.reversed()
        if !fraction.isEmpty { mantissa += "." + String(fraction) }
        return "\(sign)\(mantissa)e+\(digits.count - 1)"
    }
}

extension RestoredType {
    /// The type that bitsandbytes restores a weight of `type` to; F64 is quantized as float32.
    init(of type: ElementType) {
        switch type {
        case .f16: self = .f16
        case .bf16: self = .bf16
        default: self = .f32
        }
    }

    /// The name of the type in torch.
    var torchName: String {
        switch self {
        case .f32: "float32"
        case .f16: "float16"
        case .bf16: "bfloat16"
        }
    }
}
