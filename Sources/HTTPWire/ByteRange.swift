package import HTTPTypes

/// What a Range field asks of a representation.
package enum RangeOutcome: Sendable, Equatable {
    /// Answer 200 with the whole representation.
    case whole
    /// Answer 206 with these non-empty ranges of byte offsets; several make a `multipart/byteranges`.
    case ranges([Range<Int>])
    /// Answer 416 with `Content-Range: bytes */length`.
    case unsatisfiable
    /// Answer 416: the request names more than ``maxRequestedRanges``.
    case excessive
}

/// The most ranges one request may name. A request for more is refused, as RFC 9110 section 15.5.17 has it: the whole
/// representation in its place could be many gigabytes that nobody asked for.
package let maxRequestedRanges = 16

/// Evaluates Range and If-Range (RFC 9110 sections 13.1.5 and 14.2) for a GET of `length` bytes.
///
/// A Range of a few elements with a malformed one among them is ignored; one of too many is refused, whatever they are.
/// Ranges that overlap or touch are joined and then sorted; others keep their order.
/// - Parameters:
///   - etag: the current entity tag with its quotes.
///   - lastModified: seconds since 1970 of a representation that does not change within a second; nil when there is
///     no such date: then If-Range with a date never matches.
package func evaluateRange(
    _ fields: HTTPFields, length: Int, etag: String?, lastModified: Int? = nil
) -> RangeOutcome {
    let values = fields[values: .range]
    guard values.count == 1, let elements = values.first.flatMap(rangeElements) else { return .whole }
    let guards = fields[values: .ifRange]
    guard guards.isEmpty || (guards.count == 1 && isCurrent(guards[0], etag, lastModified)) else { return .whole }
    guard elements.count <= maxRequestedRanges else { return .excessive }
    let specs = elements.compactMap { RangeSpec($0) }
    guard specs.count == elements.count, !specs.isEmpty else { return .whole }
    // A suffix of an empty representation is satisfiable (section 14.1.1), but no Content-Range can say so.
    if length == 0, specs.contains(where: \.isWantedSuffix) { return .whole }
    let ranges = specs.compactMap { $0.resolved(length: length) }
    return ranges.isEmpty ? .unsatisfiable : .ranges(coalesced(ranges))
}

/// Whether an If-Range value names what there is now: the same strong tag, or exactly its date.
private func isCurrent(_ value: String, _ etag: String?, _ lastModified: Int?) -> Bool {
    if let tag = EntityTag(value) { return tag.stronglyMatches(etag) }
    guard let lastModified else { return false }
    return secondsSinceEpoch(httpDate: value, near: lastModified) == lastModified
}

/// One `first-last`, `first-` or `-suffix` of a Range field; numbers too large for 63 bits are `Int.max`.
private enum RangeSpec {
    case from(Int, through: Int)
    case suffix(Int)

    var isWantedSuffix: Bool {
        if case .suffix(let count) = self { count > 0 } else { false }
    }

    init?(_ text: Substring) {
        guard let dash = text.utf8.firstIndex(of: UInt8(ascii: "-")) else { return nil }
        let first = text[..<dash]
        let last = text[text.index(after: dash)...]
        if first.isEmpty {
            guard let count = Self.number(last) else { return nil }
            self = .suffix(count)
        } else {
            guard let start = Self.number(first), let end = last.isEmpty ? Int.max : Self.number(last),
                start <= end
            else { return nil }
            self = .from(start, through: end)
        }
    }

    func resolved(length: Int) -> Range<Int>? {
        switch self {
        case .from(let first, let last): first < length ? first..<min(last, length - 1) + 1 : nil
        case .suffix(let count): count > 0 && length > 0 ? max(0, length - count)..<length : nil
        }
    }

    private static func number(_ text: Substring) -> Int? {
        guard !text.isEmpty, text.utf8.allSatisfy(\.isDigit) else { return nil }
        return Int(text) ?? .max
    }
}

/// The elements of `bytes=…`, looked for until there is one too many; nil when the unit is another one.
private func rangeElements(_ value: String) -> [Substring]? {
    guard let equals = value.utf8.firstIndex(of: UInt8(ascii: "=")), value[..<equals].lowercased() == "bytes" else {
        return nil
    }
    var elements: [Substring] = []
    var rest = value.utf8[value.utf8.index(after: equals)...]
    while elements.count <= maxRequestedRanges {
        let comma = rest.firstIndex(of: UInt8(ascii: ","))
        let element = Substring(rest[..<(comma ?? rest.endIndex)]).trimmingBlanks
        if !element.isEmpty { elements.append(element) }
        guard let comma else { break }
        rest = rest[rest.index(after: comma)...]
    }
    return elements
}

private func coalesced(_ ranges: [Range<Int>]) -> [Range<Int>] {
    var joined: [Range<Int>] = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
        if let last = joined.last, range.lowerBound <= last.upperBound {
            joined[joined.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
        } else {
            joined.append(range)
        }
    }
    return joined.count == ranges.count ? ranges : joined
}
