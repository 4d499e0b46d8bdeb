/// What became of the layers' outputs, where calibration data tells: the layers that lose most.
struct OutputTable {
    let tensors: [ReportDocument.Tensor]

    private typealias Row = (tensor: ReportDocument.Tensor, error: ReportDocument.OutputError)

    private var rows: [Row] {
        tensors.compactMap { tensor in tensor.outputError.map { (tensor, $0) } }
            .sorted { ($0.error.sqnr ?? .infinity) < ($1.error.sqnr ?? .infinity) }
    }

    var html: HTML {
        let rows = rows
        guard !rows.isEmpty else { return .empty }
        let shown: [HTML] = rows.prefix(ReportPage.maximumWorst).map(Self.row)
        let held =
            rows.contains { $0.error.isHeldOut } ? "tokens that nothing was calibrated on" : "the calibration data"
        return """
            <table class="worst"><caption>Errors of the layers' outputs, ‖XWᵀ‖² over ‖X(W−Ŵ)ᵀ‖², on \(held)\
            \(Self.mean(rows.compactMap(\.error.gainOverNearest), "rounding to nearest"))\
            \(Self.mean(rows.compactMap(\.error.gainOverAWQ), "plain AWQ")).</caption>
            <thead><tr><th>layer</th><th class="n">output SQNR, dB</th><th class="n">against nearest, dB</th>\
            <th class="n">against AWQ, dB</th><th class="wide">data</th><th class="n wide">tokens an input</th></tr></thead>
            <tbody>
            \(shown)</tbody></table>
            """
    }

    private static func row(_ row: Row) -> HTML {
        let calibration = row.tensor.calibration
        return """
            <tr><th scope="row">\(HTML(name: row.tensor.name))</th>\
            <td class="n">\(row.error.sqnr.map { Quantity.decibels($0) } ?? "exact")</td>\
            <td class="n">\(gain(row.error.gainOverNearest))</td><td class="n">\(gain(row.error.gainOverAWQ))</td>\
            <td class="wide">\(calibration?.knowledge ?? "")</td>\
            <td class="n wide">\(calibration?.coverage.map { ReportText.fixed($0, 1) } ?? "")</td></tr>

            """
    }

    private static func gain(_ decibels: Double?) -> String {
        decibels.map { ($0 < 0 ? "" : "+") + ReportText.fixed($0, 2) } ?? "–"
    }

    private static func mean(_ gains: [Double], _ what: String) -> String {
        guard gains.count > 1 else { return "" }
        return ", on average \(gain(gains.reduce(0, +) / Double(gains.count))) dB against \(what)"
    }
}
