import HTTPTypes

extension RequestHead {
    /// Reads a request head from the start of `bytes`, as strictly as RFC 9112 allows.
    ///
    /// One empty line before the request line is skipped (section 2.2). Bytes after the head are not looked at.
    /// - Parameter scannedBefore: what the last `.partial` of this head said, else 0; so no byte is scanned twice.
    package static func parse(
        _ bytes: RawSpan, limits: HeadLimits = HeadLimits(), scannedBefore: Int = 0
    ) -> HeadParse {
        do throws(WireError) {
            switch try HeadEnd.find(in: bytes, limit: limits.maxHeadBytes, from: scannedBefore) {
            case .partial(let scanned): return .partial(scanned: scanned)
            case .end(let end): return .complete(try read(bytes, end: end, limits: limits), consumed: end)
            }
        } catch {
            return .refused(error)
        }
    }

    /// Reads a head whose line ends and control characters have been checked up to `end`.
    private static func read(_ bytes: RawSpan, end: Int, limits: HeadLimits) throws(WireError) -> RequestHead {
        let start = bytes[octet: 0] == .carriageReturn ? 2 : 0
        let line = start..<bytes.lineEnd(from: start)
        let request = try RequestLine(bytes, line: line, limits: limits)
        var fields = HTTPFields()
        fields.reserveCapacity(min(16, limits.maxFields))
        var findings = FieldFindings()
        var offset = line.upperBound + 2
        while offset < end - 2 {
            guard fields.count < limits.maxFields else {
                throw WireError(
                    status: 431, code: "http.too_many_fields", detail: "More than \(limits.maxFields) field lines.")
            }
            let line = offset..<bytes.lineEnd(from: offset)
            fields.append(try findings.read(bytes, line: line))
            offset = line.upperBound + 2
        }
        return try assemble(request, fields: fields, findings: findings)
    }

    /// Joins what the request line and the fields say, and checks them against each other.
    private static func assemble(
        _ request: RequestLine, fields: HTTPFields, findings: FieldFindings
    ) throws(WireError) -> RequestHead {
        if findings.host == nil, request.version == .http11 {
            throw WireError("missing_host", "An HTTP/1.1 request needs a Host field.")
        }
        let framing = try findings.framing(version: request.version)
        let hasContent = framing == .chunked || (findings.contentLength ?? 0) > 0
        return RequestHead(
            method: request.method, target: request.target.raw, rawPath: request.target.rawPath,
            path: request.target.path, query: request.target.query, isAsterisk: request.target.isAsterisk,
            isHTTPS: request.target.isHTTPS, authority: request.target.authority ?? findings.host,
            version: request.version, fields: fields,
            framing: framing,
            keepAlive: !findings.wantsClose && (request.version == .http11 || findings.wantsKeepAlive),
            expectsContinue: findings.expectsContinue && request.version == .http11 && hasContent)
    }
}

/// Where a head ends, found without reading any byte twice.
private enum HeadEnd {
    case partial(scanned: Int)
    case end(Int)

    /// Looks for the empty line, and refuses bare CR, bare LF and control characters on the way.
    static func find(in bytes: RawSpan, limit: Int, from start: Int) throws(WireError) -> HeadEnd {
        let window = min(bytes.byteCount, limit)
        var offset = min(max(start, 0), window)
        while true {
            offset = bytes.firstControl(from: offset, before: window)
            guard offset < window else { break }
            guard bytes[octet: offset] == .carriageReturn else { throw refusal(of: bytes[octet: offset]) }
            guard offset + 1 < window else { break }
            guard bytes[octet: offset + 1] == .lineFeed else {
                throw WireError("bare_carriage_return", "A carriage return without a line feed.")
            }
            if offset > 0, bytes[octet: offset - 1] == .lineFeed {
                guard offset > 2 || bytes[octet: 0] != .carriageReturn else {
                    throw WireError("empty_request_line", "More than one empty line before the request line.")
                }
                return .end(offset + 2)
            }
            offset += 2
        }
        guard bytes.byteCount < limit else { throw overlong(bytes, limit: limit) }
        return .partial(scanned: offset)
    }

    private static func refusal(of octet: UInt8) -> WireError {
        octet == .lineFeed
            ? WireError("bare_line_feed", "A line feed without a carriage return.")
            : WireError("control_character", "The control character \(octet) in the head.")
    }

    private static func overlong(_ bytes: RawSpan, limit: Int) -> WireError {
        let start = bytes.byteCount > 1 && bytes[octet: 0] == .carriageReturn ? 2 : 0
        guard bytes.firstOffset(of: .lineFeed, in: min(start, limit)..<limit) != nil else {
            return WireError(
                status: 414, code: "http.target_too_long", detail: "The request line is longer than \(limit) bytes.")
        }
        return WireError(status: 431, code: "http.head_too_long", detail: "The head is longer than \(limit) bytes.")
    }
}

extension RawSpan {
    /// The offset of the next CR; the head's line ends are known to be CRLF and to be there.
    fileprivate func lineEnd(from start: Int) -> Int {
        firstControl(from: start, before: byteCount)
    }
}

/// The parts of a request line (RFC 9112 section 3).
private struct RequestLine {
    let method: HTTPRequest.Method
    let target: RequestTarget
    let version: HTTPVersion

    init(_ bytes: RawSpan, line: Range<Int>, limits: HeadLimits) throws(WireError) {
        let malformed = WireError("request_line", "The request line is not `method SP target SP version`.")
        guard let first = bytes.firstOffset(of: .space, in: line),
            let second = bytes.firstOffset(of: .space, in: first + 1..<line.upperBound)
        else { throw malformed }
        guard let text = bytes.text(line.lowerBound..<first), let method = HTTPRequest.Method(text) else {
            throw WireError("method", "The method is not a token.")
        }
        version = try Self.version(bytes, second + 1..<line.upperBound)
        guard method != .connect else {
            throw WireError(status: 501, code: "http.connect", detail: "CONNECT is not implemented.")
        }
        self.method = method
        guard second - first - 1 <= limits.maxTargetBytes else {
            throw WireError(
                status: 414, code: "http.target_too_long",
                detail: "The request target is longer than \(limits.maxTargetBytes) bytes.")
        }
        target = try RequestTarget(bytes, first + 1..<second, method: method)
    }

    private static func version(_ bytes: RawSpan, _ range: Range<Int>) throws(WireError) -> HTTPVersion {
        let start = range.lowerBound
        guard range.count == 8, bytes.text(start..<start + 5) == "HTTP/", bytes[octet: start + 5].isDigit,
            bytes[octet: start + 6] == UInt8(ascii: "."), bytes[octet: start + 7].isDigit
        else { throw WireError("version", "The request line does not end with one space and `HTTP/1.1`.") }
        guard bytes[octet: start + 5] == UInt8(ascii: "1") else {
            throw WireError(status: 505, code: "http.version", detail: "Only HTTP/1.0 and HTTP/1.1 are spoken here.")
        }
        return bytes[octet: start + 7] == UInt8(ascii: "0") ? .http10 : .http11
    }
}
