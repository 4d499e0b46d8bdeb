/// Reads the header of an npy file.
///
/// The header is a Python dict literal with exactly the keys descr, fortran_order and shape. No expression is
/// evaluated and no pickle is ever loaded. Source: `numpy.lib.format` of numpy 2.4.
struct NumpyParser {
    /// The first bytes of every npy file.
    static let magic: [UInt8] = [0x93] + Array("NUMPY".utf8)
    /// What a lone tensor without a name of its own is called.
    static let tensorName = "weight"

    private var scanner: HeaderScanner
    private let limits: ContainerLimits
    private var descriptor: NumpyDescriptor?
    private var isFortranOrder: Bool?
    private var shape: [Int]?

    private init(header: Range<Int>, limits: ContainerLimits) {
        scanner = HeaderScanner(container: .npy, range: header)
        self.limits = limits
    }

    /// Reads the header if all of it is in `prefix`, which begins with the magic.
    static func parse(
        _ prefix: RawSpan, totalBytes: Int?, limits: ContainerLimits
    ) throws(TensorFormatError) -> HeaderParse {
        let versionEnd = magic.count + 2
        guard prefix.byteCount >= versionEnd else { return try more(versionEnd, totalBytes: totalBytes) }
        let (major, minor) = (prefix.byte(at: magic.count), prefix.byte(at: magic.count + 1))
        guard (1...3).contains(major), minor == 0 else {
            throw numpyError("version", "version \(major).\(minor); known are 1.0, 2.0, 3.0", at: magic.count)
        }
        let lengthBytes = major == 1 ? 2 : 4
        let start = versionEnd + lengthBytes
        guard prefix.byteCount >= start else { return try more(start, totalBytes: totalBytes) }
        let length = prefix.littleEndian(at: versionEnd, width: lengthBytes)
        guard length <= UInt64(max(0, limits.maxNumpyHeaderBytes)) else {
            let detail = "a header of \(length) bytes; the limit is \(limits.maxNumpyHeaderBytes)"
            throw numpyError("header_too_large", detail, at: versionEnd)
        }
        let end = start + Int(length)
        guard prefix.byteCount >= end else { return try more(end, totalBytes: totalBytes) }
        var parser = NumpyParser(header: start..<end, limits: limits)
        try parser.readHeader(in: prefix)
        return .complete(try parser.description(dataOffset: end, totalBytes: totalBytes))
    }

    /// Asks for more bytes, unless the input is known to have no more.
    private static func more(_ wanted: Int, totalBytes: Int?) throws(TensorFormatError) -> HeaderParse {
        if let totalBytes, wanted > totalBytes {
            throw numpyError("header_past_end", "a header of \(wanted) bytes in an input of \(totalBytes)", at: 0)
        }
        return .needsMore(atLeast: wanted)
    }

    private mutating func readHeader(in bytes: RawSpan) throws(TensorFormatError) {
        while scanner.take(UInt8(ascii: " "), in: bytes) {}
        try scanner.expect(UInt8(ascii: "{"), in: bytes)
        while true {
            scanner.skipBlanks(in: bytes)
            if scanner.take(UInt8(ascii: "}"), in: bytes) { break }
            try readItem(in: bytes)
            scanner.skipBlanks(in: bytes)
            if scanner.take(UInt8(ascii: ","), in: bytes) { continue }
            try scanner.expect(UInt8(ascii: "}"), in: bytes)
            break
        }
        scanner.skipBlanks(in: bytes)
        guard scanner.position == scanner.end else {
            throw scanner.unexpected("only blanks may follow the closing '}'", in: bytes)
        }
    }

    private mutating func readItem(in bytes: RawSpan) throws(TensorFormatError) {
        let start = scanner.position
        let key = try literalString(in: bytes)
        scanner.skipBlanks(in: bytes)
        try scanner.expect(UInt8(ascii: ":"), in: bytes)
        scanner.skipBlanks(in: bytes)
        let isRepeated: Bool
        switch key {
        case "descr":
            isRepeated = descriptor != nil
            descriptor = try readDescriptor(in: bytes)
        case "fortran_order":
            isRepeated = isFortranOrder != nil
            isFortranOrder = try readBool(in: bytes)
        case "shape":
            isRepeated = shape != nil
            shape = try readShape(in: bytes)
        default:
            throw scanner.error("unknown_key", "the keys are descr, fortran_order, shape", at: start)
        }
        guard !isRepeated else { throw scanner.error("duplicate_key", "\(key) occurs twice", at: start) }
    }

    /// Reads a string literal in single or double quotes, without prefix or escapes.
    private mutating func literalString(in bytes: RawSpan) throws(TensorFormatError) -> String {
        guard let quote = scanner.peek(in: bytes), quote == UInt8(ascii: "'") || quote == UInt8(ascii: "\"") else {
            throw scanner.unexpected("expected a string", in: bytes)
        }
        scanner.advance()
        let start = scanner.position
        while let byte = scanner.peek(in: bytes), byte != quote {
            guard byte >= 0x20, byte < 0x7F, byte != UInt8(ascii: "\\") else {
                throw scanner.unexpected("a string must be plain ASCII", in: bytes)
            }
            scanner.advance()
        }
        let range = start..<scanner.position
        try scanner.expect(quote, in: bytes)
        guard let value = bytes.string(at: range) else {
            throw scanner.error("header_syntax", "a string must be plain ASCII", at: start)
        }
        return value
    }

    private mutating func readDescriptor(in bytes: RawSpan) throws(TensorFormatError) -> NumpyDescriptor {
        let start = scanner.position
        let first = scanner.peek(in: bytes)
        guard first != UInt8(ascii: "["), first != UInt8(ascii: "(") else {
            throw scanner.error("structured_type", "an array of records; send one array for each field")
        }
        return try NumpyDescriptor(try literalString(in: bytes), at: start)
    }

    private mutating func readBool(in bytes: RawSpan) throws(TensorFormatError) -> Bool {
        for (word, value) in [("True", true), ("False", false)] {
            let ahead = scanner.position + word.utf8.count
            guard ahead <= scanner.end, bytes.string(at: scanner.position..<ahead) == word else { continue }
            for _ in word.utf8 { scanner.advance() }
            return value
        }
        throw scanner.error("fortran_order", "fortran_order must be True or False")
    }

    /// Reads a tuple of unsigned integers: `()`, `(3,)`, `(3, 4)`; `(3)` is a number in Python, no tuple.
    private mutating func readShape(in bytes: RawSpan) throws(TensorFormatError) -> [Int] {
        let start = scanner.position
        guard scanner.take(UInt8(ascii: "("), in: bytes) else {
            throw scanner.error("shape", "shape must be a tuple of whole numbers")
        }
        var values: [Int] = []
        var hasComma = false
        while true {
            scanner.skipBlanks(in: bytes)
            if scanner.take(UInt8(ascii: ")"), in: bytes) { break }
            guard values.isEmpty || hasComma else { throw scanner.unexpected("expected ',' or ')'", in: bytes) }
            guard values.count < limits.maxRank else {
                throw scanner.error("rank_too_large", "the limit is \(limits.maxRank) dimensions", at: start)
            }
            values.append(try scanner.unsignedInteger(in: bytes))
            scanner.skipBlanks(in: bytes)
            hasComma = scanner.take(UInt8(ascii: ","), in: bytes)
        }
        guard values.count != 1 || hasComma else {
            throw scanner.error("shape", "shape must be a tuple of whole numbers", at: start)
        }
        return values
    }

    private func description(dataOffset: Int, totalBytes: Int?) throws(TensorFormatError) -> InputDescription {
        guard let descriptor, let isFortranOrder, let shape else {
            let missing = descriptor == nil ? "descr" : shape == nil ? "shape" : "fortran_order"
            throw scanner.error("missing_key", "the header has no \(missing)")
        }
        return try loneTensor(
            in: .npy, type: descriptor.type, shape: shape, dataOffset: dataOffset, totalBytes: totalBytes,
            // With fewer than two dimensions beyond 1 both orders are the same bytes.
            isFortranOrder: isFortranOrder && !shape.contains(0) && shape.count(where: { $0 > 1 }) > 1,
            isBigEndian: descriptor.isBigEndian)
    }
}

/// An error of the npy format at an offset of the input.
func numpyError(_ code: String, _ detail: String, at offset: Int) -> TensorFormatError {
    TensorFormatError(code: "npy.\(code)", detail: detail, offset: offset, tensor: nil)
}
