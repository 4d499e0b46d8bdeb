/// Figures as people read them.
enum Quantity {
    /// Bytes with three digits and a decimal unit: `7.10 MB`.
    static func bytes(_ count: Int) -> String {
        let units = ["kB", "MB", "GB", "TB", "PB", "EB"]
        guard count >= 1000 else { return "\(count) B" }
        var value = Double(count) / 1000
        var unit = 0
        while value >= 999.5, unit < units.count - 1 {
            value /= 1000
            unit += 1
        }
        return "\(threeDigits(value)) \(units[unit])"
    }

    /// A count with its thousands set apart by narrow spaces.
    static func count(_ count: Int) -> String {
        let digits = Array("\(count.magnitude)")
        var text = count < 0 ? "−" : ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { text += "\u{202F}" }
            text.append(digit)
        }
        return text
    }

    /// A positive figure of any size with three digits: `0.0252`, `2.52×10⁻⁵`.
    static func figure(_ value: Double?) -> String {
        guard let value, value.isFinite else { return "–" }
        if value == 0 { return "0" }
        if (0.01..<1000).contains(value.magnitude) { return threeDigits(value) }
        let parts = ReportText.scientific(value).split(separator: "e")
        guard parts.count == 2 else { return "\(value)" }
        return "\(parts[0])×10\(superscript(String(parts[1])))"
    }

    /// A power of ten: `10⁻⁵`.
    static func power(ofTen exponent: Int) -> String { "10\(superscript("\(exponent)"))" }

    /// Decibels with two decimals; a dash where there are none.
    static func decibels(_ value: Double?) -> String { value.map { ReportText.fixed($0, 2) } ?? "–" }

    /// A share in percent, with as many decimals as show it: `0.0015 %`.
    static func percent(_ share: Double) -> String {
        let percent = share * 100
        // What is nearly all is not all.
        if percent > 99, percent < 100 { return "\(ReportText.fixed(min(percent, 99.9), 1)) %" }
        if percent == 0 || percent >= 10 { return "\(ReportText.fixed(percent, 0)) %" }
        var digits = 1
        var least = 0.1
        while percent < least, digits < 6 {
            digits += 1
            least /= 10
        }
        return "\(ReportText.fixed(percent, digits + (percent < 1 ? 1 : 0))) %"
    }

    private static func threeDigits(_ value: Double) -> String {
        let magnitude = value.magnitude
        if magnitude >= 99.95 { return ReportText.fixed(value, 0) }
        if magnitude >= 9.995 { return ReportText.fixed(value, 1) }
        if magnitude >= 0.9995 { return ReportText.fixed(value, 2) }
        return ReportText.fixed(value, magnitude >= 0.09995 ? 3 : 4)
    }

    private static func superscript(_ digits: String) -> String {
        let raised: [Character] = ["⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"]
        return String(digits.map { $0.wholeNumberValue.map { raised[$0] } ?? ($0 == "-" ? "⁻" : $0) })
    }
}
