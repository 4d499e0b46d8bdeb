import Synchronization

/// The series of one metric by their label values, bounded in number so that no client can make the process grow.
///
/// Beyond the cap, and for overlong label values, everything is counted in one more series whose values are `_OTHER`.
final class SeriesTable<Value: Sendable>: Sendable {
    let labels: [String]
    private let initial: Value
    private let maximumSeries: Int
    private let series = Mutex<[[String]: Value]>([:])
    /// The one series of a metric without labels, there from the start: zero is an answer too.
    private let single: Mutex<Value>

    init(labels: [String], initial: Value, maximumSeries: Int) {
        self.labels = labels
        self.initial = initial
        self.maximumSeries = maximumSeries
        self.single = Mutex(initial)
    }

    /// Changes the series with these label values, which are brought to the number of labels when they differ from it.
    func update(_ labelValues: [String], _ body: (inout Value) -> Void) {
        if labels.isEmpty { return single.withLock { body(&$0) } }
        let values = fitted(labelValues)
        series.withLock { series in
            if let index = series.index(forKey: values) {
                body(&series.values[index])
            } else if series.count < maximumSeries {
                body(&series[values, default: initial])
            } else {
                body(&series[overflow, default: initial])
            }
        }
    }

    /// All series in ascending order of their label values.
    func sorted() -> [(labelValues: [String], value: Value)] {
        if labels.isEmpty { return [(labelValues: [], value: single.withLock { $0 })] }
        return series.withLock { $0 }
            .map { (labelValues: $0.key, value: $0.value) }
            .sorted { $0.labelValues.lexicographicallyPrecedes($1.labelValues) }
    }

    private var overflow: [String] { labels.map { _ in MetricsRegistry.overflowLabelValue } }

    private func fitted(_ values: [String]) -> [String] {
        if values.contains(where: { $0.utf8.count > MetricsRegistry.maximumLabelValueBytes }) { return overflow }
        if values.count == labels.count { return values }
        return labels.indices.map { $0 < values.count ? values[$0] : "" }
    }
}
