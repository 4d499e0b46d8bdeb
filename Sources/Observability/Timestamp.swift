/// A moment as RFC 3339 text in UTC with milliseconds, for instance `2026-11-22T23:00:00.000Z`.
///
/// `milliseconds` counts from 1970-01-01T00:00:00Z without leap seconds; moments outside the four-digit years 0000 to
/// 9999, which RFC 3339 §5.6 cannot write, become the first or the last one it can.
package func rfc3339(milliseconds: Int64) -> String {
    var json = JSONText()
    json.append(rfc3339: milliseconds)
    return String(decoding: json.bytes, as: UTF8.self)
}

extension JSONText {
    /// Appends the text of `rfc3339(milliseconds:)` without quotes.
    mutating func append(rfc3339 milliseconds: Int64) {
        let bounded = min(max(milliseconds, earliestMilliseconds), latestMilliseconds)
        let dayLength: Int64 = 86_400_000
        // Division that rounds down, so that moments before 1970 fall on the day they belong to.
        var (days, rest) = bounded.quotientAndRemainder(dividingBy: dayLength)
        if rest < 0 { (days, rest) = (days - 1, rest + dayLength) }
        let date = civilDate(daysSince1970: days)
        let time = Int(rest)
        append(Int(date.year), from: 1000, before: "-")
        append(Int(date.month), from: 10, before: "-")
        append(Int(date.day), from: 10, before: "T")
        append(time / 3_600_000, from: 10, before: ":")
        append(time / 60_000 % 60, from: 10, before: ":")
        append(time / 1_000 % 60, from: 10, before: ".")
        append(time % 1_000, from: 100, before: "Z")
    }

    private mutating func append(_ number: Int, from divisor: Int, before separator: Unicode.Scalar) {
        append(digitsOf: number, from: divisor)
        append(octet: UInt8(ascii: separator))
    }
}

/// 0000-01-01T00:00:00.000Z.
private let earliestMilliseconds: Int64 = -62_167_219_200_000
/// 9999-12-31T23:59:59.999Z.
private let latestMilliseconds: Int64 = 253_402_300_799_999

/// The date in the proleptic Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`): years begin in March, so that the leap day is the last, and repeat in eras of 400.
private func civilDate(daysSince1970 days: Int64) -> (year: Int64, month: Int64, day: Int64) {
    let eraLength: Int64 = 146_097
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - (eraLength - 1)) / eraLength
    let dayOfEra = shifted - era * eraLength
    let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
    let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
}
