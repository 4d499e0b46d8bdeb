/// Formats seconds since 1970 as an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7).
///
/// Seconds outside the years 0 to 9999 are moved to the nearest of them: the format has four digits for the year.
package func httpDate(secondsSinceEpoch: Int) -> String {
    let seconds = min(max(secondsSinceEpoch, -62_167_219_200), 253_402_300_799)
    let (days, time) = floorDivide(seconds, by: 86_400)
    let date = civilDate(daysSinceEpoch: days)
    let weekday = floorDivide(days + 4, by: 7).remainder
    let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][date.month - 1]
    let name = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][weekday]
    let clock = "\(padded(time / 3600)):\(padded(time / 60 % 60)):\(padded(time % 60))"
    return "\(name), \(padded(date.day)) \(month) \(padded(date.year / 100))\(padded(date.year % 100)) \(clock) GMT"
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
