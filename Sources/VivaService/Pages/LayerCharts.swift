/// The SQNR of every quantized tensor in the order of the file, as dots; where there are many, as spans of neighbours.
struct LayerStrip {
    /// A name and its decibels.
    struct Layer {
        let name: String
        let sqnr: Double
    }

    let layers: [Layer]
    /// The figure of all tensors together, marked as a line.
    let pooled: Double?

    /// The most marks in a strip; neighbours share one where there are more tensors.
    static let maximumMarks = 240
    private static let left = 56.0
    private static let right = 712.0
    private static let top = 12.0
    private static let bottom = 132.0

    /// Nil where there is nothing to compare.
    var svg: HTML? {
        guard layers.count > 1, let low = layers.map(\.sqnr).min(), let high = layers.map(\.sqnr).max() else {
            return nil
        }
        let margin = max((high - low) * 0.08, 0.5)
        let y = Axis(range: (low - margin)...(high + margin), from: Self.bottom, to: Self.top)
        let together = (layers.count + Self.maximumMarks - 1) / Self.maximumMarks
        let starts = Array(stride(from: 0, to: layers.count, by: together))
        let x = Axis(range: 0...Double(max(starts.count - 1, 1)), from: Self.left + 6, to: Self.right - 6)
        let marks: [HTML] = starts.enumerated().map { place, start in
            mark(layers[start..<min(start + together, layers.count)], first: start + 1, at: x.place(Double(place)), y)
        }
        let summary =
            "SQNR of \(layers.count) tensors in file order, from \(Quantity.decibels(low)) to "
            + "\(Quantity.decibels(high)) dB; the table of all tensors has every value."
        return """
            <svg class="chart strip" viewBox="0 0 720 156" role="img" aria-label="\(summary)">
            \(Drawing.levels(y, atMost: 5, from: Self.left, to: Self.right))\(line(y))\(marks)
            \(Drawing.text("\(layers.count) tensors in file order →", (Self.right, 151), .end, kind: "axis"))
            \(Drawing.text("↑ SQNR, dB", (2, 151), kind: "axis"))
            </svg>
            """
    }

    private func mark(_ part: ArraySlice<Layer>, first: Int, at place: Double, _ y: Axis) -> HTML {
        guard let worst = part.min(by: { $0.sqnr < $1.sqnr }), let best = part.max(by: { $0.sqnr < $1.sqnr }) else {
            return .empty
        }
        let title: HTML = "\(first). \(HTML.shortened(worst.name)) \(Quantity.decibels(worst.sqnr)) dB"
        if part.count == 1 {
            return Drawing.dot("dot", (place, y.place(worst.sqnr)), radius: 2.6, title: title)
        }
        return Drawing.line(
            "span", (place, y.place(best.sqnr) - 1), (place, y.place(worst.sqnr) + 1),
            title: "\(title) is the worst of \(part.count)")
    }

    private func line(_ y: Axis) -> HTML {
        guard let pooled, y.range.contains(pooled) else { return .empty }
        return Drawing.line(
            "mark", (Self.left, y.place(pooled)), (Self.right, y.place(pooled)),
            title: "all tensors together: \(Quantity.decibels(pooled)) dB")
    }
}

/// One tensor's SQNR as a bar from 0 dB, with the limit at its rate as a tick.
struct SQNRBar {
    let sqnr: Double
    let limit: Double
    /// The decibels at the bar's full width.
    let full: Double

    /// Beside its figure in a table, hence without words of its own.
    var svg: HTML {
        let axis = Axis(range: 0...max(full, 1), from: 0, to: 200)
        return """
            <svg class="meter" viewBox="0 0 200 10" preserveAspectRatio="none" aria-hidden="true">\
            <rect class="track" width="200" height="10"/>\
            <rect class="bar" width="\(at: axis.place(sqnr))" height="10"/>\
            <rect class="limit" x="\(at: min(axis.place(limit), 198))" width="2" height="10"/></svg>
            """
    }
}
