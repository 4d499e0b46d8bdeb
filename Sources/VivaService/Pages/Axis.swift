/// Maps figures to places along one side of a drawing.
struct Axis {
    let range: ClosedRange<Double>
    /// Where the ends of the range lie; the second may be the smaller, as upwards in SVG.
    let from: Double
    let to: Double

    /// The place of a figure; those outside the range lie at its ends.
    func place(_ value: Double) -> Double {
        let span = range.upperBound - range.lowerBound
        guard span > 0, value.isFinite else { return from }
        let share = (min(max(value, range.lowerBound), range.upperBound) - range.lowerBound) / span
        return from + share * (to - from)
    }

    /// Round figures inside the range, at most `most` of them: multiples of 1, 2 or 5 times a power of ten.
    func ticks(atMost most: Int) -> [Double] {
        let span = range.upperBound - range.lowerBound
        guard span > 0, span.isFinite, most > 0 else { return [] }
        var power = 1.0
        while power * Double(most) < span { power *= 10 }
        while power * Double(most) > span * 10 { power /= 10 }
        let step = [0.1, 0.2, 0.5, 1].map { $0 * power }.first { $0 * Double(most) >= span } ?? power
        let first = (range.lowerBound / step).rounded(.up)
        let last = (range.upperBound / step).rounded(.down)
        guard last >= first, last - first <= Double(most) else { return [] }
        return stride(from: first, through: last, by: 1).map { $0 * step }
    }

    /// A figure on an axis: without decimals where all ticks are whole.
    static func label(_ tick: Double, among ticks: [Double]) -> String {
        let isWhole = ticks.allSatisfy { $0 == $0.rounded() }
        return ReportText.fixed(tick, isWhole ? 0 : 1).replacing("-", with: "−")
    }

    /// The base-2 logarithm to 30 binary places, by squaring; NaN for what has none.
    static func log2(_ value: Double) -> Double {
        guard value > 0, value.isFinite else { return .nan }
        var logarithm = Double(value.exponent)
        var rest = value.significand
        var place = 0.5
        for _ in 0..<30 {
            rest *= rest
            if rest >= 2 {
                rest /= 2
                logarithm += place
            }
            place /= 2
        }
        return logarithm
    }
}
