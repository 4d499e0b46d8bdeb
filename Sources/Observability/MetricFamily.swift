/// A metric with its name, its meaning and where its numbers are.
struct MetricFamily: Sendable {
    /// Where the numbers of a metric come from.
    enum Kind: Sendable {
        case counter(SeriesTable<Double>)
        case gauge(SeriesTable<Double>)
        case observedGauge(labels: [String], @Sendable () -> [Sample])
        case histogram(Histogram)
    }

    /// A number with its label values.
    struct Sample {
        let labelValues: [String]
        let value: Double
    }

    /// The numbers of a metric at one moment.
    enum Reading {
        case counter([Sample])
        case gauge([Sample])
        case histogram([(labelValues: [String], value: Histogram.Distribution)], bounds: [Double])
    }

    /// The name without the `_total` of counters.
    let name: String
    let help: String
    let kind: Kind

    var labels: [String] {
        switch kind {
        case .counter(let table), .gauge(let table): table.labels
        case .observedGauge(let labels, _): labels
        case .histogram(let histogram): histogram.table.labels
        }
    }

    /// The word of the exposition formats for the kind.
    var type: StaticString {
        switch kind {
        case .counter: "counter"
        case .gauge, .observedGauge: "gauge"
        case .histogram: "histogram"
        }
    }

    func read() -> Reading {
        switch kind {
        case .counter(let table): .counter(Self.samples(table))
        case .gauge(let table): .gauge(Self.samples(table))
        case .observedGauge(_, let read): .gauge(read())
        case .histogram(let histogram): .histogram(histogram.table.sorted(), bounds: histogram.bounds)
        }
    }

    private static func samples(_ table: SeriesTable<Double>) -> [Sample] {
        table.sorted().map { Sample(labelValues: $0.labelValues, value: $0.value) }
    }
}

extension JSONText {
    /// Appends a metric; counters and gauges have a `value`, histograms `count`, `sum` and cumulative `buckets`.
    mutating func append(family: MetricFamily) {
        append("{\"name\":")
        append(string: family.name)
        append(",\"type\":\"")
        append(family.type)
        append("\",\"help\":")
        append(string: family.help)
        append(",\"series\":[")
        switch family.read() {
        case .counter(let samples), .gauge(let samples):
            append(list: samples) { json, sample in
                json.append(labels: family.labels, values: sample.labelValues)
                json.append(",\"value\":")
                json.append(number: sample.value)
                json.append("}")
            }
        case .histogram(let series, let bounds):
            append(list: series) { json, entry in
                json.append(labels: family.labels, values: entry.labelValues)
                json.append(distribution: entry.value, bounds: bounds)
                json.append("}")
            }
        }
        append("]}")
    }

    private mutating func append(labels: [String], values: [String]) {
        append("{\"labels\":{")
        append(list: zip(labels, values)) { json, label in
            json.append(string: label.0)
            json.append(":")
            json.append(string: label.1)
        }
        append("}")
    }

    private mutating func append(distribution: Histogram.Distribution, bounds: [Double]) {
        append(",\"count\":")
        append(integer: distribution.counts.reduce(0, +))
        append(",\"sum\":")
        append(number: distribution.sum)
        append(",\"buckets\":[")
        var cumulative = 0
        append(list: zip(bounds, distribution.counts)) { json, bucket in
            cumulative += bucket.1
            json.append("{\"le\":")
            json.append(number: bucket.0)
            json.append(",\"count\":")
            json.append(integer: cumulative)
            json.append("}")
        }
        append("]")
    }
}
