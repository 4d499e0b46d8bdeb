/// What a recipe costs and what it keeps: bits a weight against SQNR, beside what theory allows.
struct ParetoChart {
    /// One artifact.
    struct Point {
        let label: String
        let bitsPerWeight: Double
        let sqnr: Double
        /// Whether the page is about it.
        var isSubject = false
    }

    let points: [Point]
    /// 6.02 bits + 1.76 dB of the subject's codes.
    let uniformLimit: Double?

    private static let width = 360.0
    private static let height = 270.0
    private static let left = 34.0
    private static let right = 350.0
    private static let top = 12.0
    private static let bottom = 232.0
    /// Points with a label of their own; a table names the others.
    static let maximumLabels = 8
    private static let maximumLabelLength = 30
    private static let labelHeight = 13.0
    /// What a character of a label takes at most, nearly always.
    private static let characterWidth = 6.4
    /// dB that one bit is worth: 20 log10 2.
    private static let decibelsPerBit = 6.0206

    /// The points that no other beats: none has fewer bits without less SQNR.
    static func front(_ points: [Point]) -> [Bool] {
        points.map { point in
            !points.contains {
                $0.bitsPerWeight <= point.bitsPerWeight && $0.sqnr >= point.sqnr
                    && ($0.bitsPerWeight < point.bitsPerWeight || $0.sqnr > point.sqnr)
            }
        }
    }

    var svg: HTML {
        let finite = points.filter { $0.bitsPerWeight.isFinite && $0.sqnr.isFinite }
        // What the page is about lies on top.
        let shown = finite.filter { !$0.isSubject } + finite.filter(\.isSubject)
        let (x, y) = axes(shown)
        let summary = "SQNR in decibels against bits a weight: \(shown.map(Self.sentence).joined(separator: "; "))"
        return """
            <svg class="chart" viewBox="0 0 360 270" role="img" aria-label="\(summary)">
            \(grid(x, y))\(limits(x, y))\(frontLine(shown, x, y))\(shown.map { dot($0, x, y) })\(labels(shown, x, y))
            </svg>
            """
    }

    private static func sentence(_ point: Point) -> String {
        "\(point.label) \(ReportText.fixed(point.bitsPerWeight, 3)) bits, \(ReportText.fixed(point.sqnr, 2)) dB"
    }

    private func axes(_ shown: [Point]) -> (x: Axis, y: Axis) {
        let bits = shown.map(\.bitsPerWeight) + [shown.isEmpty ? 4 : 0].filter { $0 > 0 }
        let low = max(0, ((bits.min() ?? 4) - 1).rounded(.down))
        let high = ((bits.max() ?? 4) + 1).rounded(.up)
        let bounds = shown.map(\.sqnr) + shown.map { $0.bitsPerWeight * Self.decibelsPerBit } + [uniformLimit ?? 0]
        let least = max(0, (shown.map(\.sqnr).min() ?? 0) - 8)
        let most = (bounds.max() ?? 30) + 3
        return (
            Axis(range: low...max(high, low + 1), from: Self.left, to: Self.right),
            Axis(range: min(least, most - 1)...most, from: Self.bottom, to: Self.top)
        )
    }

    private func grid(_ x: Axis, _ y: Axis) -> HTML {
        let ticks = x.ticks(atMost: 8)
        let columns = ticks.map { tick in
            let place = x.place(tick)
            return Drawing.line("grid", (place, Self.top), (place, Self.bottom))
                + Drawing.text(Axis.label(tick, among: ticks), (place, Self.bottom + 14), .middle)
        }
        return columns.joined() + Drawing.levels(y, atMost: 7, from: Self.left, to: Self.right)
            + Drawing.text("bits a weight →", (Self.right, Self.height - 7), .end, kind: "axis")
            + Drawing.text("↑ SQNR, dB", (2, Self.height - 7), kind: "axis")
    }

    private func limits(_ x: Axis, _ y: Axis) -> HTML {
        var lines = HTML.empty
        if let limit = uniformLimit {
            let place = y.place(limit)
            let label = "uniform codes: \(ReportText.fixed(limit, 1)) dB"
            lines += Drawing.line("uniform", (Self.left, place), (Self.right, place))
            lines += Drawing.text(label, (Self.right, place - 4), .end, kind: "uniform-label")
        }
        // Where the line 6.02·R enters and leaves the drawing.
        let start = max(x.range.lowerBound, y.range.lowerBound / Self.decibelsPerBit)
        let end = min(x.range.upperBound, y.range.upperBound / Self.decibelsPerBit)
        guard end > start else { return lines }
        let from = (x: x.place(start), y: y.place(start * Self.decibelsPerBit))
        let to = (x: x.place(end), y: y.place(end * Self.decibelsPerBit))
        // The label ends where the line is a line of text lower.
        let middle = to.x - (to.x - from.x) / (from.y - to.y) * 12
        return lines + Drawing.line("bound", from, to)
            + Drawing.text("rate-distortion bound", (max(middle - 6, 0), to.y + 10), .end, kind: "bound-label")
    }

    /// Steps along the points that no other beats.
    private func frontLine(_ shown: [Point], _ x: Axis, _ y: Axis) -> HTML {
        let front = zip(shown, Self.front(shown)).filter(\.1).map(\.0).sorted { $0.bitsPerWeight < $1.bitsPerWeight }
        guard front.count > 1, let first = front.first else { return .empty }
        var path: HTML = "M\(at: x.place(first.bitsPerWeight)) \(at: y.place(first.sqnr))"
        for point in front.dropFirst() {
            path += "H\(at: x.place(point.bitsPerWeight))V\(at: y.place(point.sqnr))"
        }
        return "<path class=\"front\" d=\"\(path)\"/>"
    }

    private func dot(_ point: Point, _ x: Axis, _ y: Axis) -> HTML {
        Drawing.dot(
            point.isSubject ? "subject" : "other", (x.place(point.bitsPerWeight), y.place(point.sqnr)),
            radius: point.isSubject ? 5.5 : 4, title: HTML(text: Self.sentence(point)))
    }

    /// Labels beside their points, moved where they would cover another label or a point.
    private func labels(_ shown: [Point], _ x: Axis, _ y: Axis) -> HTML {
        let named = (shown.filter(\.isSubject) + shown.filter { !$0.isSubject }).prefix(Self.maximumLabels)
        var taken = shown.map { point in
            Box(x: x.place(point.bitsPerWeight) - 6, y: y.place(point.sqnr) - 6, width: 12, height: 12)
        }
        var all = HTML.empty
        for point in named {
            let label = HTML.shortened(point.label, limit: Self.maximumLabelLength)
            let spot = (x: x.place(point.bitsPerWeight), y: y.place(point.sqnr))
            guard let box = Self.place(label, beside: spot, around: taken) else { continue }
            taken.append(box)
            let isLeft = box.x < spot.x
            let end = isLeft ? box.x + box.width : box.x
            let middle = box.y + Self.labelHeight / 2
            if abs(middle - spot.y) > 5 { all += Drawing.line("leader", spot, (end, middle)) }
            all += Drawing.text(
                label, (end, middle + 4), isLeft ? .end : .start,
                kind: point.isSubject ? "label subject-label" : "label")
        }
        return all
    }

    /// A rectangle of the drawing.
    private struct Box {
        let x: Double
        let y: Double
        let width: Double
        let height: Double

        func overlaps(_ other: Box) -> Bool {
            x < other.x + other.width && other.x < x + width && y < other.y + other.height && other.y < y + height
        }
    }

    /// The nearest free place for a label, nil where there is none.
    private static func place(_ label: String, beside spot: Drawing.Place, around taken: [Box]) -> Box? {
        let width = Double(label.count) * characterWidth
        for step in 0..<12 {
            // 0, then up and down by turns.
            let shift = Double(step % 2 == 0 ? step / 2 : -(step + 1) / 2) * labelHeight
            for start in [spot.x + 9, spot.x - 9 - width] {
                let box = Box(x: start, y: spot.y - labelHeight / 2 + shift, width: width, height: labelHeight)
                let isInside =
                    start >= left && start + width <= right + 4 && box.y >= top && box.y + labelHeight <= bottom
                if isInside, !taken.contains(where: box.overlaps) { return box }
            }
        }
        return nil
    }
}
