/// Reads the header of a GGUF file.
///
/// As strict as llama.cpp's own reader where that one refuses, and stricter: keys and names are unique, arrays do not
/// nest, and nothing is allocated by a count that the bytes present do not bear out.
package struct GGUFParser {
    /// The first bytes of every GGUF file.
    package static let magic = Array("GGUF".utf8)
    /// The length of a tensor's name in bytes, `GGML_MAX_NAME`.
    static let maximumNameBytes = 64
    /// The dimensions of a tensor, `GGML_MAX_DIMS`.
    static let maximumRank = 4
    /// The most that `general.alignment` may be, in bytes.
    static let maximumAlignment = 1 << 16
    static let alignmentKey = ExactName("general.alignment")

    private let limits: ContainerLimits
    private var cursor: GGUFCursor
    private var alignment = 32

    private init(limits: ContainerLimits, end: Int, totalBytes: Int?) {
        self.limits = limits
        cursor = GGUFCursor(end: end, totalBytes: totalBytes, limit: limits.maxHeaderBytes)
    }

    /// Reads the header if all of it is in `prefix`, the file from its first byte.
    ///
    /// Reading begins anew with every call: a caller whose prefix grows should let it double. `totalBytes` is the
    /// length of the file where it is known; a header that disagrees with it is refused.
    /// Throws `gguf.*`.
    package static func parse(
        _ prefix: RawSpan, totalBytes: Int?, limits: ContainerLimits = ContainerLimits()
    ) throws(TensorFormatError) -> GGUFParse {
        var parser = GGUFParser(limits: limits, end: prefix.byteCount, totalBytes: totalBytes)
        do throws(GGUFStop) {
            return .complete(try parser.header(in: prefix, totalBytes: totalBytes))
        } catch {
            switch error {
            case .needsMore(let count): return .needsMore(atLeast: count)
            case .malformed(let error): throw error
            }
        }
    }

    private mutating func header(in bytes: RawSpan, totalBytes: Int?) throws(GGUFStop) -> GGUFHeader {
        guard bytes.extracting(try cursor.take(4)).starts(with: Self.magic) else {
            throw cursor.error("magic", "a GGUF file begins with 'GGUF'", at: 0)
        }
        let version = try cursor.unsigned(4, in: bytes)
        guard version == 2 || version == 3 else {
            let detail =
                version != 0 && version & 0xFFFF == 0
                ? "its numbers are stored most significant byte first" : "version \(version); 2 and 3 are read"
            throw cursor.error("version", detail, at: 4)
        }
        let tensors = try cursor.count(in: bytes, limit: limits.maxTensors, of: "tensors")
        let items = try cursor.count(in: bytes, limit: limits.maxMetadataItems, of: "metadata")
        let metadata = try readMetadata(items, in: bytes)
        let infos = try readTensors(tensors, in: bytes)
        let dataOffset = padded(cursor.position)
        let (entries, dataBytes) = try placed(infos)
        let (end, overflow) = dataOffset.addingReportingOverflow(dataBytes)
        if overflow { throw cursor.error("data_too_large", "the end of the data does not fit 64 bits") }
        if let totalBytes, totalBytes != end {
            let detail = "the last tensor, padded, ends at byte \(end), the file at \(totalBytes)"
            throw cursor.error(totalBytes < end ? "data_truncated" : "tail_bytes", detail, at: min(end, totalBytes))
        }
        return GGUFHeader(
            version: Int(version), metadata: metadata, entries: entries, dataOffset: dataOffset, totalBytes: end)
    }

    /// The next multiple of the alignment; `.max` when there is none.
    private func padded(_ position: Int) -> Int {
        let (sum, overflow) = position.addingReportingOverflow(alignment - 1)
        return overflow ? .max : sum / alignment * alignment
    }
}

// MARK: - Metadata

extension GGUFParser {
    private mutating func readMetadata(_ count: Int, in bytes: RawSpan) throws(GGUFStop) -> [GGUFItem] {
        var items: [GGUFItem] = []
        var keys: Set<ExactName> = []
        for _ in 0..<count {
            let start = cursor.position
            let key = try cursor.string(in: bytes, limit: limits.maxNameBytes, of: "name")
            guard keys.insert(ExactName(key)).inserted else {
                throw cursor.error("duplicate_key", "a key of the metadata occurs twice", at: start)
            }
            let kind = try cursor.unsigned(4, in: bytes)
            let value = try readValue(kind, in: bytes)
            if ExactName(key) == Self.alignmentKey { try setAlignment(value, kind, at: start) }
            items.append(GGUFItem(key: key, value: value))
        }
        return items
    }

    private mutating func setAlignment(_ value: GGUFValue, _ kind: UInt64, at start: Int) throws(GGUFStop) {
        guard case .unsigned(let wanted) = value, kind == 4, wanted >= 8, wanted <= UInt64(Self.maximumAlignment),
            wanted.nonzeroBitCount == 1
        else {
            let detail = "general.alignment must be a u32, a power of two from 8 to \(Self.maximumAlignment)"
            throw cursor.error("alignment", detail, at: start)
        }
        alignment = Int(wanted)
    }

    private mutating func readValue(_ kind: UInt64, in bytes: RawSpan) throws(GGUFStop) -> GGUFValue {
        let start = cursor.position
        switch kind {
        case 0, 2, 4, 10: return .unsigned(try cursor.unsigned(Self.width(kind), in: bytes))
        case 1, 3, 5, 11:
            let width = Self.width(kind)
            let shift = Int64(64 - 8 * width)
            return .signed((Int64(bitPattern: try cursor.unsigned(width, in: bytes)) << shift) >> shift)
        case 6: return .float(Double(Float(bitPattern: UInt32(try cursor.unsigned(4, in: bytes)))))
        case 12: return .float(Double(bitPattern: try cursor.unsigned(8, in: bytes)))
        case 7:
            let value = try cursor.unsigned(1, in: bytes)
            guard value <= 1 else { throw cursor.error("bool", "a truth value of \(value)", at: start) }
            return .bool(value == 1)
        case 8: return .string(try cursor.string(in: bytes, limit: limits.maxTextBytes, of: "text"))
        case 9: return try readArray(in: bytes)
        default: throw cursor.error("value_type", "metadata of the unknown type \(kind)", at: start)
        }
    }

    private mutating func readArray(in bytes: RawSpan) throws(GGUFStop) -> GGUFValue {
        let start = cursor.position
        let kind = try cursor.unsigned(4, in: bytes)
        let count = try cursor.count(in: bytes, limit: limits.maxArrayItems, of: "elements")
        if kind == 8 {
            var strings: [String] = []
            for _ in 0..<count { strings.append(try cursor.string(in: bytes, limit: limits.maxTextBytes, of: "text")) }
            return .strings(strings)
        }
        guard kind <= 12, kind != 9 else {
            throw cursor.error("value_type", "an array of the type \(kind)", at: start)
        }
        _ = try cursor.take(count * Self.width(kind))
        return .numbers(count: count)
    }

    /// Bytes of a number of a type of metadata.
    private static func width(_ kind: UInt64) -> Int {
        switch kind {
        case 0, 1, 7: 1
        case 2, 3: 2
        case 4, 5, 6: 4
        default: 8
        }
    }
}

// MARK: - Tensors

extension GGUFParser {
    /// A tensor as its header entry says.
    private struct Info {
        let name: String
        let type: ElementType
        let shape: [Int]
        let extent: TensorExtent
        let offset: UInt64
        /// Where the entry stands.
        let start: Int
    }

    private mutating func readTensors(_ count: Int, in bytes: RawSpan) throws(GGUFStop) -> [Info] {
        var infos: [Info] = []
        var names: Set<ExactName> = []
        for _ in 0..<count {
            let start = cursor.position
            let name = try cursor.string(in: bytes, limit: Self.maximumNameBytes, of: "name")
            guard names.insert(ExactName(name)).inserted else {
                throw cursor.error("duplicate_name", "a tensor name occurs twice", at: start, tensor: name)
            }
            let rank = try cursor.unsigned(4, in: bytes)
            guard rank <= UInt64(Self.maximumRank) else {
                throw cursor.error("rank_too_large", "\(rank) dimensions", at: start, tensor: name)
            }
            var shape: [Int] = []
            for _ in 0..<Int(rank) {
                guard let dimension = Int(exactly: try cursor.unsigned(8, in: bytes)) else {
                    throw cursor.error("shape_overflow", "a dimension does not fit 63 bits", at: start, tensor: name)
                }
                // Stored fastest first.
                shape.insert(dimension, at: 0)
            }
            let code = try cursor.unsigned(4, in: bytes)
            guard let type = Self.elementType(code) else {
                let detail = "type \(code) of ggml; only plain numbers are read"
                throw cursor.error("tensor_type", detail, at: start, tensor: name)
            }
            let offset = try cursor.unsigned(8, in: bytes)
            let extent: TensorExtent
            do throws(TensorFormatError) {
                extent = try TensorExtent(type: type, shape: shape, container: .gguf, offset: start, tensor: name)
            } catch {
                throw .malformed(error)
            }
            infos.append(Info(name: name, type: type, shape: shape, extent: extent, offset: offset, start: start))
        }
        return infos
    }

    /// The entries, each of which must begin where the one before it ends, padded; and the length of them all.
    private func placed(_ infos: [Info]) throws(GGUFStop) -> ([TensorEntry], Int) {
        var entries: [TensorEntry] = []
        var position = 0
        for info in infos {
            guard info.offset == UInt64(position) else {
                let detail = "its data is said to be at \(info.offset), expected \(position)"
                throw cursor.error("offset", detail, at: info.start, tensor: info.name)
            }
            let (end, overflow) = position.addingReportingOverflow(info.extent.bytes)
            if overflow || padded(end) == .max {
                throw cursor.error("data_too_large", "the data does not fit 64 bits", at: info.start)
            }
            entries.append(
                TensorEntry(
                    name: info.name, type: info.type, shape: info.shape, elementCount: info.extent.elements,
                    bytes: position..<end))
            position = padded(end)
        }
        return (entries, position)
    }

    /// The plain types of `enum ggml_type`.
    private static func elementType(_ code: UInt64) -> ElementType? {
        switch code {
        case 0: .f32
        case 1: .f16
        case 24: .i8
        case 25: .i16
        case 26: .i32
        case 27: .i64
        case 28: .f64
        case 30: .bf16
        default: nil
        }
    }
}
