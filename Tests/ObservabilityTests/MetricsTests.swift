import Foundation
import Observability
import Synchronization
import Testing

@Suite struct MetricsTests {
    let registry = MetricsRegistry()

    private var prometheus: String { String(decoding: registry.prometheusText(), as: UTF8.self) }
    private var openMetrics: String { String(decoding: registry.openMetricsText(), as: UTF8.self) }

    @Test func aRegistryWithoutMetrics() {
        #expect(prometheus == "")
        #expect(openMetrics == "# EOF\n")
        #expect(String(decoding: registry.json(), as: UTF8.self) == #"{"metrics":[]}"#)
    }

    /// The layout of the example in prometheus.io/docs/instrumenting/exposition_formats.
    @Test func aCounterInBothFormats() {
        let requests = registry.counter("http_requests_total", help: "The requests.", labels: ["method", "code"])
        requests.add(1027, ["post", "200"])
        requests.add(3, ["post", "400"])
        let samples = """
            http_requests_total{method="post",code="200"} 1027
            http_requests_total{method="post",code="400"} 3

            """
        #expect(
            prometheus == "# HELP http_requests_total The requests.\n# TYPE http_requests_total counter\n" + samples)
        #expect(
            openMetrics == "# HELP http_requests The requests.\n# TYPE http_requests counter\n" + samples + "# EOF\n")
    }

    @Test func theTotalSuffixIsOptionalInTheName() {
        registry.counter("a", help: "A.").add()
        registry.counter("a_total", help: "A.").add()
        #expect(prometheus.hasSuffix("\na_total 2\n"))
    }

    @Test func zeroIsAnAnswerToo() {
        _ = registry.counter("a", help: "A.")
        _ = registry.gauge("b", help: "B.")
        _ = registry.counter("c", help: "C.", labels: ["x"])
        #expect(prometheus.contains("\na_total 0\n"))
        #expect(prometheus.contains("\nb 0\n"))
        #expect(prometheus.hasSuffix("# TYPE c_total counter\n"))
    }

    @Test(arguments: [-1, -Double.infinity, .infinity, .nan]) func countersOnlyGrow(amount: Double) {
        let counter = registry.counter("a", help: "A.")
        counter.add(2.5)
        counter.add(amount)
        #expect(prometheus.hasSuffix("\na_total 2.5\n"))
    }

    @Test func gaugesMoveBothWays() {
        let gauge = registry.gauge("in_flight", help: "Now.", labels: ["route"])
        gauge.set(7, ["/a"])
        gauge.add(-3, ["/a"])
        gauge.add(-0.5, ["/b"])
        #expect(prometheus.hasSuffix("in_flight{route=\"/a\"} 4\nin_flight{route=\"/b\"} -0.5\n"))
    }

    @Test func observedMetricsAreReadWhenRendered() {
        let source = Source()
        registry.observedGauge("rss_bytes", help: "Memory.") { source.next() }
        #expect(prometheus.contains("\nrss_bytes 1\n"))
        #expect(prometheus.contains("\nrss_bytes 2\n"))
    }

    @Test(arguments: [
        (Double.nan, "NaN"), (.infinity, "+Inf"), (-Double.infinity, "-Inf"), (1e300, "1e+300"), (0.1, "0.1"),
    ])
    func numbersAreWrittenAsTheFormatsDemand(value: Double, text: String) {
        registry.gauge("a", help: "A.").set(value)
        #expect(prometheus.hasSuffix("\na \(text)\n"))
    }

    /// Bounds are inclusive and buckets cumulative (prometheus.io/docs/concepts/metric_types).
    @Test func histogramsAreCumulative() {
        let histogram = registry.histogram("t_seconds", help: "T.", labels: ["r"], buckets: [1, 0.5, 2.5, 1])
        for value in [0.25, 0.5, 1, 2, 100, .nan] { histogram.observe(value, ["x"]) }
        let expected = """
            # TYPE t_seconds histogram
            t_seconds_bucket{r="x",le="0.5"} 2
            t_seconds_bucket{r="x",le="1.0"} 3
            t_seconds_bucket{r="x",le="2.5"} 4
            t_seconds_bucket{r="x",le="+Inf"} 5
            t_seconds_sum{r="x"} 103.75
            t_seconds_count{r="x"} 5

            """
        #expect(prometheus.hasSuffix(expected))
    }

    @Test func requestBucketsAreThoseOfOpenTelemetry() {
        let text = requestDurationBuckets.map(\.description).joined(separator: " ")
        #expect(text == "0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1.0 2.5 5.0 7.5 10.0")
    }

    @Test func escaping() {
        registry.gauge("a", help: "back\\slash \"quote\"\nline", labels: ["l"]).set(1, ["x\\y\"z\nw"])
        #expect(prometheus.hasPrefix(#"# HELP a back\\slash "quote"\nline"# + "\n"))
        #expect(openMetrics.hasPrefix(#"# HELP a back\\slash \"quote\"\nline"# + "\n"))
        #expect(prometheus.hasSuffix(#"a{l="x\\y\"z\nw"} 1"# + "\n"))
    }

    @Test func theOrderDoesNotDependOnTheOrderOfUse() {
        func text(_ order: [Int]) -> [UInt8] {
            let registry = MetricsRegistry()
            for number in order {
                registry.counter("m\(number % 3)", help: "M.", labels: ["a", "b"]).add(
                    1, ["\(number)", "\(number % 2)"])
            }
            return registry.prometheusText()
        }
        #expect(text(Array(0..<60)) == text(Array((0..<60).reversed())))
    }

    @Test func beyondTheCapEverythingIsOther() {
        let registry = MetricsRegistry(maximumSeries: 3)
        let counter = registry.counter("a", help: "A.", labels: ["path", "code"])
        for number in 0..<10 { counter.add(1, ["/\(number)", "200"]) }
        counter.add(5, ["/0", "200"])
        #expect(
            String(decoding: registry.prometheusText(), as: UTF8.self).hasSuffix(
                """
                a_total{path="/0",code="200"} 6
                a_total{path="/1",code="200"} 1
                a_total{path="/2",code="200"} 1
                a_total{path="_OTHER",code="_OTHER"} 7

                """))
    }

    @Test func theDefaultCapHolds() {
        let counter = registry.counter("a", help: "A.", labels: ["x"])
        for number in 0..<(MetricsRegistry.defaultMaximumSeries + 50) { counter.add(1, ["\(number)"]) }
        let lines = prometheus.split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(lines.count == MetricsRegistry.defaultMaximumSeries + 1)
        #expect(lines.last == #"a_total{x="_OTHER"} 50"#)
    }

    @Test func anOverlongLabelValueIsOther() {
        let counter = registry.counter("a", help: "A.", labels: ["x"])
        counter.add(1, [String(repeating: "x", count: MetricsRegistry.maximumLabelValueBytes)])
        counter.add(1, [String(repeating: "x", count: MetricsRegistry.maximumLabelValueBytes + 1)])
        #expect(prometheus.contains(#"a_total{x="_OTHER"} 1"#))
        #expect(prometheus.contains("xxxx\"} 1\n"))
    }

    @Test func labelValuesAreFittedToTheLabels() {
        let counter = registry.counter("a", help: "A.", labels: ["x", "y"])
        counter.add(1, ["1"])
        counter.add(2, ["1", "2", "3"])
        #expect(prometheus.hasSuffix("a_total{x=\"1\",y=\"\"} 1\na_total{x=\"1\",y=\"2\"} 2\n"))
    }

    @Test func noObservationIsLostBetweenThreads() async {
        let counter = registry.counter("a", help: "A.", labels: ["x"])
        let histogram = registry.histogram("h", help: "H.", buckets: [1])
        await withTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    for _ in 0..<1_000 {
                        counter.add(1, ["\(task % 2)"])
                        histogram.observe(0.5)
                    }
                }
            }
        }
        #expect(prometheus.contains("a_total{x=\"0\"} 4000\na_total{x=\"1\"} 4000\n"))
        #expect(prometheus.hasSuffix("h_sum 4000\nh_count 8000\n"))
    }

    @Test func theSameAsJSON() throws {
        registry.counter("c", help: "A \"count\".", labels: ["x"]).add(2, ["\u{1}é\""])
        registry.gauge("g", help: "G.").set(.nan)
        registry.histogram("h", help: "H.", buckets: [1, 0.5]).observe(0.75)
        let parsed = try #require(JSONSerialization.jsonObject(with: Data(registry.json())) as? [String: Any])
        let metrics = try #require(parsed["metrics"] as? [NSDictionary])
        #expect(
            metrics == [
                [
                    "name": "c", "type": "counter", "help": "A \"count\".",
                    "series": [["labels": ["x": "\u{1}é\""], "value": 2]],
                ],
                ["name": "g", "type": "gauge", "help": "G.", "series": [["labels": [:], "value": NSNull()]]],
                [
                    "name": "h", "type": "histogram", "help": "H.",
                    "series": [
                        [
                            "labels": [:], "count": 1, "sum": 0.75,
                            "buckets": [["le": 0.5, "count": 0], ["le": 1, "count": 1]],
                        ]
                    ],
                ],
            ])
    }

    @Test func aNameOfAnotherKindStopsTheProgram() async {
        await #expect(processExitsWith: .failure) {
            let registry = MetricsRegistry()
            _ = registry.gauge("a", help: "A.")
            _ = registry.counter("a", help: "A.")
        }
    }

    @Test func aMalformedNameStopsTheProgram() async {
        await #expect(processExitsWith: .failure) { _ = MetricsRegistry().gauge("9 lives", help: "A.") }
        await #expect(processExitsWith: .failure) { _ = MetricsRegistry().gauge("a", help: "A.", labels: ["x:y"]) }
        await #expect(processExitsWith: .failure) { _ = MetricsRegistry().gauge("a", help: "A.", labels: ["x", "x"]) }
    }
}

/// Counts how often it was read.
private final class Source: Sendable {
    private let reads = Mutex(0.0)

    func next() -> Double {
        reads.withLock { reads in
            reads += 1
            return reads
        }
    }
}
