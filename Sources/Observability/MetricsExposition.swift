/// Metrics as text for scrapers: Prometheus 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats) or OpenMetrics
/// 1.0.0 (github.com/prometheus/OpenMetrics).
struct MetricsExposition {
    enum Format {
        case prometheus
        case openMetrics
    }

    private let format: Format
    private var text = ""

    init(format: Format) {
        self.format = format
    }

    mutating func append(_ family: MetricFamily) {
        let reading = family.read()
        // Prometheus names a counter by its sample, OpenMetrics by what the sample's name ends before.
        var name = family.name
        if case .counter = reading, format == .prometheus { name += "_total" }
        text += "# HELP \(name) \(escapedHelp(family.help))\n# TYPE \(name) \(family.type)\n"
        switch reading {
        case .counter(let samples):
            for sample in samples {
                append("\(family.name)_total", family.labels, sample.labelValues, Self.number(sample.value))
            }
        case .gauge(let samples):
            for sample in samples { append(name, family.labels, sample.labelValues, Self.number(sample.value)) }
        case .histogram(let series, let bounds):
            for entry in series { append(name, family.labels, entry.labelValues, entry.value, bounds) }
        }
    }

    consuming func finished() -> [UInt8] {
        if format == .openMetrics { text += "# EOF\n" }
        return [UInt8](text.utf8)
    }

    private mutating func append(
        _ name: String, _ labels: [String], _ values: [String], _ distribution: Histogram.Distribution,
        _ bounds: [Double]
    ) {
        var cumulative = 0
        // `le` keeps its fraction (`1.0`), the canonical form of OpenMetrics, so both formats give the same series.
        for (bound, count) in zip(bounds.map(\.description) + ["+Inf"], distribution.counts) {
            cumulative += count
            append("\(name)_bucket", labels + ["le"], values + [bound], String(cumulative))
        }
        append("\(name)_sum", labels, values, Self.number(distribution.sum))
        append("\(name)_count", labels, values, String(cumulative))
    }

    private mutating func append(_ name: String, _ labels: [String], _ values: [String], _ number: String) {
        text += name
        if !labels.isEmpty {
            let pairs = zip(labels, values).map { label, value in "\(label)=\"\(Self.escaped(value, quotes: true))\"" }
            text += "{\(pairs.joined(separator: ","))}"
        }
        text += " \(number)\n"
    }

    /// Only OpenMetrics escapes quotes in a help text.
    private func escapedHelp(_ help: String) -> String {
        Self.escaped(help, quotes: format == .openMetrics)
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\n": escaped += "\\n"
            case "\"" where quotes: escaped += "\\\""
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }

    private static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        return decimalText(value)
    }
}
