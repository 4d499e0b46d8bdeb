package import HTTPTypes

/// What the preconditions of a request decide.
package enum ConditionalOutcome: Sendable, Equatable {
    /// Perform the method.
    case proceed
    /// Answer 304.
    case notModified
    /// Answer 412.
    case preconditionFailed
}

/// Evaluates the preconditions in the order of RFC 9110 section 13.2.2.
///
/// A date counts only without the tag that outranks it, and when it is valid. A malformed list matches nothing.
/// - Parameters:
///   - etag: the current entity tag with its quotes, empty for a representation without one, nil when there is no
///     current representation.
///   - lastModified: seconds since 1970; nil for a representation without a date, which ignores dates.
package func evaluateConditions(
    _ fields: HTTPFields, method: HTTPRequest.Method, etag: String?, lastModified: Int? = nil
) -> ConditionalOutcome {
    if let value = fields[.ifMatch] {
        let holds =
            value.trimmingBlanks == "*"
            ? etag != nil : EntityTag.list(value).contains { $0.stronglyMatches(etag) }
        guard holds else { return .preconditionFailed }
    } else if let lastModified, let date = fields.date(.ifUnmodifiedSince, near: lastModified), lastModified > date {
        return .preconditionFailed
    }
    let isRead = method == .get || method == .head
    if let value = fields[.ifNoneMatch] {
        let matches =
            value.trimmingBlanks == "*"
            ? etag != nil : EntityTag.list(value).contains { $0.weaklyMatches(etag) }
        if matches { return isRead ? .notModified : .preconditionFailed }
    } else if isRead, let lastModified, let date = fields.date(.ifModifiedSince, near: lastModified),
        lastModified <= date
    {
        return .notModified
    }
    return .proceed
}

extension HTTPFields {
    /// The date of a field; nil when it is missing or no date, which several fields in a row are not either.
    fileprivate func date(_ name: HTTPField.Name, near reference: Int) -> Int? {
        self[name].flatMap { secondsSinceEpoch(httpDate: $0, near: reference) }
    }
}

/// An entity tag: `"opaque"` or `W/"opaque"` (RFC 9110 section 8.8.3).
struct EntityTag: Equatable {
    /// The opaque tag with its quotes.
    let opaque: Substring
    let isWeak: Bool

    /// Reads exactly one tag.
    init?(_ text: some StringProtocol) {
        var rest = Substring(text)
        guard let tag = Self.first(of: &rest), rest.isEmpty else { return nil }
        self = tag
    }

    private init(opaque: Substring, isWeak: Bool) {
        self.opaque = opaque
        self.isWeak = isWeak
    }

    /// Strong comparison (section 8.8.3.2).
    func stronglyMatches(_ current: String?) -> Bool {
        guard let tag = current.flatMap({ EntityTag($0) }) else { return false }
        return !isWeak && !tag.isWeak && opaque == tag.opaque
    }

    /// Weak comparison (section 8.8.3.2).
    func weaklyMatches(_ current: String?) -> Bool {
        guard let tag = current.flatMap({ EntityTag($0) }) else { return false }
        return opaque == tag.opaque
    }

    /// The tags of a comma-separated list; none when it is malformed.
    static func list(_ value: String) -> [EntityTag] {
        var tags: [EntityTag] = []
        var rest = value[...]
        while true {
            rest = rest.drop { $0 == "," || $0 == " " || $0 == "\t" }
            if rest.isEmpty { return tags }
            guard let tag = first(of: &rest) else { return [] }
            tags.append(tag)
            rest = rest.drop { $0 == " " || $0 == "\t" }
            guard rest.isEmpty || rest.first == "," else { return [] }
        }
    }

    /// Takes a tag off the front of `rest`.
    private static func first(of rest: inout Substring) -> EntityTag? {
        let isWeak = rest.hasPrefix("W/")
        let quoted = isWeak ? rest.dropFirst(2) : rest
        guard quoted.utf8.first == UInt8(ascii: "\"") else { return nil }
        let content = quoted.utf8.dropFirst()
        guard let end = content.firstIndex(of: UInt8(ascii: "\"")),
            content[..<end].allSatisfy({ !$0.isControl && $0 != .space })
        else { return nil }
        let after = quoted.utf8.index(after: end)
        rest = quoted[after...]
        return EntityTag(opaque: quoted[..<after], isWeak: isWeak)
    }
}

extension StringProtocol {
    /// The text without the spaces and tabs at its ends.
    var trimmingBlanks: Substring {
        var rest = Substring(self)
        while rest.utf8.first?.isBlank == true { rest = Substring(rest.utf8.dropFirst()) }
        while rest.utf8.last?.isBlank == true { rest = Substring(rest.utf8.dropLast()) }
        return rest
    }
}
