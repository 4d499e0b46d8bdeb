/// A number that only grows, for instance of requests or of bytes.
package struct Counter: Sendable {
    let table: SeriesTable<Double>

    /// Adds an amount to the series with these label values; a negative or non-finite amount is not added.
    package func add(_ amount: Double = 1, _ labelValues: [String] = []) {
        guard amount >= 0, amount.isFinite else { return }
        table.update(labelValues) { $0 += amount }
    }
}

/// A number that rises and falls, for instance of requests in flight.
package struct Gauge: Sendable {
    let table: SeriesTable<Double>

    /// Sets the series with these label values.
    package func set(_ value: Double, _ labelValues: [String] = []) {
        table.update(labelValues) { $0 = value }
    }

    /// Adds an amount, negative to subtract, to the series with these label values.
    package func add(_ amount: Double, _ labelValues: [String] = []) {
        table.update(labelValues) { $0 += amount }
    }
}

/// A distribution, counted in buckets with fixed upper bounds.
package struct Histogram: Sendable {
    /// The observations of one series.
    struct Distribution: Sendable {
        /// Observations of each bucket alone (not cumulative); the last one has no upper bound.
        var counts: [Int]
        var sum = 0.0
    }

    /// Ascending finite upper bounds; a value equal to a bound lies below it.
    let bounds: [Double]
    let table: SeriesTable<Distribution>

    /// Adds one observation, in seconds for durations; a value that is not a number is not counted.
    package func observe(_ seconds: Double, _ labelValues: [String] = []) {
        guard !seconds.isNaN else { return }
        let bucket = bounds.firstIndex { seconds <= $0 } ?? bounds.count
        table.update(labelValues) { distribution in
            distribution.counts[bucket] += 1
            distribution.sum += seconds
        }
    }
}

/// Upper bounds in seconds for the duration of HTTP requests (OpenTelemetry semantic conventions,
/// `http.server.request.duration`).
package let requestDurationBuckets: [Double] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
]
