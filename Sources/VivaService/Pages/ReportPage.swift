/// The quality report as a page: what was gained, what was lost, where, and what to do with the result.
struct ReportPage {
    let card: ArtifactCard
    let report: ReportDocument
    /// Other artifacts of the same input, newest first.
    let relatives: [ArtifactCard]
    let loading: LoadingSteps

    /// Other artifacts that a page compares with at most.
    static let maximumRelatives = 24
    /// Tensors in the list of the worst.
    static let maximumWorst = 20
    /// Warnings that are shown at once; the others fold away.
    private static let openWarnings = 4
    /// The longest warning in characters, for it may hold a tensor's name.
    private static let maximumWarning = 400

    private var heading: HTML {
        card.name.map { HTML(name: $0) } ?? "\(card.recipe.method.uppercased()) artifact"
    }

    var page: Page {
        Page(
            title: "\(card.name ?? "Report"): \(card.recipe.label)",
            body: """
                <header>
                <p class="brand">\(brand)</p>
                <h1>\(heading)</h1>
                <p class="sub"><b>\(card.recipe.label)</b> for \(card.recipe.format) · \
                \(card.recipe.optionText) · \(card.madeAt)</p>
                </header>
                <main>
                \(tiles)
                \(warnings)
                \(charts)
                \(comparison)
                \(TensorTables(report: report).html)
                \(loading.html)
                </main>
                <footer>
                <p>Input <code class="digest">\(card.input.digest)</code>, \(Quantity.bytes(card.input.bytes)). \
                Made by viva-tensor \(card.engineVersion)\(machineReadable)</p>
                <p>SQNR is 10 log₁₀ Σx² / Σ(x−x̂)² over the weights x and what a reader restores, x̂. Of Gaussian \
                weights no code keeps more than 6.02 dB for each stored bit (rate-distortion, Shannon 1959); uniform \
                codes of b bits reach 6.02 b + 1.76 dB for a full-scale sine.</p>
                </footer>
                """)
    }

    private var brand: HTML { loading.isServed ? "<a href=\"/\">viva-tensor</a>" : "viva-tensor" }

    private var machineReadable: HTML {
        loading.isServed
            ? "; the same as <a href=\"/v1/artifacts/\(card.id)/report\" type=\"application/json\">JSON</a> "
                + "with <code>Accept: application/json</code>." : "."
    }

    // MARK: Figures

    private var tiles: HTML {
        let totals = report.totals
        let figures = totals.figures
        let share = Double(totals.quantizedWeights) / Double(max(1, totals.weights))
        return """
            <dl class="tiles">
            \(tile("SQNR", sqnr, gap))\
            \(tile("Size", Quantity.bytes(totals.artifactBytes), inputSize))\
            \(tile("Bits a weight", ReportText.fixed(totals.bitsPerWeight, 3), against32))\
            \(tile("RMSE", Quantity.figure(figures.rmse), "largest error \(Quantity.figure(figures.maximumError))"))\
            \(tile("Quantized", Quantity.percent(share), quantized))\
            </dl>
            """
    }

    private func tile(_ name: String, _ value: String, _ note: String) -> HTML {
        "<div><dt>\(name)</dt><dd>\(value)</dd><dd class=\"note\">\(note)</dd></div>\n"
    }

    private var sqnr: String {
        let figures = report.totals.figures
        return figures.sqnr == nil ? figures.sqnrText : "\(figures.sqnrText) dB"
    }

    private var gap: String {
        guard let limit = report.totals.figures.limit else { return "" }
        return "rate-distortion bound \(Quantity.decibels(limit)) dB"
    }

    private var inputSize: String {
        let ratio = Double(report.totals.inputBytes) / Double(max(1, report.totals.artifactBytes))
        return "\(ReportText.fixed(ratio, 2))× smaller than \(Quantity.bytes(report.totals.inputBytes))"
    }

    private var against32: String {
        "\(ReportText.fixed(report.totals.compressionAgainstFloat32, 2))× smaller than float32"
    }

    private var quantized: String {
        let totals = report.totals
        return "\(Quantity.count(totals.quantizedWeights)) weights in \(Quantity.count(totals.quantizedTensors)) of "
            + "\(Quantity.count(totals.tensors)) tensors"
    }

    private var warnings: HTML {
        let items: [HTML] = report.warnings.map {
            "<li>\(HTML.shortened($0, limit: Self.maximumWarning))</li>\n"
        }
        guard !items.isEmpty else { return .empty }
        let first = Array(items.prefix(Self.openWarnings))
        let rest = Array(items.dropFirst(Self.openWarnings))
        let more: HTML =
            rest.isEmpty ? "" : "<details><summary>\(rest.count) more</summary><ul>\(rest)</ul></details>"
        return """
            <section class="warnings"><h2>Warnings</h2><ul>
            \(first)</ul>\(more)</section>
            """
    }

    // MARK: Drawings

    private var charts: HTML {
        """
        <div class="pair">
        <figure><figcaption><h2>Size against quality</h2></figcaption>\(pareto)</figure>
        <figure><figcaption><h2>Errors by magnitude</h2></figcaption>\(histogram)</figure>
        </div>
        """
    }

    private var pareto: HTML {
        let points =
            (relatives + [card]).compactMap { $0.point(beside: card) }
        guard !points.isEmpty else { return "<p>The reconstruction is exact: there is no error to compare.</p>" }
        return ParetoChart(points: points, uniformLimit: report.totals.figures.uniformLimit).svg
    }

    private var histogram: HTML {
        guard let errors = report.errorHistogram else {
            return "<p>This report was made before errors were counted.</p>"
        }
        let chart = HistogramChart(
            edges: errors.edges, counts: errors.counts, unchanged: errors.unchanged, rmse: report.totals.figures.rmse)
        guard let drawing = chart.html else { return "<p>Every weight came back unchanged.</p>" }
        guard errors.isBeforeDoubleQuantization == true else { return drawing }
        return drawing + """
            <p class="note">Counted before the scales were quantized themselves; the other figures include that.</p>
            """
    }

    private var comparison: HTML {
        guard !relatives.isEmpty else { return .empty }
        let all = (relatives + [card]).sorted { ($0.bitsPerWeight, $0.id) < ($1.bitsPerWeight, $1.id) }
        let points = all.map {
            ParetoChart.Point(label: "", bitsPerWeight: $0.bitsPerWeight, sqnr: $0.summary.sqnr ?? .infinity)
        }
        let rows: [HTML] = zip(all, ParetoChart.front(points)).map { other, isFront in
            let name: HTML =
                other.id == card.id
                ? "<b>\(other.recipe.label)</b> (this one)"
                : "<a href=\"/v1/artifacts/\(other.id)/report\">\(other.recipe.label)</a>"
            return """
                <tr><th scope="row">\(name) <small>\(other.recipe.optionText)</small></th>\
                <td class="n">\(ReportText.fixed(other.bitsPerWeight, 3))</td>\
                <td class="n">\(other.summary.sqnrText)</td>\
                <td class="n">\(Quantity.bytes(other.bytes))</td><td class="wide">\(isFront ? "yes" : "")</td></tr>

                """
        }
        return """
            <section><h2>Artifacts of the same input</h2>
            <table>
            <thead><tr><th>recipe</th><th class="n">bits a weight</th>\
            <th class="n">SQNR, dB</th><th class="n">size</th><th class="wide">unbeaten</th></tr></thead>
            <tbody>
            \(rows)</tbody></table></section>
            """
    }
}
