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
        let shown = points.filter { $0.bitsPerWeight.isFinite && $0.sqnr.isFinite }
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
        let across = x.ticks(atMost: 8)
        let up = y.ticks(atMost: 7)
        let columns: [HTML] = across.map { tick in
            let place = x.place(tick)
            return """
                <line class="grid" x1="\(at: place)" x2="\(at: place)" y1="\(at: Self.top)" y2="\(at: Self.bottom)"/>\
                <text x="\(at: place)" y="246" text-anchor="middle">\(Axis.label(tick, among: across))</text>
                """
        }
        let rows: [HTML] = up.map { tick in
            let place = y.place(tick)
            return """
                <line class="grid" x1="\(at: Self.left)" x2="\(at: Self.right)" y1="\(at: place)" y2="\(at: place)"/>\
                <text x="29" y="\(at: place + 4)" text-anchor="end">\(Axis.label(tick, among: up))</text>
                """
        }
        return """
            \(columns)\(rows)\
            <text class="axis" x="350" y="263" text-anchor="end">bits a weight →</text>\
            <text class="axis" x="2" y="263">↑ SQNR, dB</text>
            """
    }

    private func limits(_ x: Axis, _ y: Axis) -> HTML {
        var lines = HTML.empty
        if let limit = uniformLimit {
            let place = y.place(limit)
            lines += """
                <line class="uniform" x1="\(at: Self.left)" x2="\(at: Self.right)" y1="\(at: place)" y2="\(at: place)"/>\
                <text class="uniform-label" x="\(at: Self.right)" y="\(at: place - 4)" text-anchor="end">\
                uniform codes: \(ReportText.fixed(limit, 1)) dB</text>
                """
        }
        // Where the line 6.02·R enters and leaves the drawing.
        let start = max(x.range.lowerBound, y.range.lowerBound / Self.decibelsPerBit)
        let end = min(x.range.upperBound, y.range.upperBound / Self.decibelsPerBit)
        guard end > start else { return lines }
        let from = (x: x.place(start), y: y.place(start * Self.decibelsPerBit))
        let to = (x: x.place(end), y: y.place(end * Self.decibelsPerBit))
        // The label ends where the line is a line of text lower.
        let middle = to.x - (to.x - from.x) / (from.y - to.y) * 12
        lines += """
            <line class="bound" x1="\(at: from.x)" y1="\(at: from.y)" x2="\(at: to.x)" y2="\(at: to.y)"/>\
            <text class="bound-label" x="\(at: middle - 6)" y="\(at: to.y + 10)" text-anchor="end">\
            rate-distortion bound</text>
            """
        return lines
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
        let kind = point.isSubject ? "subject" : "other"
        return """
            <circle class="\(kind)" cx="\(at: x.place(point.bitsPerWeight))" cy="\(at: y.place(point.sqnr))" \
            r="\(at: point.isSubject ? 5.5 : 4)"><title>\(Self.sentence(point))</title></circle>
            """
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
            let line = box.y + Self.labelHeight - 4
            let isLeft = box.x < spot.x
            if abs(line - 4 - spot.y) > 5 {
                all += """
                    <line class="leader" x1="\(at: spot.x)" y1="\(at: spot.y)" x2="\(at: isLeft ? box.x + box.width : box.x)" \
                    y2="\(at: line - 4)"/>
                    """
            }
            all += """
                <text class="\(point.isSubject ? "label subject-label" : "label")" x="\(at: isLeft ? box.x + box.width : box.x)" \
                y="\(at: line)" text-anchor="\(isLeft ? "end" : "start")">\(label)</text>
                """
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
    private static func place(_ label: String, beside spot: (x: Double, y: Double), around taken: [Box]) -> Box? {
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
