/// Reading JSON strings (RFC 8259 section 7) without leniency.
extension HeaderScanner {
    /// Reads a string in quotes, its escapes undone.
    ///
    /// Refused: bytes that are not UTF-8, control characters, unknown escapes, unpaired surrogates.
    mutating func jsonString(in bytes: RawSpan) throws(TensorFormatError) -> String {
        let quote = position
        guard take(UInt8(ascii: "\""), in: bytes) else { throw unexpected("expected a string", in: bytes) }
        while let byte = peek(in: bytes) {
            if byte == UInt8(ascii: "\"") {
                guard let value = bytes.string(at: quote + 1..<position) else { throw notUTF8(at: quote) }
                advance()
                return value
            }
            if byte == UInt8(ascii: "\\") {
                return try escapedString(openedAt: quote, in: bytes)
            }
            guard byte >= 0x20 else { throw unexpected("a control character must be escaped", in: bytes) }
            advance()
        }
        throw unexpected("a string is not closed", in: bytes)
    }

    /// Reads the rest of a string whose first escape is the next byte.
    private mutating func escapedString(openedAt quote: Int, in bytes: RawSpan) throws(TensorFormatError) -> String {
        var value: [UInt8] = []
        for offset in quote + 1..<position {
            value.append(bytes.byte(at: offset))
        }
        while let byte = peek(in: bytes) {
            guard byte >= 0x20 else { throw unexpected("a control character must be escaped", in: bytes) }
            advance()
            switch byte {
            case UInt8(ascii: "\""):
                guard let string = String(validating: value, as: UTF8.self) else { throw notUTF8(at: quote) }
                return string
            case UInt8(ascii: "\\"):
                try unescape(into: &value, in: bytes)
            default:
                value.append(byte)
            }
        }
        throw unexpected("a string is not closed", in: bytes)
    }

    /// Reads what follows a backslash.
    private mutating func unescape(into value: inout [UInt8], in bytes: RawSpan) throws(TensorFormatError) {
        let kind = peek(in: bytes)
        let plain: UInt8
        switch kind {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): plain = kind ?? 0
        case UInt8(ascii: "b"): plain = 0x08
        case UInt8(ascii: "f"): plain = 0x0C
        case UInt8(ascii: "n"): plain = 0x0A
        case UInt8(ascii: "r"): plain = 0x0D
        case UInt8(ascii: "t"): plain = 0x09
        case UInt8(ascii: "u"):
            advance()
            value.append(contentsOf: String(try escapedScalar(in: bytes)).utf8)
            return
        default: throw unexpected("expected an escape", in: bytes)
        }
        advance()
        value.append(plain)
    }

    /// Reads the digits of `\uXXXX`, and the second half of a surrogate pair behind them.
    private mutating func escapedScalar(in bytes: RawSpan) throws(TensorFormatError) -> Character {
        let start = position
        let first = try hexQuad(in: bytes)
        if let scalar = Unicode.Scalar(first) { return Character(scalar) }
        guard UTF16.isLeadSurrogate(UInt16(first)),
            take(UInt8(ascii: "\\"), in: bytes), take(UInt8(ascii: "u"), in: bytes)
        else { throw error("header_syntax", "an escaped surrogate has no partner", at: start) }
        let second = try hexQuad(in: bytes)
        guard UTF16.isTrailSurrogate(UInt16(second)),
            let scalar = Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
        else { throw error("header_syntax", "an escaped surrogate has no partner", at: start) }
        return Character(scalar)
    }

    /// Reads four hexadecimal digits.
    private mutating func hexQuad(in bytes: RawSpan) throws(TensorFormatError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek(in: bytes), let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw unexpected("expected a hexadecimal digit", in: bytes)
            }
            value = value << 4 | UInt32(digit)
            advance()
        }
        return value
    }

    private func notUTF8(at offset: Int) -> TensorFormatError {
        error("not_utf8", "a string is not valid UTF-8", at: offset)
    }
}
