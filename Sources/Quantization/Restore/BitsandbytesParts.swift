import Tensors

/// The weights of bitsandbytes 0.50.2: 4-bit tables with a quant_state, and LLM.int8().
///
/// Source: `QuantState.from_dict` and `Linear8bitLt._load_from_state_dict`.
enum BitsandbytesParts {
    /// What follows a 4-bit weight's name in the name of its quant_state; the table itself is stored beside it.
    static let stateSuffixes = ["nf4", "fp4"].map { (kind: $0, suffix: ".quant_state.bitsandbytes__\($0)") }

    /// The types that `bnb_4bit_quant_storage` may reinterpret the packed bytes as.
    private static let storageTypes: Set<ElementType> = [.u8, .bf16, .f16, .f32]

    /// The 4-bit weight `name`, whose quant_state is `state`.
    static func blocks(
        _ name: String, kind: String, state: TensorEntry, _ table: inout PartTable, _ reader: ArtifactReader,
        _ limits: RestoreLimits
    ) throws(QuantizationError) -> QuantizedWeight {
        guard state.type == .u8, state.shape.count == 1, state.elementCount <= limits.maximumStateBytes else {
            throw PartTable.mismatch(state, expected: "U8 [bytes], at most \(limits.maximumStateBytes)")
        }
        var bytes: [UInt8] = []
        try reader.read(state.elementCount, at: table.part(state).offset, into: &bytes)
        let text = try StoredQuantState(bytes.prefix(state.elementCount), kind: kind, tensor: state.name)
        let count = text.elementCount
        let codes = try table.require(name, besides: state.name)
        let packed = (count + 1) / 2
        let width = codes.type.bitWidth / 8
        guard storageTypes.contains(codes.type), codes.bytes.count == (packed + width - 1) / width * width else {
            throw PartTable.mismatch(codes, expected: "\(packed) bytes for the shape \(text.shape) of its quant_state")
        }
        let blocks = (count + text.blockSize - 1) / text.blockSize
        let absmax = try table.require(
            "\(name).absmax", besides: name, [text.nestedOffset == nil ? .f32 : .u8], [blocks])
        let map = try table.require("\(name).quant_map", besides: name, [.f32], [16])
        var nested: BlockCoding.Nested?
        if let offset = text.nestedOffset {
            let groups = (blocks + NestedQuantizer.blockSize - 1) / NestedQuantizer.blockSize
            nested = BlockCoding.Nested(
                absmax: try table.require("\(name).nested_absmax", besides: name, [.f32], [groups]),
                map: try table.require("\(name).nested_quant_map", besides: name, [.f32], [256]), offset: offset)
        }
        return QuantizedWeight(
            name: name, shape: text.shape, elementCount: count, returned: text.returned,
            coding: .blocks(
                BlockCoding(
                    codes: table.part(codes), map: map, blockSize: text.blockSize, absmax: absmax, nested: nested)))
    }

    /// The LLM.int8() weight that `scales`, named `<module>SCB`, belongs to.
    static func int8(
        module: String, scales: TensorEntry, _ table: inout PartTable, _ reader: ArtifactReader
    ) throws(QuantizationError) -> QuantizedWeight {
        // A weight by any other name than `weight` has its parts below its own name.
        var name = module + "weight"
        if table.entry(name) == nil, let whole = module.before(suffix: ".") { name = whole }
        let codes = try table.require(name, besides: scales.name)
        guard codes.type == .i8, codes.shape.count == 2 else {
            throw PartTable.mismatch(codes, expected: "I8 [rows, columns]")
        }
        try PartTable.check(scales, [.f32], [codes.shape[0]])
        if let format = table.claim(module + "weight_format") {
            guard format.type == .u8, format.elementCount == 1 else {
                throw PartTable.mismatch(format, expected: "one U8")
            }
            var value: [UInt8] = []
            try reader.read(1, at: table.part(format).offset, into: &value)
            guard value.first == 0 else { throw PartTable.unsupported(format, "weights that are not stored by row") }
        }
        return QuantizedWeight(
            name: name, shape: codes.shape, elementCount: codes.elementCount, returned: .f32,
            coding: .groups(
                GroupCoding(
                    code: .llmInt8, codes: table.part(codes), columns: codes.shape[1], groups: 1,
                    scales: table.part(scales), biases: nil, zeros: nil)))
    }
}

/// A quant_state text that was read, every member checked.
struct StoredQuantState {
    let blockSize: Int
    let returned: RestoredType
    let shape: [Int]
    let elementCount: Int
    /// Present exactly with double quantization.
    let nestedOffset: Float?

    private static let members: Set<String> = [
        "quant_type", "blocksize", "dtype", "shape", "nested_blocksize", "nested_dtype", "nested_offset",
    ]

    /// Reads the JSON of the weight whose quant_state tensor is `tensor` and whose name says `kind`.
    init(_ text: ArraySlice<UInt8>, kind: String, tensor: String) throws(QuantizationError) {
        func wrong(_ detail: String) -> QuantizationError {
            .artifact(code: "artifact.quant_state", detail: "'\(tensor)': \(detail)", tensor: tensor)
        }
        let state: JSONValue
        do {
            let bytes = Array(text)
            state = try JSONValue.parse(unsafe bytes.span.bytes)
        } catch {
            throw wrong(error.detail)
        }
        guard case .object(let members) = state else { throw wrong("the text is no object") }
        // The library's own loader refuses other members.
        if let other = members.first(where: { !Self.members.contains($0.name) }) {
            throw wrong("unknown member '\(other.name)'")
        }
        guard state["quant_type"]?.string == kind else { throw wrong("quant_type is not '\(kind)', as the name says") }
        guard let blockSize = state["blocksize"]?.integer, Recipe.blockSizes.contains(blockSize) else {
            throw wrong("blocksize is none of \(Recipe.blockSizes)")
        }
        self.blockSize = blockSize
        guard let dtype = state["dtype"]?.string,
            let returned = RestoredType.allCases.first(where: { $0.torchName == dtype })
        else { throw wrong("dtype is none of float32, float16, bfloat16") }
        self.returned = returned
        guard case .array(let dimensions)? = state["shape"], let shape = Self.shape(dimensions),
            let count = Self.product(shape)
        else { throw wrong("shape is no list of dimensions") }
        self.shape = shape
        elementCount = count
        guard members.contains(where: { $0.name.utf8.starts(with: "nested_".utf8) }) else {
            nestedOffset = nil
            return
        }
        guard state["nested_blocksize"]?.integer == NestedQuantizer.blockSize,
            state["nested_dtype"]?.string == "float32"
        else { throw wrong("double quantization is by blocks of \(NestedQuantizer.blockSize) in float32") }
        guard case .number(let offset)? = state["nested_offset"], let value = Double(offset), Float(value).isFinite
        else { throw wrong("nested_offset is no float32") }
        nestedOffset = Float(value)
    }

    private static func shape(_ dimensions: [JSONValue]) -> [Int]? {
        guard !dimensions.isEmpty, dimensions.count <= ContainerLimits().maxRank else { return nil }
        var shape: [Int] = []
        for dimension in dimensions {
            guard let size = dimension.integer, size >= 0 else { return nil }
            shape.append(size)
        }
        return shape
    }

    /// The number of elements; nil where it does not fit. Zeros do not excuse an overflow of the
    /// others, and bits of elements fit as well.
    static func product(_ shape: [Int]) -> Int? {
        var product = 1
        for dimension in shape where dimension > 0 {
            let (value, overflow) = product.multipliedReportingOverflow(by: dimension)
            guard !overflow, value <= Int.max / 64 else { return nil }
            product = value
        }
        return shape.contains(0) ? 0 : product
    }
}
