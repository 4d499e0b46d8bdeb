/// The few shapes of SVG that the charts are made of; colours and strokes stand in the stylesheet, by class.
enum Drawing {
    /// A place, in the units of the drawing: x to the right, y downwards.
    typealias Place = (x: Double, y: Double)

    /// Which part of a text lies at its place.
    enum Anchor: String {
        case start, middle, end
    }

    /// A straight line; `title` is what a pointer resting on it is told.
    static func line(_ kind: String, _ from: Place, _ to: Place, title: HTML = .empty) -> HTML {
        """
        <line class="\(kind)" x1="\(at: from.x)" y1="\(at: from.y)" x2="\(at: to.x)" y2="\(at: to.y)">\
        \(told(title))</line>
        """
    }

    static func dot(_ kind: String, _ place: Place, radius: Double, title: HTML) -> HTML {
        """
        <circle class="\(kind)" cx="\(at: place.x)" cy="\(at: place.y)" r="\(at: radius)">\(told(title))</circle>
        """
    }

    static func text(_ text: String, _ place: Place, _ anchor: Anchor = .start, kind: String = "tick-label") -> HTML {
        """
        <text class="\(kind)" x="\(at: place.x)" y="\(at: place.y)" text-anchor="\(anchor.rawValue)">\(text)</text>
        """
    }

    /// The level lines of an upward axis from `left` to `right`, their figures left of them.
    static func levels(_ axis: Axis, atMost most: Int, from left: Double, to right: Double) -> HTML {
        let ticks = axis.ticks(atMost: most)
        let levels = ticks.map { tick in
            let y = axis.place(tick)
            return line("grid", (left, y), (right, y))
                + text(Axis.label(tick, among: ticks), (left - 5, y + 4), .end)
        }
        return levels.joined()
    }

    private static func told(_ title: HTML) -> HTML { title == .empty ? title : "<title>\(title)</title>" }
}
