import HTTPTypes

/// Reads field lines and keeps what framing, connection and Host need of them.
struct FieldFindings {
    private(set) var host: String?
    private(set) var contentLength: Int?
    private(set) var wantsClose = false
    private(set) var wantsKeepAlive = false
    private(set) var expectsContinue = false
    private var coding: TransferCoding?

    private enum TransferCoding {
        case chunked
        case refused(WireError)
    }

    /// Reads one line, without its CRLF (RFC 9112 section 5).
    mutating func read(_ bytes: RawSpan, line: Range<Int>) throws(WireError) -> HTTPField {
        guard !bytes[octet: line.lowerBound].isBlank else {
            throw WireError("obsolete_fold", "A field line begins with white space.")
        }
        guard let nameEnd = bytes.firstOffset(outside: .token, in: line) else {
            throw WireError("field_line", "A field line without a colon.")
        }
        guard bytes[octet: nameEnd] == UInt8(ascii: ":") else {
            throw bytes[octet: nameEnd].isBlank
                ? WireError("space_before_colon", "White space in or after a field name.")
                : WireError("field_name", "A field name is not a token.")
        }
        let nameRange = line.lowerBound..<nameEnd
        guard let name = KnownFieldNames.name(bytes, nameRange) ?? bytes.text(nameRange).flatMap({ HTTPField.Name($0) })
        else { throw WireError("field_name", "A field name is empty.") }
        let value = bytes.trimmingBlanks(nameEnd + 1..<line.upperBound)
        try note(bytes, name: nameRange, value: value)
        guard let text = bytes.text(value) else { return HTTPField(name: name, value: bytes.array(value)) }
        return HTTPField(name: name, value: text)
    }

    private mutating func note(_ bytes: RawSpan, name: Range<Int>, value: Range<Int>) throws(WireError) {
        switch name.count {
        case 4 where bytes.spells("host", in: name):
            guard host == nil else { throw WireError("several_hosts", "More than one Host field.") }
            host = try Authority.read(bytes, value)
        case 6 where bytes.spells("expect", in: name):
            guard bytes.spells("100-continue", in: value) else {
                throw WireError(
                    status: 417, code: "http.expectation", detail: "The only expectation met here is 100-continue.")
            }
            expectsContinue = true
        case 10 where bytes.spells("connection", in: name):
            bytes.forEachListElement(value) { element in
                if bytes.spells("close", in: element) { wantsClose = true }
                if bytes.spells("keep-alive", in: element) { wantsKeepAlive = true }
            }
        case 14 where bytes.spells("content-length", in: name):
            guard contentLength == nil else {
                throw WireError("several_content_lengths", "More than one Content-Length field.")
            }
            contentLength = try Self.length(bytes, value)
        case 17 where bytes.spells("transfer-encoding", in: name):
            guard coding == nil else {
                throw WireError("transfer_encoding", "More than one Transfer-Encoding field.")
            }
            coding = Self.coding(bytes, value)
        default: break
        }
    }

    /// How the body is delimited (RFC 9112 section 6.3); what could be read in two ways is refused.
    func framing(version: HTTPVersion) throws(WireError) -> BodyFraming {
        guard let coding else { return contentLength.map(BodyFraming.length) ?? .none }
        guard contentLength == nil else {
            throw WireError("ambiguous_length", "Both Content-Length and Transfer-Encoding.")
        }
        guard version == .http11 else {
            throw WireError("transfer_encoding_version", "Transfer-Encoding in an HTTP/1.0 request.")
        }
        switch coding {
        case .chunked: return .chunked
        case .refused(let error): throw error
        }
    }

    /// Reads `1*DIGIT` (RFC 9110 section 8.6): no sign, list, space or overflow.
    private static func length(_ bytes: RawSpan, _ range: Range<Int>) throws(WireError) -> Int {
        guard !range.isEmpty else { throw WireError("content_length", "Content-Length is empty.") }
        var length = 0
        for offset in range {
            let octet = bytes[octet: offset]
            guard octet.isDigit else {
                throw WireError("content_length", "Content-Length is not a plain decimal number.")
            }
            let (tens, wide) = length.multipliedReportingOverflow(by: 10)
            let (sum, over) = tens.addingReportingOverflow(Int(octet - 0x30))
            guard !wide, !over else {
                throw WireError("content_length_overflow", "Content-Length does not fit 63 bits.")
            }
            length = sum
        }
        return length
    }

    /// Exactly `chunked`, or 501 for other codings before it, 400 for the rest (RFC 9112 sections 6.1, 6.3).
    private static func coding(_ bytes: RawSpan, _ range: Range<Int>) -> TransferCoding {
        if bytes.spells("chunked", in: range) { return .chunked }
        var elements: [Range<Int>] = []
        bytes.forEachListElement(range) { elements.append($0) }
        let areTokens = elements.allSatisfy { !$0.isEmpty && bytes.firstOffset(outside: .token, in: $0) == nil }
        let chunked = elements.filter { bytes.spells("chunked", in: $0) }
        if areTokens, chunked.count == 1, let last = elements.last, chunked == [last] {
            return .refused(
                WireError(
                    status: 501, code: "http.transfer_coding",
                    detail: "The only transfer coding known here is chunked."))
        }
        return .refused(WireError("transfer_encoding", "Transfer-Encoding is not exactly `chunked`."))
    }
}

extension RawSpan {
    /// Visits the comma-separated elements of `range`, without blanks around them, empty ones included.
    func forEachListElement(_ range: Range<Int>, _ body: (Range<Int>) -> Void) {
        var start = range.lowerBound
        while true {
            let end = firstOffset(of: UInt8(ascii: ","), in: start..<range.upperBound) ?? range.upperBound
            body(trimmingBlanks(start..<end))
            guard end < range.upperBound else { return }
            start = end + 1
        }
    }
}
