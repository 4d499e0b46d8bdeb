package import HTTPTypes

/// The offered media type that an Accept value prefers; nil when none is acceptable (RFC 9110 section 12.5.1).
///
/// No Accept, an empty one, or one without a single valid range accepts everything. Of equal weights the type that
/// was named more exactly wins, then the one offered first.
/// - Parameter offered: media types, parameters included, the server's favourite first.
package func preferredMediaType(accept: String?, offered: [String]) -> String? {
    let ranges = QuotedList.split(accept ?? "", at: UInt8(ascii: ",")).compactMap(MediaRange.init)
    guard !ranges.isEmpty else { return offered.first }
    var best: (type: String, weight: Int, specificity: Int)?
    for type in offered {
        guard let offer = MediaRange(type[...]),
            let match = ranges.filter({ $0.covers(offer) }).max(by: { $0.specificity < $1.specificity }),
            match.weight > 0
        else { continue }
        if let best, (match.weight, match.specificity) <= (best.weight, best.specificity) { continue }
        best = (type, match.weight, match.specificity)
    }
    return best?.type
}

/// Whether Accept-Encoding prefers gzip over no coding (RFC 9110 section 12.5.3); without the field it does not.
package func acceptsGzip(_ fields: HTTPFields) -> Bool {
    var gzip: Int?
    var identity: Int?
    var others: Int?
    for element in QuotedList.split(fields[.acceptEncoding] ?? "", at: UInt8(ascii: ",")) {
        let parts = QuotedList.split(element, at: UInt8(ascii: ";"))
        guard let name = parts.first?.lowercased(), let weight = MediaRange.weight(parts.dropFirst()) else { continue }
        switch name {
        case "gzip", "x-gzip": gzip = max(gzip ?? 0, weight)
        case "identity": identity = weight
        case "*": others = weight
        default: break
        }
    }
    let weight = gzip ?? others ?? 0
    return weight > 0 && weight >= identity ?? 0
}

/// A media range with its parameters and weight.
private struct MediaRange {
    let type: String
    let subtype: String
    let parameters: [String]
    /// The `q` parameter in thousandths.
    let weight: Int

    init?(_ text: Substring) {
        let parts = QuotedList.split(text, at: UInt8(ascii: ";"))
        let names = (parts.first ?? "").lowercased().split(separator: "/", omittingEmptySubsequences: false)
        guard names.count == 2, names.allSatisfy({ $0.utf8.allSatisfy(OctetSet.token.contains) && !$0.isEmpty }),
            names[0] != "*" || names[1] == "*", let weight = Self.weight(parts.dropFirst())
        else { return nil }
        type = String(names[0])
        subtype = String(names[1])
        self.weight = weight
        parameters =
            parts.dropFirst().map { $0.lowercased().filter { $0 != "\"" && $0 != " " } }
            .prefix { !$0.hasPrefix("q=") } + []
    }

    /// 0 for `*/*` up to 2 for a whole type, more with each parameter.
    var specificity: Int { (type == "*" ? 0 : 1) + (subtype == "*" ? 0 : 1) + parameters.count }

    func covers(_ offer: MediaRange) -> Bool {
        (type == "*" || type == offer.type) && (subtype == "*" || subtype == offer.subtype)
            && parameters.allSatisfy(offer.parameters.contains)
    }

    /// The weight among parameters, 1000 when there is none; nil when it is malformed (RFC 9110 section 12.4.2).
    static func weight(_ parameters: ArraySlice<Substring>) -> Int? {
        guard let q = parameters.first(where: { $0.lowercased().hasPrefix("q=") })?.dropFirst(2) else { return 1000 }
        let digits = Array(q.utf8)
        guard let first = digits.first, digits.count <= 5, first == 0x30 || first == 0x31 else { return nil }
        guard digits.count == 1 || digits[1] == UInt8(ascii: ".") else { return nil }
        var weight = Int(first - 0x30)
        for place in 2..<5 {
            let digit = place < digits.count ? digits[place] : 0x30
            guard digit.isDigit else { return nil }
            weight = weight * 10 + Int(digit - 0x30)
        }
        return weight <= 1000 ? weight : nil
    }
}

/// Lists whose elements may hold quoted strings (RFC 9110 sections 5.6.1 and 5.6.4).
enum QuotedList {
    /// The non-empty elements between `separator`s outside quotes, without blanks around them.
    static func split(_ text: some StringProtocol, at separator: UInt8) -> [Substring] {
        let text = Substring(text)
        var elements: [Substring] = []
        var start = text.startIndex
        var isQuoted = false
        var isEscaped = false
        func close(_ end: Substring.Index) {
            let element = text[start..<end].trimmingBlanks
            if !element.isEmpty { elements.append(element) }
        }
        for index in text.utf8.indices {
            let octet = text.utf8[index]
            if isEscaped {
                isEscaped = false
            } else if octet == UInt8(ascii: "\\"), isQuoted {
                isEscaped = true
            } else if octet == UInt8(ascii: "\"") {
                isQuoted.toggle()
            } else if octet == separator, !isQuoted {
                close(index)
                start = text.utf8.index(after: index)
            }
        }
        close(text.endIndex)
        return elements
    }
}
