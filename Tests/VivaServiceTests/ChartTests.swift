import Foundation
import Testing

@testable import VivaService

/// What is drawn, read back from the drawing.
@Suite struct ChartTests {
    /// SplitMix64 (Steele, Lea, Flood 2014).
    private struct Numbers {
        var state: UInt64

        mutating func next(_ range: ClosedRange<Double>) -> Double {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return range.lowerBound
                + (range.upperBound - range.lowerBound) * Double((z ^ (z >> 31)) >> 11) / Double(1 << 53)
        }
    }

    private func expectInside(_ markup: Markup, width: Double, height: Double) {
        for element in markup.elements where element.name != "svg" {
            for name in ["x", "x1", "x2", "cx"] {
                if let place = element.number(name) { #expect((0...width).contains(place), "\(element)") }
            }
            for name in ["y", "y1", "y2", "cy"] {
                if let place = element.number(name) { #expect((0...height).contains(place), "\(element)") }
            }
            for name in ["width", "height"] {
                if let size = element.number(name) { #expect(size >= 0 && size <= width, "\(element)") }
            }
        }
    }

    @Test(arguments: 0..<40)
    func everyParetoChartIsInsideItsFrame(_ seed: Int) throws {
        var numbers = Numbers(state: UInt64(seed))
        let points = (0..<seed).map { index in
            ParetoChart.Point(
                label: "label \(index)", bitsPerWeight: numbers.next(0.1...40),
                sqnr: numbers.next(seed % 3 == 0 ? -20...5 : 0...160), isSubject: index == 0)
        }
        let chart = ParetoChart(points: points, uniformLimit: seed % 2 == 0 ? 25.84 : nil)
        let markup = try Markup(chart.svg)
        expectInside(markup, width: 360, height: 270)
        #expect(markup.all("circle").count == points.count)
        let labels = markup.elements.filter { ($0.attributes["class"] ?? "").hasPrefix("label") }
        #expect(labels.count <= ParetoChart.maximumLabels)
    }

    @Test func figuresThatAreNoneAreNotDrawn() throws {
        let points = [Double.nan, .infinity, 20].map { ParetoChart.Point(label: "x", bitsPerWeight: 4, sqnr: $0) }
        let markup = try Markup(ParetoChart(points: points, uniformLimit: nil).svg)
        #expect(markup.all("circle").count == 1)
    }

    @Test func higherAndToTheLeftIsBetter() throws {
        let points = [(4.0, 20.0), (8, 40)].map { ParetoChart.Point(label: "", bitsPerWeight: $0, sqnr: $1) }
        let circles = try Markup(ParetoChart(points: points, uniformLimit: nil).svg).all("circle")
        let (first, second) = (try #require(circles.first), try #require(circles.last))
        #expect(try #require(first.number("cx")) < #require(second.number("cx")))
        #expect(try #require(first.number("cy")) > #require(second.number("cy")))
    }

    @Test func theFrontIsWhatNoOtherBeats() {
        let points = [(4.0, 20.0), (4, 21), (5, 20.5), (8, 40), (8, 40), (9, 39)].map {
            ParetoChart.Point(label: "", bitsPerWeight: $0, sqnr: $1)
        }
        #expect(ParetoChart.front(points) == [false, true, false, true, true, false])
    }

    /// As many weights in each octave, cut into quarters of unequal width: all bars are equally high.
    @Test func heightsAreSharesOfAnOctave() throws {
        let edges = (-8 ..< -2).flatMap { octave in [1, 1.25, 1.5, 1.75].map { $0 * exp2(Double(octave)) } } + [0.25]
        let counts = zip(edges, edges.dropFirst()).map { Int((log2($1 / $0) * 1e9).rounded()) }
        let chart = HistogramChart(edges: edges, counts: counts, unchanged: 0, rmse: 0.05)
        let markup = try Markup("<div>\(try #require(chart.html))</div>")
        expectInside(markup, width: 360, height: 270)
        let heights = markup.all("rect").compactMap { $0.number("height") }
        #expect(heights.count == 24)
        #expect(try #require(heights.max()) - #require(heights.min()) < 0.2)
        #expect(markup.text.contains("RMSE 0.0500"))
    }

    @Test func smallErrorsAreToldInWords() throws {
        let edges = [exp2(-60.0), exp2(-30), exp2(-2), exp2(-1)]
        let chart = HistogramChart(edges: edges, counts: [10, 0, 980], unchanged: 10, rmse: nil)
        let html = try #require(chart.html)
        let markup = try Markup("<div>\(html)</div>")
        #expect(markup.text.contains("smaller errors (1.0 % of the weights)"))
        #expect(markup.text.contains("unchanged (10)"))
        #expect(HistogramChart(edges: [], counts: [], unchanged: 5, rmse: 0).html == nil)
    }

    @Test(arguments: [1, 2, 239, 240, 241, 5000])
    func stripsAreBounded(_ count: Int) throws {
        let layers = (0..<count).map { LayerStrip.Layer(name: "layer \($0)", sqnr: 20 + Double($0 % 7)) }
        guard let svg = LayerStrip(layers: layers, pooled: 22).svg else {
            #expect(count == 1)
            return
        }
        let markup = try Markup(svg)
        expectInside(markup, width: 720, height: 156)
        let marks = markup.elements.count { ["dot", "span"].contains($0.attributes["class"]) }
        #expect(marks <= LayerStrip.maximumMarks && marks >= min(count, LayerStrip.maximumMarks / 2))
    }

    @Test(arguments: [(0.0, 1.0), (-3, 97), (20.64, 21.81), (0, 1e-9), (1e9, 3e9), (5, 5)])
    func ticksAreRoundAndFew(_ low: Double, _ high: Double) {
        let ticks = Axis(range: low...high, from: 0, to: 100).ticks(atMost: 6)
        #expect(ticks.count <= 7)
        #expect(ticks.allSatisfy { $0 >= low - 1e-9 * abs(low) && $0 <= high + 1e-9 * abs(high) })
        #expect(low == high || ticks.count >= 2)
    }

    @Test(arguments: [1.0, 1.5, 0.02, 1e-300, 3.7e200])
    func logarithms(_ value: Double) {
        #expect(abs(Axis.log2(value) - log2(value)) < 1e-8)
        #expect(Axis.log2(-value).isNaN && Axis.log2(0).isNaN)
    }

    @Test(arguments: [
        (999, "999 B"), (1000, "1.00 kB"), (7_099_608, "7.10 MB"), (999_499, "999 kB"), (999_500, "1.00 MB"),
        (Int.max, "9.22 EB"),
    ])
    func bytes(_ count: Int, _ text: String) { #expect(Quantity.bytes(count) == text) }

    @Test(arguments: [
        (0.0252, "0.0252"), (2.52e-5, "2.52×10⁻⁵"), (0, "0"), (12345, "1.23×10⁴"), (.infinity, "–"), (99.97, "100"),
    ])
    func figures(_ value: Double, _ text: String) { #expect(Quantity.figure(value) == text) }

    @Test(arguments: [
        (0.997, "99.7 %"), (0.99999, "99.9 %"), (1, "100 %"), (0, "0 %"), (0.000015, "0.0015 %"), (0.25, "25 %"),
    ])
    func percents(_ share: Double, _ text: String) { #expect(Quantity.percent(share) == text) }

    @Test func counts() {
        #expect(Quantity.count(1_769_472) == "1\u{202F}769\u{202F}472")
        #expect(Quantity.count(12) == "12" && Quantity.count(-1234) == "−1\u{202F}234")
    }
}
