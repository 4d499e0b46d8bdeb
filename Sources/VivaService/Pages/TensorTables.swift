/// The tensors of a report: along the file, the worst of them, and all.
struct TensorTables {
    let report: ReportDocument
    /// Rows of the table of all tensors.
    static let maximumRows = 1000

    private var quantized: [(tensor: ReportDocument.Tensor, sqnr: Double)] {
        report.tensors.compactMap { tensor in tensor.figures.sqnr.map { (tensor, $0) } }
    }

    var html: HTML {
        """
        <section><h2>Layer by layer</h2>
        \(strip)
        \(worst)
        \(OutputTable(tensors: report.tensors).html)
        \(all)
        </section>
        """
    }

    private var strip: HTML {
        let layers = quantized.map { LayerStrip.Layer(name: $0.tensor.name, sqnr: $0.sqnr) }
        return LayerStrip(layers: layers, pooled: report.totals.figures.sqnr).svg ?? .empty
    }

    private var worst: HTML {
        guard !report.tensors.isEmpty else { return worstByName }
        let worst = quantized.sorted { $0.sqnr < $1.sqnr }.prefix(ReportPage.maximumWorst)
        guard !worst.isEmpty else { return .empty }
        let full = worst.map { max($0.sqnr, $0.tensor.figures.limit ?? 0) }.max() ?? 1
        let rows: [HTML] = worst.map { tensor, sqnr in
            let bound = tensor.upperBounds.contains("max_abs_error") ? "≤ " : ""
            return """
                <tr><th scope="row">\(HTML(name: tensor.name)) <small>\(Self.shape(tensor))</small></th>\
                <td class="n">\(Quantity.decibels(sqnr))</td>\
                <td class="meter">\(SQNRBar(sqnr: sqnr, limit: tensor.figures.limit ?? 0, full: full).svg)</td>\
                <td class="n wide">\(Quantity.figure(tensor.figures.rmse))</td>\
                <td class="n wide">\(bound)\(Quantity.figure(tensor.figures.maximumError))</td></tr>

                """
        }
        return """
            <table class="worst"><caption>The \(worst.count) tensors of the lowest SQNR. \
            The mark is the rate-distortion bound.</caption>
            <thead><tr><th>tensor</th><th class="n">SQNR, dB</th><th class="meter"></th><th class="n wide">RMSE</th>\
            <th class="n wide">largest error</th></tr></thead>
            <tbody>
            \(rows)</tbody></table>
            """
    }

    /// Of a report too long for a page.
    private var worstByName: HTML {
        let rows: [HTML] = report.worstTensors.map {
            """
            <tr><th scope="row">\(HTML(name: $0.name))</th><td class="n">\(Quantity.decibels($0.sqnr))</td></tr>

            """
        }
        return """
            <p class="note">The \(Quantity.count(report.totals.tensors)) tensors are too many for a page: the JSON has \
            them.</p>
            <table class="worst"><thead><tr><th>worst tensors</th><th class="n">SQNR, dB</th></tr></thead>
            <tbody>
            \(rows)</tbody></table>
            """
    }

    private var all: HTML {
        guard !report.tensors.isEmpty else { return .empty }
        let rows: [HTML] = report.tensors.prefix(Self.maximumRows).map(row)
        let more = report.tensors.count - rows.count
        let rest: HTML =
            more > 0 ? "<p class=\"note\">\(Quantity.count(more)) more tensors are in the JSON.</p>" : ""
        return """
            <details><summary>All \(Quantity.count(report.tensors.count)) tensors</summary>
            <div class="scroll" tabindex="0" role="region" aria-label="All tensors"><table>
            <thead><tr><th>tensor</th><th>shape</th><th>dtype</th><th class="n">before</th><th class="n">after</th>\
            <th class="n">SQNR, dB</th><th class="n">RMSE</th><th class="n">mean error</th>\
            <th class="n">largest error</th></tr></thead>
            <tbody>
            \(rows)</tbody></table></div>\(rest)</details>
            """
    }

    private func row(_ tensor: ReportDocument.Tensor) -> HTML {
        let figures = tensor.figures
        let lead: HTML = """
            <tr><th scope="row">\(HTML(name: tensor.name))</th><td>\(Self.shape(tensor))</td>\
            <td>\(tensor.type)\(tensor.method.map { " → \($0)" } ?? "")</td>\
            <td class="n">\(Quantity.bytes(tensor.bytesBefore))</td>\
            <td class="n">\(Quantity.bytes(tensor.bytesAfter))</td>
            """
        guard tensor.isQuantized else { return "\(lead)<td colspan=\"4\">as it came</td></tr>\n" }
        func bound(_ name: String) -> String { tensor.upperBounds.contains(name) ? "≤ " : "" }
        return """
            \(lead)<td class="n">\(figures.sqnrText)</td><td class="n">\(Quantity.figure(figures.rmse))</td>\
            <td class="n">\(bound("mae"))\(Quantity.figure(figures.mae))</td>\
            <td class="n">\(bound("max_abs_error"))\(Quantity.figure(figures.maximumError))</td></tr>

            """
    }

    /// `4096×4096`; a hostile file may state many dimensions.
    private static func shape(_ tensor: ReportDocument.Tensor) -> String {
        HTML.shortened(tensor.shape.map(String.init).joined(separator: "×"), limit: 40)
    }
}
