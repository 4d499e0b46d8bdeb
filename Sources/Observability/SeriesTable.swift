import Synchronization

/// The series of one metric by their label values, bounded in number so that no client can make the process grow.
///
/// Beyond the cap, and for overlong label values, everything is counted in one more series whose values are `_OTHER`.
final class SeriesTable<Value: Sendable>: Sendable {
    let labels: [String]
    private let initial: Value
    private let maximumSeries: Int
    private let series: Mutex<[[String]: Value]>

    init(labels: [String], initial: Value, maximumSeries: Int) {
        self.labels = labels
        self.initial = initial
        self.maximumSeries = maximumSeries
        // A metric without labels has its one series from the start: zero is an answer too.
        self.series = Mutex(labels.isEmpty ? [[]: initial] : [:])
    }

    /// Changes the series with these label values, which are brought to the number of labels when they differ from it.
    func update(_ labelValues: [String], _ body: (inout Value) -> Void) {
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
        series.withLock { $0 }
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
