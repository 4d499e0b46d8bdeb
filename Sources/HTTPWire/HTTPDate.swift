/// Formats seconds since 1970 as an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7).
///
/// Seconds outside the years 0 to 9999 are moved to the nearest of them: the format has four digits for the year.
package func httpDate(secondsSinceEpoch: Int) -> String {
    let date = DateParts(secondsSinceEpoch)
    return "\(date.weekday.prefix(3)), \(padded(date.day)) \(date.month) \(padded(date.year / 100))"
        + "\(padded(date.year % 100)) \(date.clock) GMT"
}

/// Reads an HTTP-date in any of its three forms (RFC 9110 section 5.6.7); nil for any other text.
///
/// - Parameter reference: seconds since 1970; two digits of a year mean the one less than 50 years away from it.
package func secondsSinceEpoch(httpDate text: String, near reference: Int) -> Int? {
    let words = text.split(whereSeparator: { " ,-".contains($0) })
    guard words.count == 6 || words.count == 5 else { return nil }
    let isAsctime = words.count == 5
    let clock = words[isAsctime ? 3 : 4].split(separator: ":").map { Int($0) ?? -1 }
    guard let month = months.firstIndex(of: String(words[isAsctime ? 1 : 2])),
        let day = Int(words[isAsctime ? 2 : 1]), let number = Int(words[isAsctime ? 4 : 3]),
        (1...31).contains(day), (0...9999).contains(number), clock.count == 3,
        (0...23).contains(clock[0]), (0...59).contains(clock[1]), (0...59).contains(clock[2])
    else { return nil }
    let isShort = words[isAsctime ? 4 : 3].utf8.count == 2
    let year = isShort ? DateParts(reference).fullYear(number) : number
    let seconds =
        daysSinceEpoch(year: year, month: month + 1, day: day) * 86_400 + clock[0] * 3600 + clock[1] * 60 + clock[2]
    let date = DateParts(seconds)
    let forms = [
        httpDate(secondsSinceEpoch: seconds),
        "\(date.weekday), \(padded(date.day))-\(date.month)-\(padded(date.year % 100)) \(date.clock) GMT",
        "\(date.weekday.prefix(3)) \(date.month) \(date.day < 10 ? " " : "")\(date.day) \(date.clock) \(date.year)",
    ]
    // Written anew it must be the same text: the right weekday, no 30 February, no other separators.
    return forms.contains(text) ? seconds : nil
}

private let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
private let weekdays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

/// What a date is written of.
private struct DateParts {
    let year: Int
    let month: String
    let day: Int
    let weekday: String
    /// `08:49:37`.
    let clock: String

    init(_ secondsSinceEpoch: Int) {
        let seconds = min(max(secondsSinceEpoch, -62_167_219_200), 253_402_300_799)
        let (days, time) = floorDivide(seconds, by: 86_400)
        let date = civilDate(daysSinceEpoch: days)
        year = date.year
        month = months[date.month - 1]
        day = date.day
        weekday = weekdays[floorDivide(days + 4, by: 7).remainder]
        clock = "\(padded(time / 3600)):\(padded(time / 60 % 60)):\(padded(time % 60))"
    }

    /// The year with these last two digits that is nearest to this one.
    func fullYear(_ digits: Int) -> Int {
        let near = year / 100 * 100 + digits
        return near > year + 50 ? near - 100 : near <= year - 50 ? near + 100 : near
    }
}

private func padded(_ number: Int) -> String {
    number < 10 ? "0\(number)" : "\(number)"
}

private func floorDivide(_ number: Int, by divisor: Int) -> (quotient: Int, remainder: Int) {
    let (quotient, remainder) = number.quotientAndRemainder(dividingBy: divisor)
    return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
}

/// The Gregorian date of a day number, by counting in eras of 400 years that start on 1 March
/// (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
private func civilDate(daysSinceEpoch: Int) -> (year: Int, month: Int, day: Int) {
    let (era, dayOfEra) = floorDivide(daysSinceEpoch + 719_468, by: 146_097)
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shifted = (5 * dayOfYear + 2) / 153
    let month = shifted < 10 ? shifted + 3 : shifted - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shifted + 2) / 5 + 1)
}

/// The day number of a Gregorian date (the same paper, `days_from_civil`).
private func daysSinceEpoch(year: Int, month: Int, day: Int) -> Int {
    let (era, yearOfEra) = floorDivide(month <= 2 ? year - 1 : year, by: 400)
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
}
