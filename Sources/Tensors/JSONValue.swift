/// A JSON document (RFC 8259) read without leniency: options, not weights.
///
/// A parser of its own because Foundation's takes duplicate keys, `1.0` for an integer and any depth.
package indirect enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    /// A number as it was written: the reader decides what it may be.
    case number(String)
    case string(String)
    case array([JSONValue])
    /// Members in the order in which they were written; names are unique by their UTF-8 bytes.
    case object([Member])

    /// One member of an object.
    package struct Member: Sendable, Equatable {
        /// The name, unescaped.
        package let name: String
        /// Its value.
        package let value: JSONValue
    }

    /// How much a document may ask of its reader.
    package struct Limits: Sendable {
        /// Nested arrays and objects.
        package var maximumDepth = 32
        /// Values in all.
        package var maximumValues = 100_000
        /// Whether `NaN`, `Infinity` and `-Infinity` are numbers: Python writes them, though JSON has no word for them.
        package var readsPythonNumbers = false

        /// The default limits.
        package init() {}
    }

    /// Reads a whole document: one value, and nothing but blanks around it.
    ///
    /// Throws `json.*` codes with the offset of the first wrong byte.
    package static func parse(
        _ bytes: RawSpan, limits: Limits = Limits()
    ) throws(TensorFormatError) -> JSONValue {
        var reader = JSONReader(
            scanner: HeaderScanner(subject: "json", range: 0..<bytes.byteCount), limits: limits)
        return try reader.document(in: bytes)
    }

    /// Reads a whole document, and where the values stand that are members or items of its root.
    static func located(
        _ bytes: RawSpan, limits: Limits
    ) throws(TensorFormatError) -> (root: JSONValue, places: [Range<Int>]) {
        var reader = JSONReader(
            scanner: HeaderScanner(subject: "json", range: 0..<bytes.byteCount), limits: limits)
        let root = try reader.document(in: bytes)
        return (root, reader.places)
    }

    /// Reads a whole document from text.
    package static func parse(text: String, limits: Limits = Limits()) throws(TensorFormatError) -> JSONValue {
        let bytes = Array(text.utf8)
        return try parse(unsafe bytes.span.bytes, limits: limits)
    }

    /// The member of that name; nil where there is none, or this is no object.
    package subscript(name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { ExactName($0.name) == ExactName(name) }?.value
    }

    /// The text of a string.
    package var string: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    /// Whether it is `true` or `false`; nil for every other value.
    package var flag: Bool? {
        guard case .bool(let value) = self else { return nil }
        return value
    }

    /// A number that is written as a whole one and fits.
    package var integer: Int? {
        guard case .number(let text) = self else { return nil }
        return Int(text)
    }
}

/// Walks a document once.
private struct JSONReader {
    var scanner: HeaderScanner
    let limits: JSONValue.Limits
    private var values = 0
    /// Where the values directly below the root stand.
    private(set) var places: [Range<Int>] = []

    init(scanner: HeaderScanner, limits: JSONValue.Limits) {
        self.scanner = scanner
        self.limits = limits
    }

    mutating func document(in bytes: RawSpan) throws(TensorFormatError) -> JSONValue {
        scanner.skipBlanks(in: bytes)
        let value = try value(depth: 0, in: bytes)
        scanner.skipBlanks(in: bytes)
        guard scanner.peek(in: bytes) == nil else { throw scanner.unexpected("expected the end", in: bytes) }
        return value
    }

    private mutating func value(depth: Int, in bytes: RawSpan) throws(TensorFormatError) -> JSONValue {
        guard depth <= limits.maximumDepth else {
            throw scanner.error("too_deep", "nested deeper than \(limits.maximumDepth)")
        }
        let start = scanner.position
        defer { if depth == 1 { places.append(start..<scanner.position) } }
        values += 1
        guard values <= limits.maximumValues else {
            throw scanner.error("too_many_values", "more than \(limits.maximumValues) values")
        }
        switch scanner.peek(in: bytes) {
        case UInt8(ascii: "{"): return .object(try members(depth: depth, in: bytes))
        case UInt8(ascii: "["): return .array(try items(depth: depth, in: bytes))
        case UInt8(ascii: "\""): return .string(try scanner.jsonString(in: bytes))
        case UInt8(ascii: "t"): return try word("true", .bool(true), in: bytes)
        case UInt8(ascii: "f"): return try word("false", .bool(false), in: bytes)
        case UInt8(ascii: "n"): return try word("null", .null, in: bytes)
        default: return .number(try number(in: bytes))
        }
    }

    private mutating func members(depth: Int, in bytes: RawSpan) throws(TensorFormatError) -> [JSONValue.Member] {
        scanner.advance()
        var members: [JSONValue.Member] = []
        var names: Set<ExactName> = []
        var isFirst = true
        while try scanner.nextElement(isFirst: &isFirst, close: UInt8(ascii: "}"), in: bytes) {
            let start = scanner.position
            let name = try scanner.jsonString(in: bytes)
            guard names.insert(ExactName(name)).inserted else {
                throw scanner.error("duplicate_key", "a name occurs twice in one object", at: start)
            }
            scanner.skipBlanks(in: bytes)
            try scanner.expect(UInt8(ascii: ":"), in: bytes)
            scanner.skipBlanks(in: bytes)
            members.append(.init(name: name, value: try value(depth: depth + 1, in: bytes)))
        }
        return members
    }

    private mutating func items(depth: Int, in bytes: RawSpan) throws(TensorFormatError) -> [JSONValue] {
        scanner.advance()
        var items: [JSONValue] = []
        var isFirst = true
        while try scanner.nextElement(isFirst: &isFirst, close: UInt8(ascii: "]"), in: bytes) {
            items.append(try value(depth: depth + 1, in: bytes))
        }
        return items
    }

    private mutating func word(
        _ word: String, _ value: JSONValue, in bytes: RawSpan
    ) throws(TensorFormatError) -> JSONValue {
        for byte in word.utf8 { try scanner.expect(byte, in: bytes) }
        return value
    }

    /// Reads a number of RFC 8259 section 6 and keeps its text.
    private mutating func number(in bytes: RawSpan) throws(TensorFormatError) -> String {
        let start = scanner.position
        _ = scanner.take(UInt8(ascii: "-"), in: bytes)
        if limits.readsPythonNumbers, let word = pythonNumber(in: bytes) {
            for byte in word.utf8 { try scanner.expect(byte, in: bytes) }
            return (scanner.position - start > word.utf8.count ? "-" : "") + word
        }
        if !scanner.take(UInt8(ascii: "0"), in: bytes) { try digits(in: bytes) }
        if scanner.take(UInt8(ascii: "."), in: bytes) { try digits(in: bytes) }
        if scanner.take(UInt8(ascii: "e"), in: bytes) || scanner.take(UInt8(ascii: "E"), in: bytes) {
            if !scanner.take(UInt8(ascii: "+"), in: bytes) { _ = scanner.take(UInt8(ascii: "-"), in: bytes) }
            try digits(in: bytes)
        }
        guard let text = bytes.string(at: start..<scanner.position) else {
            throw scanner.error("number", "expected a number", at: start)
        }
        return text
    }

    private func pythonNumber(in bytes: RawSpan) -> String? {
        switch scanner.peek(in: bytes) {
        case UInt8(ascii: "N"): "NaN"
        case UInt8(ascii: "I"): "Infinity"
        default: nil
        }
    }

    private mutating func digits(in bytes: RawSpan) throws(TensorFormatError) {
        guard let first = scanner.peek(in: bytes), first >= 0x30, first <= 0x39 else {
            throw scanner.unexpected("expected a value", in: bytes)
        }
        while let byte = scanner.peek(in: bytes), byte >= 0x30, byte <= 0x39 { scanner.advance() }
    }
}
