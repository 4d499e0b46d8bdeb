import HTTPTypes

/// The names that most requests hold, ready made: building one anew costs as much as the rest of its line.
enum KnownFieldNames {
    /// The name that `range` spells, in any case of letters; nil when it is none of these.
    static func name(_ bytes: RawSpan, _ range: Range<Int>) -> HTTPField.Name? {
        guard range.count < byLength.count else { return nil }
        for known in byLength[range.count] where bytes.spells(known.canonicalName, in: range) { return known }
        return nil
    }

    private static let byLength: [[HTTPField.Name]] = {
        let names: [HTTPField.Name] =
            ["host"].compactMap { HTTPField.Name($0) } + [
                .accept, .acceptEncoding, .acceptLanguage, .authorization, .cacheControl, .connection, .contentEncoding,
                .contentLength, .contentType, .cookie, .expect, .ifMatch, .ifNoneMatch, .ifRange, .origin, .range,
                .referer, .secPurpose, .traceparent, .transferEncoding, .upgrade, .userAgent,
            ]
        let longest = names.map(\.canonicalName.utf8.count).max() ?? 0
        return (0...longest).map { length in names.filter { $0.canonicalName.utf8.count == length } }
    }()
}
