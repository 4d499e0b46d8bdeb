/// The errors of all weights by magnitude, on a logarithmic axis.
///
/// The bins are not equally wide there, so a bar is as high as its share of the weights for each octave: areas compare.
struct HistogramChart {
    let edges: [Double]
    let counts: [Int]
    let unchanged: Int
    /// Marked in the drawing.
    let rmse: Double?

    private static let left = 34.0
    private static let right = 350.0
    private static let top = 18.0
    private static let bottom = 222.0
    /// Octaves that are drawn, from the largest error down; smaller errors are told in words.
    static let maximumOctaves = 16.0

    /// One bar: its edges, their base-2 logarithms, and its share of all weights.
    private struct Bar {
        let edges: (Double, Double)
        let low: Double
        let high: Double
        let share: Double
        var height: Double { share / (high - low) }
    }

    private var total: Int { unchanged + counts.reduce(0, +) }

    private var bars: [Bar] {
        guard edges.count == counts.count + 1, total > 0 else { return [] }
        return counts.indices.compactMap { index in
            let (low, high) = (Axis.log2(edges[index]), Axis.log2(edges[index + 1]))
            guard low.isFinite, high.isFinite, high > low else { return nil }
            return Bar(
                edges: (edges[index], edges[index + 1]), low: low, high: high,
                share: Double(counts[index]) / Double(total))
        }
    }

    /// Nil where nothing was lost, hence nothing is to be drawn.
    var html: HTML? {
        let all = bars
        guard let largest = all.last?.high else { return nil }
        let shown = all.filter { $0.low >= largest - Self.maximumOctaves }
        guard let highest = shown.map(\.height).max(), highest > 0, let least = shown.first?.low else { return nil }
        let x = Axis(range: least...largest, from: Self.left, to: Self.right)
        let y = Axis(range: 0...highest * 1.08, from: Self.bottom, to: Self.top)
        let columns: [HTML] = shown.map { bar in
            let (from, to) = (x.place(bar.low), x.place(bar.high))
            let place = y.place(bar.height)
            return """
                <rect class="bar" x="\(at: from)" y="\(at: place)" width="\(at: max(to - from - 0.4, 0.4))" \
                height="\(at: Self.bottom - place)"><title>\(Self.sentence(bar))</title></rect>
                """
        }
        let smaller = all.filter { $0.low < largest - Self.maximumOctaves }.reduce(0) { $0 + $1.share }
        return """
            <svg class="chart" viewBox="0 0 360 270" role="img" aria-label="\(summary(shown))">
            \(grid(x, y))\(columns)\(mark(x))
            </svg>
            \(tail(smaller))
            """
    }

    private func grid(_ x: Axis, _ y: Axis) -> HTML {
        let percent = Axis(
            range: y.range.lowerBound * 100...y.range.upperBound * 100, from: Self.bottom, to: Self.top)
        let octavesPerDecade = Axis.log2(10)
        let first = (x.range.lowerBound / octavesPerDecade).rounded(.up)
        let last = (x.range.upperBound / octavesPerDecade).rounded(.down)
        let decades = last >= first ? Array(stride(from: first, through: last, by: 1)) : []
        let columns = decades.map { decade in
            let place = x.place(decade * octavesPerDecade)
            return Drawing.line("tick", (place, Self.bottom), (place, Self.bottom + 4))
                + Drawing.text(Quantity.power(ofTen: Int(decade)), (place, Self.bottom + 17), .middle)
        }
        return Drawing.levels(percent, atMost: 5, from: Self.left, to: Self.right) + columns.joined()
            + Drawing.text("|error|, log →", (Self.right, Self.bottom + 36), .end, kind: "axis")
            + Drawing.text("↑ % of weights an octave", (2, Self.bottom + 36), kind: "axis")
    }

    private func mark(_ x: Axis) -> HTML {
        guard let rmse, rmse > 0, x.range.contains(Axis.log2(rmse)) else { return .empty }
        let place = x.place(Axis.log2(rmse))
        let isRight = place < (Self.left + Self.right) / 2
        return Drawing.line("mark", (place, Self.top - 6), (place, Self.bottom))
            + Drawing.text(
                "RMSE \(Quantity.figure(rmse))", (place + (isRight ? 5 : -5), Self.top), isRight ? .start : .end,
                kind: "label")
    }

    private func tail(_ smaller: Double) -> HTML {
        var parts: [String] = []
        if smaller > 0 { parts.append("smaller errors (\(Quantity.percent(smaller)) of the weights)") }
        if unchanged > 0 { parts.append("weights that came back unchanged (\(Quantity.count(unchanged)))") }
        guard !parts.isEmpty else { return .empty }
        return "<p class=\"note\">Not drawn: \(parts.joined(separator: "; ")).</p>"
    }

    private func summary(_ shown: [Bar]) -> String {
        let peak = shown.max { $0.height < $1.height }
        let most = peak.map { " Most common: \(Self.sentence($0))." } ?? ""
        let largest = edges.last.map { " No error exceeds \(Quantity.figure($0))." } ?? ""
        return "Histogram of absolute errors.\(most)\(largest)"
    }

    private static func sentence(_ bar: Bar) -> String {
        "\(Quantity.figure(bar.edges.0)) to \(Quantity.figure(bar.edges.1)): \(Quantity.percent(bar.share))"
    }
}
