import Foundation
import HTTPServer
import HTTPTypes
import Testing

@testable import VivaService

/// The pages: well formed, quiet, and not to be written to by whoever names a tensor.
@Suite struct PageTests {
    private static let known: Set<String> = [
        "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "div", "p", "a", "b",
        "bdi", "code", "pre", "small", "h1", "h2", "dl", "dt", "dd", "ul", "li", "figure", "figcaption", "table",
        "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "svg", "g", "line", "circle", "rect",
        "path", "text",
    ]

    private func expectQuiet(_ markup: Markup) {
        #expect(Set(markup.elements.map(\.name)).isSubset(of: Self.known))
        for element in markup.elements {
            for (name, value) in element.attributes {
                #expect(!name.hasPrefix("on") && name != "style" && name != "src", "\(name)")
                if name == "href" { #expect(value.hasPrefix("/") && !value.hasPrefix("//"), "\(value)") }
            }
        }
    }

    @Test func pagesAreWellFormedAndLoadNothing() throws {
        for page in [try PageFixture.page(["a.weight", "b.weight"]).page, IndexPage.page] {
            let markup = try Markup(page.markup())
            expectQuiet(markup)
            #expect(markup.all("h1").count == 1 && markup.all("style").count == 1)
        }
    }

    @Test func headersForbidEverythingButTheStylesheet() throws {
        let response = try IndexPage.page.response()
        let policy = try #require(response.fields[.contentSecurityPolicy])
        #expect(policy.hasPrefix("default-src 'none'; style-src 'sha256-"))
        #expect(policy.hasSuffix("base-uri 'none'; form-action 'none'; frame-ancestors 'none'"))
        #expect(response.fields[.contentType] == "text/html; charset=utf-8")
    }

    /// A hostile name changes texts alone: the elements are those of a harmless name.
    @Test(arguments: [
        "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onmouseover='alert(1)", "</style><b>",
        "]]>", "--><!-- x", "&lt;&#60;", "javascript:alert(1)", "\u{202E}txt.exe", "a\u{200B}b\u{2066}c\u{7}d",
        "\u{FFFE}\u{1}\u{85}\u{2028}", "שלום", "e\u{301}\u{301}\u{301}", String(repeating: "<", count: 4000), "a\nb\tc",
    ])
    func namesDoNotBecomeMarkup(_ name: String) throws {
        func structure(_ markup: Markup) -> [String] {
            markup.elements.map { "\($0.name) \($0.attributes.keys.sorted())" }
        }
        let hostile = try Markup(PageFixture.page([name + ".weight", "b.weight"], name: name).page.markup())
        let plain = try Markup(PageFixture.page(["a.weight", "b.weight"], name: "plain").page.markup())
        #expect(structure(hostile) == structure(plain))
        expectQuiet(hostile)
        for scalar in hostile.text.unicodeScalars where scalar != "\n" {
            #expect(![.control, .format].contains(scalar.properties.generalCategory), "\(scalar.value)")
        }
    }

    @Test func whatIsShownIsWhatTheReportSays() throws {
        let page = try PageFixture.page(["layers.0.weight", "layers.1.weight"], name: "mine", columns: 100)
        let markup = try Markup(page.page.markup())
        let totals = page.report.totals
        for text in [
            "mine", ReportText.fixed(try #require(totals.figures.sqnr), 2) + " dB",
            ReportText.fixed(totals.bitsPerWeight, 3), "layers.1.weight", "8×100", page.card.input.digest,
            String(repeating: "cd", count: 32), "as it came",
        ] { #expect(markup.text.contains(text), "\(text)") }
        // Rows of 100 cross blocks of 64.
        #expect(page.report.warnings.contains { $0.contains("misreads such weights") })
        #expect(markup.text.contains("misreads such weights"))
        let worst = try #require(page.report.tensors.filter(\.isQuantized).compactMap(\.figures.sqnr).min())
        #expect(page.report.worstTensors.first?.sqnr == worst)
        let errors = try #require(page.report.errorHistogram)
        #expect(errors.unchanged + errors.counts.reduce(0, +) == totals.quantizedWeights)
    }

    @Test func aPageOfAFileStandsAlone() throws {
        let page = try PageFixture.page(["a.weight"])
        let alone = ReportPage(
            card: page.card, report: page.report, relatives: [],
            loading: LoadingSteps(card: page.card, config: "{\"load_in_4bit\": true}", isServed: false))
        let markup = try Markup(alone.page.markup())
        #expect(markup.all("a").isEmpty)
        #expect(markup.text.contains("{\"quantization_config\": {\"load_in_4bit\": true}}"))
    }

    /// A report as the service writes it, of as many tensors as wanted.
    private func report(_ count: Int) throws -> [UInt8] {
        let text = String(decoding: try PageFixture.description(["a.weight"]).report().bytes(), as: UTF8.self)
        let marker = "\n  \"tensors\": ["
        let begin = try #require(text.range(of: marker)).upperBound
        let end = try #require(text.range(of: "\n  ],", range: begin..<text.endIndex)).lowerBound
        let list = [String](repeating: String(text[begin..<end]), count: count).joined(separator: ",")
        return Array((text[..<begin] + list + text[end...]).utf8)
    }

    @Test func manyTensorsMakeABoundedPage() throws {
        let card = try PageFixture.page(["a.weight"]).card
        let many = try report(2500)
        let long = try report(9000)
        #expect(many.count < ReportDocument.maximumBytes && long.count > ReportDocument.maximumBytes)
        for (bytes, isWhole) in [(many, true), (long, false)] {
            let document = try ReportDocument(
                Array(bytes.prefix(ReportDocument.maximumBytes)), length: bytes.count)
            #expect(document.tensors.isEmpty != isWhole)
            let page = ReportPage(
                card: card, report: document, relatives: [],
                loading: LoadingSteps(card: card, config: nil, isServed: true))
            let html = try page.page.markup()
            #expect(html.text.utf8.count < 1 << 20)
            let markup = try Markup(html)
            #expect(markup.all("tr").count <= TensorTables.maximumRows + ReportPage.maximumWorst + 10)
            let marks = markup.elements.count { ["dot", "span"].contains($0.attributes["class"]) }
            #expect(isWhole ? (100...LayerStrip.maximumMarks).contains(marks) : marks == 0)
            let isTold = markup.text.contains(isWhole ? "more tensors are in the JSON" : "too many for a page")
            #expect(isTold)
        }
    }

    @Test func aDamagedReportIsAnErrorAndNoCrash() {
        for text in ["", "{}", "[1]", "{\"method\": 1", "\n  \"tensors\": ["] {
            #expect(throws: (any Error).self) { try ReportDocument(Array(text.utf8), length: text.utf8.count) }
            #expect(throws: (any Error).self) { try ReportDocument(Array(text.utf8), length: 1000) }
        }
    }
}

/// The type that texts are escaped by.
@Suite struct HTMLTests {
    @Test func literalsStandAndTextIsEscaped() {
        let text = "<b a=\"1\">&'"
        let html: HTML = "<i class=\"\(text)\">\(text)\("<br/>" as HTML)\(3)\(at: 1.26)</i>"
        let escaped = "&lt;b a=&quot;1&quot;&gt;&amp;&#39;"
        #expect(html.text == "<i class=\"\(escaped)\">\(escaped)<br/>31.3</i>")
        #expect(HTML(text: text).text == escaped)
    }

    @Test(arguments: [
        ("\u{202E}", "\\u{202E}"), ("\u{0}", "\\u{0}"), ("\n", "\\u{A}"), ("\u{FEFF}", "\\u{FEFF}"),
        ("\u{FFFF}", "\\u{FFFF}"), ("\u{E000}", "\\u{E000}"), ("\u{115F}", "\\u{115F}"), ("é 漢 🙂", "é 漢 🙂"),
    ])
    func whatCannotBeSeenIsSpelledOut(_ text: String, _ shown: String) {
        #expect(HTML(text: text).text == shown)
    }

    @Test func linesStand() {
        #expect(HTML(lines: "a<\nb\n").text == "a&lt;\nb\n")
    }

    @Test func longTextLosesItsMiddle() {
        let text = String(repeating: "a", count: 50) + String(repeating: "b", count: 50)
        #expect(HTML.shortened(text, limit: 100) == text)
        let short = HTML.shortened(text, limit: 30)
        #expect(short == String(repeating: "a", count: 20) + "…" + String(repeating: "b", count: 9))
        // Marks that pile up on one letter count each.
        #expect(HTML.shortened("e" + String(repeating: "\u{301}", count: 9999), limit: 30).unicodeScalars.count == 30)
    }
}

/// The page of a comparison, from an answer as programs get it.
@Suite struct ComparisonPageTests {
    private static func point(_ method: String, _ bits: Double, _ sqnr: String, front: Bool) -> String {
        """
        {"method": "\(method)", "format": "bitsandbytes", "mode": "reference", "options": {"block_size": 64},
         "query": "method=\(method)&block_size=64", "bytes": 1000, "bits_per_weight": \(bits), "sqnr_db": \(sqnr),
         "exact": \(sqnr == "null"), "rmse": 0.01, "pareto": \(front)}
        """
    }

    private static let answer = """
        {"input": {"bytes": 4096, "tensors": 2}, "sample": {"whole": false, "weights": 512, "tensors": []},
         "points": [\(point("nf4", 4.125, "20.5", front: true)), \(point("int8", 8.01, "38.9", front: true)),
           \(point("fp8", 8.02, "31.6", front: false)), \(point("<b>", 9, "null", front: true))],
         "refused": [{"method": "awq", "format": "awq", "mode": "reference", "options": {}, "query": "method=awq",
           "problem": {"code": "x.y", "status": 422, "detail": "There is no tensor '<script>'."}}]}
        """

    @Test func everyRecipeIsThere() throws {
        let page = ComparisonPage(comparison: try ComparisonDocument(Array(Self.answer.utf8))).page
        let markup = try Markup(page.markup())
        #expect(markup.all("tr").count == 5 && markup.all("circle").count == 3)
        #expect(markup.all("circle").count { $0.attributes["class"] == "subject" } == 2)
        for text in [
            "20.50", "8.010", "method=int8&block_size=64", "<script>", "exact", "measured on 512 weights",
        ] { #expect(markup.text.contains(text), "\(text)") }
        #expect(markup.all("script").isEmpty)
    }
}
