/// Markup that is safe to send: literals stand as this program spells them, all other text is escaped.
///
/// `"<td>\(name)</td>"` escapes `name`; markup inside markup stays markup. A literal is a `StaticString`, so no text
/// from outside can become markup by mistake. It is written as XML would have it too, which a test parses it as.
struct HTML: Sendable, Equatable, ExpressibleByStringInterpolation {
    private(set) var text: String

    /// The stylesheet of every page, from the resource `page.css`.
    static let stylesheet = HTML(trusted: String(decoding: PackageResources.page_css, as: UTF8.self))
    static let empty: HTML = ""

    private init(trusted text: String) { self.text = text }

    init(stringLiteral value: StaticString) { text = value.description }
    init(stringInterpolation: StringInterpolation) { text = stringInterpolation.text }

    /// Text of which every character is shown.
    init(text: String) {
        self.text = ""
        Self.append(text.unicodeScalars, to: &self.text)
    }

    /// Text with line ends that stand, as in `<pre>`.
    init(lines: String) {
        self.init(text: "")
        for (index, line) in lines.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            if index > 0 { text += "\n" }
            Self.append(line.unicodeScalars, to: &text)
        }
    }

    /// A name from a file, shortened and in its own direction of writing.
    init(name: String, limit: Int = 96) {
        text = "<bdi>"
        Self.append(Self.shortened(name, limit: limit).unicodeScalars, to: &text)
        text += "</bdi>"
    }

    /// `text` with its middle left out beyond `limit` characters, of which a name from a file may have many.
    static func shortened(_ text: String, limit: Int = 96) -> String {
        let scalars = text.unicodeScalars
        // Counted only as far as needed.
        guard !scalars.dropFirst(limit).isEmpty else { return text }
        return String(scalars.prefix(limit * 2 / 3)) + "…" + String(scalars.suffix(limit / 3 - 1))
    }

    static func + (left: HTML, right: HTML) -> HTML { HTML(trusted: left.text + right.text) }
    static func += (left: inout HTML, right: HTML) { left.text += right.text }

    struct StringInterpolation: StringInterpolationProtocol {
        fileprivate var text = ""

        init(literalCapacity: Int, interpolationCount: Int) {
            text.reserveCapacity(literalCapacity + interpolationCount * 16)
        }

        mutating func appendLiteral(_ literal: StaticString) { text += literal.description }
        mutating func appendInterpolation(_ markup: HTML) { text += markup.text }
        mutating func appendInterpolation(_ markup: [HTML]) { for part in markup { text += part.text } }
        mutating func appendInterpolation(_ text: String) { HTML.append(text.unicodeScalars, to: &self.text) }
        mutating func appendInterpolation(_ number: Int) { text += "\(number)" }
        /// A coordinate of a drawing, to a tenth of its unit.
        mutating func appendInterpolation(at place: Double) { text += ReportText.fixed(place, 1) }
    }

    /// Escapes what is markup, and spells out what could hide or turn around its neighbours: controls, marks of
    /// direction and other characters without a glyph, and line ends. XML has no form at all for some of these.
    private static func append(_ scalars: some Sequence<Unicode.Scalar>, to text: inout String) {
        for scalar in scalars {
            switch scalar {
            case "&": text += "&amp;"
            case "<": text += "&lt;"
            case ">": text += "&gt;"
            case "\"": text += "&quot;"
            case "'": text += "&#39;"
            default:
                if isInvisible(scalar) {
                    text += "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
                } else {
                    text.unicodeScalars.append(scalar)
                }
            }
        }
    }

    private static func isInvisible(_ scalar: Unicode.Scalar) -> Bool {
        guard scalar.value >= 0x7F || scalar.value < 0x20 else { return false }
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .unassigned, .surrogate, .privateUse: return true
        default: return scalar.properties.isDefaultIgnorableCodePoint
        }
    }
}

extension Array where Element == HTML {
    /// All of them, one behind the other.
    func joined(by separator: HTML = "") -> HTML {
        var all = HTML.empty
        for (index, part) in enumerated() { all += index == 0 ? part : separator + part }
        return all
    }
}
