import HTTPTypes

/// The items of a query, the text behind the `?` of a target that was accepted before.
package func queryItems(of text: String) throws(WireError) -> [QueryItem] {
    let octets = Array(text.utf8)
    return try RequestTarget.items(unsafe octets.span.bytes, 0..<octets.count)
}

/// A request target in origin-form, absolute-form or asterisk-form (RFC 9112 section 3.2), checked and decoded.
struct RequestTarget {
    let raw: String
    let rawPath: String
    let path: [String]
    let query: [QueryItem]
    let isAsterisk: Bool
    /// Whether an absolute-form target says `https`.
    var isHTTPS = false
    /// The authority of an absolute-form target.
    let authority: String?

    init(_ bytes: RawSpan, _ range: Range<Int>, method: HTTPRequest.Method) throws(WireError) {
        guard let raw = bytes.text(range), !range.isEmpty else { throw Self.malformed }
        self.raw = raw
        var rest = range
        if bytes[octet: range.lowerBound] == UInt8(ascii: "/") {
            authority = nil
        } else if range.count == 1, bytes[octet: range.lowerBound] == UInt8(ascii: "*"), method == .options {
            authority = nil
            rest = range.upperBound..<range.upperBound
        } else {
            let parts = try Self.splitAbsolute(bytes, range)
            authority = try Authority.read(bytes, parts.authority)
            isHTTPS = bytes.spells("https", in: range.lowerBound..<range.lowerBound + 5)
            rest = parts.rest
        }
        let question = bytes.firstOffset(of: UInt8(ascii: "?"), in: rest)
        let pathRange = rest.lowerBound..<(question ?? rest.upperBound)
        let segments = try Self.segments(bytes, pathRange)
        query =
            try question.map { start throws(WireError) in
                try Self.items(bytes, start + 1..<rest.upperBound)
            } ?? []
        // OPTIONS with an empty path and no query speaks of the server as a whole (section 3.2.4).
        isAsterisk = method == .options && rest.isEmpty
        path = segments
        rawPath = isAsterisk ? "*" : pathRange.isEmpty ? "/" : bytes.text(pathRange) ?? "/"
    }

    private static var malformed: WireError { WireError("target", "The request target is malformed.") }

    /// Splits `http://authority/path?query`.
    private static func splitAbsolute(
        _ bytes: RawSpan, _ range: Range<Int>
    ) throws(WireError) -> (authority: Range<Int>, rest: Range<Int>) {
        let start = range.lowerBound
        let slashes: Int
        if range.count > 7, bytes.spells("http://", in: start..<start + 7) {
            slashes = start + 7
        } else if range.count > 8, bytes.spells("https://", in: start..<start + 8) {
            slashes = start + 8
        } else {
            throw malformed
        }
        var end = slashes
        while end < range.upperBound {
            let octet = bytes[octet: end]
            if octet == UInt8(ascii: "/") || octet == UInt8(ascii: "?") { break }
            end += 1
        }
        return (slashes..<end, end..<range.upperBound)
    }

    /// Decodes the segments of a path; dot segments and encoded slashes would let two readers see two paths.
    private static func segments(_ bytes: RawSpan, _ range: Range<Int>) throws(WireError) -> [String] {
        guard bytes.firstOffset(outside: .path, in: range) == nil else { throw malformed }
        guard range.count > 1 else { return [] }
        var segments: [String] = []
        var start = range.lowerBound + 1
        while true {
            let end = bytes.firstOffset(of: UInt8(ascii: "/"), in: start..<range.upperBound) ?? range.upperBound
            let segment = try decode(bytes, start..<end, plusIsSpace: false)
            guard segment != ".", segment != ".." else { throw WireError("dot_segment", "A dot segment in the path.") }
            for octet in segment.utf8 where octet == UInt8(ascii: "/") || octet.isControl {
                throw WireError("path_escape", "A slash or a control character is escaped in the path.")
            }
            segments.append(segment)
            guard end < range.upperBound else { return segments }
            start = end + 1
        }
    }

    fileprivate static func items(_ bytes: RawSpan, _ range: Range<Int>) throws(WireError) -> [QueryItem] {
        guard bytes.firstOffset(outside: .query, in: range) == nil else { throw malformed }
        var items: [QueryItem] = []
        var start = range.lowerBound
        while start < range.upperBound {
            let end = bytes.firstOffset(of: UInt8(ascii: "&"), in: start..<range.upperBound) ?? range.upperBound
            if start < end {
                let equals = bytes.firstOffset(of: UInt8(ascii: "="), in: start..<end) ?? end
                let name = try decode(bytes, start..<equals, plusIsSpace: true)
                let value = try decode(bytes, min(equals + 1, end)..<end, plusIsSpace: true)
                items.append(QueryItem(name: name, value: value))
            }
            start = end + 1
        }
        return items
    }

    /// Percent-decodes once; escapes must be whole, not NUL, and make UTF-8.
    private static func decode(
        _ bytes: RawSpan, _ range: Range<Int>, plusIsSpace: Bool
    ) throws(WireError) -> String {
        var decoded: [UInt8] = []
        var isPlain = true
        for offset in range {
            let octet = bytes[octet: offset]
            if octet == UInt8(ascii: "%") || (plusIsSpace && octet == UInt8(ascii: "+")) { isPlain = false }
        }
        if isPlain, let text = bytes.text(range) { return text }
        decoded.reserveCapacity(range.count)
        var offset = range.lowerBound
        while offset < range.upperBound {
            let octet = bytes[octet: offset]
            offset += 1
            if plusIsSpace, octet == UInt8(ascii: "+") {
                decoded.append(.space)
            } else if octet == UInt8(ascii: "%") {
                guard range.upperBound - offset >= 2, let high = bytes[octet: offset].hexValue,
                    let low = bytes[octet: offset + 1].hexValue
                else { throw WireError("percent_encoding", "A percent sign without two hexadecimal digits.") }
                guard high | low != 0 else { throw WireError("nul_escape", "%00 in the request target.") }
                decoded.append(high << 4 | low)
                offset += 2
            } else {
                decoded.append(octet)
            }
        }
        guard let text = String(validating: decoded, as: UTF8.self) else {
            throw WireError("target_encoding", "The escapes of the request target are not UTF-8.")
        }
        return text
    }
}
