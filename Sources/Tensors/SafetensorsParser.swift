/// Reads the JSON header of a safetensors file.
///
/// Stricter than the reference library where that one is lenient: duplicate names and metadata keys, leading space
/// and unknown fields are refused. Source: the format page and `SafeTensors::read_metadata` of safetensors 0.8.
struct SafetensorsParser {
    /// What the format itself allows a header to be long, in bytes.
    static let formatMaxHeaderBytes = 100_000_000
    /// The bytes of the length in front of the header.
    static let lengthBytes = 8
    /// The one name in the header that is not a tensor's.
    static let metadataName = ExactName("__metadata__")

    private let limits: ContainerLimits
    private var scanner: HeaderScanner
    private var entries: [TensorEntry] = []
    private var names: Set<ExactName> = []
    private var metadata: [MetadataItem]?

    private init(header: Range<Int>, limits: ContainerLimits) {
        self.limits = limits
        scanner = HeaderScanner(container: .safetensors, range: header)
    }

    /// Reads the header if all of it is in `prefix`, which holds at least the length.
    static func parse(
        _ prefix: RawSpan, totalBytes: Int?, limits: ContainerLimits
    ) throws(TensorFormatError) -> HeaderParse {
        let length = prefix.littleEndian(at: 0, width: lengthBytes)
        let limit = min(limits.maxHeaderBytes, formatMaxHeaderBytes)
        guard length > 0 else {
            throw safetensorsError("header_empty", "the header length in the first 8 bytes is 0", at: 0)
        }
        guard let headerBytes = Int(exactly: length), headerBytes <= limit else {
            throw safetensorsError("header_too_large", "a header of \(length) bytes; the limit is \(limit)", at: 0)
        }
        let headerEnd = lengthBytes + headerBytes
        if let totalBytes, headerEnd > totalBytes {
            let detail = "a header of \(length) bytes in an input of \(totalBytes) bytes"
            throw safetensorsError("header_past_end", detail, at: 0)
        }
        guard prefix.byteCount >= headerEnd else { return .needsMore(atLeast: headerEnd) }
        var parser = SafetensorsParser(header: lengthBytes..<headerEnd, limits: limits)
        try parser.readHeader(in: prefix)
        let layout = SafetensorsLayout(dataOffset: headerEnd, totalBytes: totalBytes)
        let (entries, dataBytes) = try layout.order(parser.entries)
        return .complete(
            InputDescription(
                container: .safetensors, entries: entries, metadata: parser.metadata ?? [], dataOffset: headerEnd,
                dataBytes: dataBytes))
    }

    private mutating func readHeader(in bytes: RawSpan) throws(TensorFormatError) {
        guard scanner.take(UInt8(ascii: "{"), in: bytes) else {
            throw scanner.error("header_start", "the header must begin with '{'")
        }
        var isFirst = true
        while try scanner.nextElement(isFirst: &isFirst, close: UInt8(ascii: "}"), in: bytes) {
            let start = scanner.position
            let name = try key(in: bytes)
            if ExactName(name) == Self.metadataName {
                try readMetadata(at: start, in: bytes)
            } else {
                try readEntry(named: name, at: start, in: bytes)
            }
        }
        while scanner.take(UInt8(ascii: " "), in: bytes) {}
        guard scanner.position == scanner.end else {
            throw scanner.error("trailing_bytes", "only spaces may follow the closing '}' of the header")
        }
    }

    /// Reads a key and the colon behind it.
    private mutating func key(in bytes: RawSpan) throws(TensorFormatError) -> String {
        let start = scanner.position
        let name = try scanner.jsonString(in: bytes)
        guard name.utf8.count <= limits.maxNameBytes else {
            let detail = "a name of \(name.utf8.count) bytes; the limit is \(limits.maxNameBytes)"
            throw scanner.error("name_too_long", detail, at: start)
        }
        scanner.skipBlanks(in: bytes)
        try scanner.expect(UInt8(ascii: ":"), in: bytes)
        scanner.skipBlanks(in: bytes)
        return name
    }

    private mutating func readMetadata(at start: Int, in bytes: RawSpan) throws(TensorFormatError) {
        guard metadata == nil else {
            throw scanner.error("duplicate_metadata", "__metadata__ occurs twice", at: start)
        }
        guard scanner.take(UInt8(ascii: "{"), in: bytes) else {
            throw scanner.wrongValue("metadata_type", "__metadata__ must be an object of strings", in: bytes)
        }
        var items: [MetadataItem] = []
        var keys: Set<ExactName> = []
        var isFirst = true
        while try scanner.nextElement(isFirst: &isFirst, close: UInt8(ascii: "}"), in: bytes) {
            let keyStart = scanner.position
            let name = try key(in: bytes)
            guard keys.insert(ExactName(name)).inserted else {
                throw scanner.error("duplicate_metadata_key", "a key of __metadata__ occurs twice", at: keyStart)
            }
            guard items.count < limits.maxMetadataItems else {
                throw scanner.error(
                    "too_many_metadata", "__metadata__ has more than \(items.count) items", at: keyStart)
            }
            guard scanner.peek(in: bytes) == UInt8(ascii: "\"") else {
                throw scanner.wrongValue("metadata_type", "a value of __metadata__ is not a string", in: bytes)
            }
            items.append(MetadataItem(name: name, value: try scanner.jsonString(in: bytes)))
        }
        metadata = items
    }

    private mutating func readEntry(named name: String, at start: Int, in bytes: RawSpan) throws(TensorFormatError) {
        guard names.insert(ExactName(name)).inserted else {
            throw scanner.error("duplicate_name", "a tensor name occurs twice", at: start, tensor: name)
        }
        guard entries.count < limits.maxTensors else {
            throw scanner.error("too_many_tensors", "the limit is \(limits.maxTensors) tensors", at: start)
        }
        guard scanner.take(UInt8(ascii: "{"), in: bytes) else {
            throw scanner.wrongValue(
                "entry_type", "the value of a tensor name must be an object", tensor: name, in: bytes)
        }
        var fields = EntryFields()
        var isFirst = true
        while try scanner.nextElement(isFirst: &isFirst, close: UInt8(ascii: "}"), in: bytes) {
            try readField(of: name, into: &fields, in: bytes)
        }
        entries.append(try fields.entry(named: name, at: start))
    }

    private mutating func readField(
        of name: String, into fields: inout EntryFields, in bytes: RawSpan
    ) throws(TensorFormatError) {
        let start = scanner.position
        let field = try key(in: bytes)
        let isRepeated: Bool
        switch field {
        case "dtype":
            isRepeated = fields.type != nil
            fields.type = try elementType(of: name, in: bytes)
        case "shape":
            isRepeated = fields.shape != nil
            fields.shape = try integers(of: name, atMost: limits.maxRank, else: "rank_too_large", in: bytes)
        case "data_offsets":
            isRepeated = fields.offsets != nil
            fields.offsets = try integers(of: name, atMost: 2, else: "offsets_pair", in: bytes)
        default:
            throw scanner.error("unknown_field", "an entry has dtype, shape, data_offsets", at: start, tensor: name)
        }
        guard !isRepeated else {
            throw scanner.error("duplicate_field", "\(field) occurs twice", at: start, tensor: name)
        }
    }

    private mutating func elementType(of name: String, in bytes: RawSpan) throws(TensorFormatError) -> ElementType {
        let start = scanner.position
        guard scanner.peek(in: bytes) == UInt8(ascii: "\"") else {
            throw scanner.wrongValue("field_type", "dtype must be a string", tensor: name, in: bytes)
        }
        guard let type = ElementType(rawValue: try scanner.jsonString(in: bytes)) else {
            throw scanner.error("unknown_type", "dtype is not one that safetensors names", at: start, tensor: name)
        }
        return type
    }

    /// Reads an array of unsigned integers, refused with `code` beyond `limit` of them.
    private mutating func integers(
        of name: String, atMost limit: Int, else code: String, in bytes: RawSpan
    ) throws(TensorFormatError) -> [Int] {
        guard scanner.take(UInt8(ascii: "["), in: bytes) else {
            throw scanner.wrongValue(
                "field_type", "shape and data_offsets must be arrays of integers", tensor: name, in: bytes)
        }
        var values: [Int] = []
        var isFirst = true
        while try scanner.nextElement(isFirst: &isFirst, close: UInt8(ascii: "]"), in: bytes) {
            guard values.count < limit else {
                throw scanner.error(code, "an array of more than \(limit) integers", tensor: name)
            }
            values.append(try scanner.unsignedInteger(in: bytes))
        }
        return values
    }
}

/// The fields of one entry, as far as they were read.
private struct EntryFields {
    var type: ElementType?
    var shape: [Int]?
    var offsets: [Int]?

    /// Joins the fields when all are there and agree.
    func entry(named name: String, at start: Int) throws(TensorFormatError) -> TensorEntry {
        guard let type, let shape, let offsets else {
            let missing = type == nil ? "dtype" : shape == nil ? "shape" : "data_offsets"
            throw safetensorsError("missing_field", "an entry has no \(missing)", at: start, tensor: name)
        }
        guard offsets.count == 2 else {
            throw safetensorsError("offsets_pair", "data_offsets must be two integers", at: start, tensor: name)
        }
        guard offsets[0] <= offsets[1] else {
            throw safetensorsError("offsets_reversed", "data_offsets end before they begin", at: start, tensor: name)
        }
        let extent = try TensorExtent(type: type, shape: shape, container: .safetensors, offset: start, tensor: name)
        guard extent.bytes == offsets[1] - offsets[0] else {
            let detail = "shape and dtype need \(extent.bytes) bytes, data_offsets span \(offsets[1] - offsets[0])"
            throw safetensorsError("size_mismatch", detail, at: start, tensor: name)
        }
        return TensorEntry(
            name: name, type: type, shape: shape, elementCount: extent.elements, bytes: offsets[0]..<offsets[1])
    }
}

/// An error of the safetensors format at an offset of the input.
func safetensorsError(_ code: String, _ detail: String, at offset: Int, tensor: String? = nil) -> TensorFormatError {
    TensorFormatError(code: "safetensors.\(code)", detail: detail, offset: offset, tensor: tensor)
}
