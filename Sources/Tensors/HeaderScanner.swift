/// A place in a textual header, and the steps that both header grammars share.
///
/// The bytes are an argument of each step: a value that stores a `RawSpan` cannot be returned from an initializer.
struct HeaderScanner {
    /// The grammar that is read; the first part of every error code.
    let subject: String
    /// The offset of the next byte, from the start of the input.
    private(set) var position: Int
    /// The offset behind the last byte of the header.
    let end: Int

    init(container: Container, range: Range<Int>) {
        self.init(subject: container.rawValue, range: range)
    }

    init(subject: String, range: Range<Int>) {
        self.subject = subject
        position = range.lowerBound
        end = range.upperBound
    }

    /// The next byte, or nil at the end of the header.
    @inline(__always)
    func peek(in bytes: RawSpan) -> UInt8? {
        position < end ? bytes.byte(at: position) : nil
    }

    /// Passes the byte that `peek` showed.
    @inline(__always)
    mutating func advance() {
        position += 1
    }

    /// Passes the next byte if it is this one.
    @inline(__always)
    mutating func take(_ byte: UInt8, in bytes: RawSpan) -> Bool {
        guard peek(in: bytes) == byte else { return false }
        advance()
        return true
    }

    /// Passes the next byte, which must be this one.
    mutating func expect(_ byte: UInt8, in bytes: RawSpan) throws(TensorFormatError) {
        guard take(byte, in: bytes) else {
            throw unexpected("expected '\(Character(Unicode.Scalar(byte)))'", in: bytes)
        }
    }

    /// Passes blanks between tokens: space, tab, line feed, carriage return (RFC 8259 section 2).
    @inline(__always)
    mutating func skipBlanks(in bytes: RawSpan) {
        while let byte = peek(in: bytes), byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
            advance()
        }
    }

    /// Reads an integer of digits alone: no sign, no leading zero, no fraction, no exponent, at most `Int.max`.
    mutating func unsignedInteger(in bytes: RawSpan) throws(TensorFormatError) -> Int {
        let start = position
        var value = 0
        while let byte = peek(in: bytes), byte >= 0x30, byte <= 0x39 {
            let (tens, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = tens.addingReportingOverflow(Int(byte - 0x30))
            guard !overflow, !carry else {
                throw error("number_too_large", "a number does not fit a signed 64-bit integer", at: start)
            }
            value = sum
            advance()
        }
        let hasLeadingZero = position - start > 1 && bytes.byte(at: start) == 0x30
        guard position > start, !hasLeadingZero, !continuesNumber(in: bytes) else {
            throw error("number", "expected a whole number written in digits alone", at: start)
        }
        return value
    }

    /// Whether a fraction, an exponent or another spelling of a number follows: `.`, `_` or a letter.
    private func continuesNumber(in bytes: RawSpan) -> Bool {
        guard let byte = peek(in: bytes) else { return false }
        return byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_") || (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A)
    }

    /// Passes a separator between elements, and says whether another element follows before `close`.
    ///
    /// - Parameter isFirst: true before the first element; set to false by this call.
    mutating func nextElement(
        isFirst: inout Bool, close: UInt8, in bytes: RawSpan
    ) throws(TensorFormatError) -> Bool {
        skipBlanks(in: bytes)
        defer { isFirst = false }
        if isFirst, take(close, in: bytes) { return false }
        if isFirst { return true }
        if take(close, in: bytes) { return false }
        try expect(UInt8(ascii: ","), in: bytes)
        skipBlanks(in: bytes)
        return true
    }

    /// An error of this grammar at a place in its text.
    func error(
        _ code: String, _ detail: String, at offset: Int? = nil, tensor: String? = nil
    ) -> TensorFormatError {
        TensorFormatError(code: "\(subject).\(code)", detail: detail, offset: offset ?? position, tensor: tensor)
    }

    /// An error about the value that begins here, or a syntax error where the header ends instead.
    func wrongValue(_ code: String, _ detail: String, tensor: String? = nil, in bytes: RawSpan) -> TensorFormatError {
        position < end ? error(code, detail, tensor: tensor) : unexpected("expected a value", in: bytes)
    }

    /// A syntax error at the next byte, which is named.
    func unexpected(_ expectation: String, in bytes: RawSpan) -> TensorFormatError {
        guard let byte = peek(in: bytes) else {
            return error("header_syntax", "\(expectation), found the end")
        }
        let found = byte > 0x20 && byte < 0x7F ? "'\(Character(Unicode.Scalar(byte)))'" : "byte \(byte)"
        return error("header_syntax", "\(expectation), found \(found)")
    }
}
