import Synchronization

/// The metrics of one service: instruments are made once, used from any thread, and rendered on demand.
///
/// Asking again for a name gives the instrument that exists, with its numbers. A name that is no Prometheus name, or
/// that is taken by another kind or other labels, is a mistake in the program and stops it at once.
package final class MetricsRegistry: Sendable {
    /// The most series that one metric has by default, the one for everything beyond not counted.
    package static let defaultMaximumSeries = 1_000
    /// The longest label value in bytes; a longer one is counted under `overflowLabelValue`.
    package static let maximumLabelValueBytes = 256
    /// The label value for what has no series of its own (the name OpenTelemetry uses for unknown methods).
    package static let overflowLabelValue = "_OTHER"

    /// The media type of `prometheusText()`.
    package static let prometheusContentType = "text/plain; version=0.0.4; charset=utf-8"
    /// The media type of `openMetricsText()`.
    package static let openMetricsContentType = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    private let maximumSeries: Int
    private let families = Mutex<[String: MetricFamily]>([:])

    /// Makes an empty registry whose metrics have at most this many series each.
    package init(maximumSeries: Int = MetricsRegistry.defaultMaximumSeries) {
        self.maximumSeries = maximumSeries
    }

    /// A counter; its name may end in `_total`, which the text forms add where they want it.
    package func counter(_ name: String, help: String, labels: [String] = []) -> Counter {
        let base = Self.withoutTotal(name)
        let family = register(base, help, .counter(table(labels, 0)))
        guard case .counter(let found) = family.kind, found.labels == labels else { Self.taken(name) }
        return Counter(table: found)
    }

    /// A gauge.
    package func gauge(_ name: String, help: String, labels: [String] = []) -> Gauge {
        let family = register(name, help, .gauge(table(labels, 0)))
        guard case .gauge(let found) = family.kind, found.labels == labels else { Self.taken(name) }
        return Gauge(table: found)
    }

    /// A gauge without labels whose value is read whenever the metrics are rendered.
    package func observedGauge(_ name: String, help: String, read: @escaping @Sendable () -> Double) {
        observedGauge(name, help: help, labels: []) { [([], read())] }
    }

    /// A gauge whose values are read, each with as many label values as there are labels, whenever the metrics are
    /// rendered.
    package func observedGauge(
        _ name: String, help: String, labels: [String], read: @escaping @Sendable () -> [([String], Double)]
    ) {
        let samples: @Sendable () -> [MetricFamily.Sample] = {
            read().map { MetricFamily.Sample(labelValues: $0.0, value: $0.1) }
        }
        let family = register(name, help, .observedGauge(labels: labels, samples))
        guard case .observedGauge(labels, _) = family.kind else { Self.taken(name) }
    }

    /// A histogram over these upper bounds, in any order; the bucket without a bound is added.
    package func histogram(_ name: String, help: String, labels: [String] = [], buckets: [Double]) -> Histogram {
        let bounds = Set(buckets.filter(\.isFinite)).sorted()
        let empty = Histogram.Distribution(counts: [Int](repeating: 0, count: bounds.count + 1))
        let made = Histogram(
            bounds: bounds, table: SeriesTable(labels: labels, initial: empty, maximumSeries: maximumSeries))
        let family = register(name, help, .histogram(made))
        guard case .histogram(let found) = family.kind, found.table.labels == labels, found.bounds == bounds else {
            Self.taken(name)
        }
        return found
    }

    /// All metrics in the Prometheus text format 0.0.4, sorted by name and label values.
    package func prometheusText() -> [UInt8] {
        exposition(.prometheus)
    }

    /// All metrics in the OpenMetrics text format 1.0.0, sorted by name and label values.
    package func openMetricsText() -> [UInt8] {
        exposition(.openMetrics)
    }

    private func exposition(_ format: MetricsExposition.Format) -> [UInt8] {
        var exposition = MetricsExposition(format: format)
        for family in sortedFamilies() { exposition.append(family) }
        return exposition.finished()
    }

    /// The same numbers as JSON: `{"metrics":[{"name","type","help","series":[{"labels",…}]}]}`.
    package func json() -> [UInt8] {
        var json = JSONText()
        json.append("{\"metrics\":[")
        json.append(list: sortedFamilies()) { $0.append(family: $1) }
        json.append("]}")
        return json.bytes
    }

    private func sortedFamilies() -> [MetricFamily] {
        families.withLock { $0 }.values.sorted { $0.name < $1.name }
    }

    private func table(_ labels: [String], _ initial: Double) -> SeriesTable<Double> {
        SeriesTable(labels: labels, initial: initial, maximumSeries: maximumSeries)
    }

    private func register(_ name: String, _ help: String, _ kind: MetricFamily.Kind) -> MetricFamily {
        let family = MetricFamily(name: name, help: help, kind: kind)
        precondition(Self.isName(name, colons: true), "\(name) is no metric name")
        for label in family.labels {
            precondition(Self.isName(label, colons: false) && label != "le", "\(label) is no label name")
        }
        precondition(Set(family.labels).count == family.labels.count, "\(name) has a label twice")
        return families.withLock { families in
            if let existing = families[name] { return existing }
            families[name] = family
            return family
        }
    }

    private static func taken(_ name: String) -> Never {
        preconditionFailure("\(name) is registered with another kind, other labels or other buckets")
    }

    private static func withoutTotal(_ name: String) -> String {
        name.hasSuffix("_total") ? String(name.dropLast("_total".count)) : name
    }

    /// `[a-zA-Z_:][a-zA-Z0-9_:]*`, for labels without the colon (prometheus.io/docs/concepts/data_model).
    private static func isName(_ name: String, colons: Bool) -> Bool {
        guard let first = name.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else {
            return false
        }
        return name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"): true
            case UInt8(ascii: ":"): colons
            default: false
            }
        }
    }
}
