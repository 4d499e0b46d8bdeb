import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import HTTPWire
import Jobs
import Logging
import Observability
import OpenSSL
import Quantization
import Synchronization

/// The figures of the service, named after OpenTelemetry's semantic conventions where they have a name.
final class ServiceMetrics: ServerObserver {
    let registry = MetricsRegistry()
    private let logger: Logger
    private let requestLine: LogLine.Kind
    private let accessLog: (@Sendable ([UInt8]) -> Void)?
    private let requests: Histogram
    private let active = ActiveRequests()
    private let connections: Gauge
    private let requestSizes: Histogram
    private let responseSizes: Histogram
    private let artifacts: Counter
    private let inputBytes: Counter
    private let weights: Counter
    private let quantizing: Histogram
    private let unnotedChanges: Counter
    private let jobArtifacts: Counter
    private let workerFailures: Counter
    private let limits: Counter
    private let certificateEnd: Gauge
    private let refusedCertificates: Counter
    /// Requests whose trace, read as a number, is below are logged.
    private let sampled: Double

    /// - Parameters:
    ///   - accessLog: takes a line for each request with its line feed.
    ///   - logSample: the share of requests that it gets; those that failed here have a line anyway.
    init(logger: Logger, accessLog: (@Sendable ([UInt8]) -> Void)? = nil, logSample: Double = 1) {
        self.logger = logger
        self.accessLog = accessLog
        requestLine = LogLine.Kind(level: .info, logger: logger.label, message: "request")
        sampled = logSample * 0x1p52
        limits = registry.counter(
            "http_server_limit_reached_total", help: "Times a limit ended, refused or delayed something.",
            labels: ["limit"])
        // Zero is an answer too: an alert sees the first time.
        for limit in LimitName.allCases { limits.add(0, [limit.rawValue]) }
        certificateEnd = registry.gauge(
            "viva_tls_certificate_end_seconds", help: "When the certificate ends, in seconds since 1970; 0 without TLS."
        )
        refusedCertificates = registry.counter(
            "viva_tls_refused_reloads_total", help: "Times SIGHUP found no good certificate and key.")
        requests = registry.histogram(
            "http_server_request_duration_seconds", help: "Time from the whole head to the last byte of the answer.",
            labels: Self.requestLabels, buckets: requestDurationBuckets)
        registry.observedGauge(
            "http_server_active_requests", help: "Requests in work.", labels: ["http_request_method", "url_scheme"]
        ) { [active] in active.series }
        connections = registry.gauge("http_server_open_connections", help: "Open connections.")
        requestSizes = registry.histogram(
            "http_server_request_body_size_bytes", help: "Bodies of requests as they came, coded, framing excluded.",
            labels: Self.requestLabels, buckets: Self.sizeBuckets)
        responseSizes = registry.histogram(
            "http_server_response_body_size_bytes", help: "Bodies of answers as far as they were sent.",
            labels: Self.requestLabels, buckets: Self.sizeBuckets)
        artifacts = registry.counter(
            "viva_quantized_inputs_total", help: "Inputs that became an artifact.", labels: ["method"])
        inputBytes = registry.counter(
            "viva_quantized_input_bytes_total", help: "Bytes of these inputs.", labels: ["method"])
        weights = registry.counter("viva_quantized_weights_total", help: "Weights quantized.", labels: ["method"])
        unnotedChanges = registry.counter(
            "viva_unaudited_changes_total", help: "Changes that the audit log could not take.")
        quantizing = registry.histogram(
            "viva_quantize_duration_seconds", help: "Time from the first byte of an input to the end of its passes.",
            labels: ["method"], buckets: requestDurationBuckets + [30, 60, 300, 1800])
        jobArtifacts = registry.counter(
            "viva_job_artifacts_total", help: "Artifacts that jobs have made.", labels: ["method"])
        workerFailures = registry.counter(
            "viva_worker_failures_total", help: "Attempts at a job that failed for a reason outside of it.")
    }

    /// A change that is done, and that the audit log could not take.
    func unnoted(_ record: AuditRecord, _ error: CatalogueError) {
        unnotedChanges.add(1)
        logger.error(
            "not audited",
            metadata: [
                "owner": "\(record.owner)", "action": "\(record.action)", "target": "\(record.target)",
                "trace_id": "\(record.trace ?? "")", "error": "\(error)",
            ])
    }

    /// What a check of the health of the service needs does not answer.
    func unready(_ check: String, _ error: any Error) {
        logger.error("a check failed", metadata: ["check": "\(check)", "detail": "\(error)"])
    }

    /// Adds what is read when somebody looks: the store's contents, the disk, the process.
    func observe(_ store: ArtifactStore, _ catalogue: Catalogue, restarts: Int) {
        registry.observedGauge("viva_server_restarts", help: "Times the server was started anew after a crash.") {
            Double(restarts)
        }
        registry.observedGauge("viva_artifacts", help: "Artifacts in the catalogue.") {
            ((try? catalogue.totals())?.count).map(Double.init) ?? .nan
        }
        registry.observedGauge("viva_artifact_bytes", help: "Bytes of all artifacts.") {
            ((try? catalogue.totals())?.bytes).map(Double.init) ?? .nan
        }
        registry.observedGauge("viva_disk_free_bytes", help: "Bytes that may still be written.") {
            ((try? store.space())?.free).map(Double.init) ?? .nan
        }
        registry.observedGauge("process_resident_memory_bytes", help: "Resident memory.") {
            ProcessFigures.residentBytes ?? .nan
        }
    }

    /// Adds the figures of jobs.
    func observe(_ runner: JobRunner, _ catalogue: Catalogue) {
        registry.observedGauge("viva_jobs", help: "Jobs by state; queued is the depth of the queue.", labels: ["state"])
        {
            let totals = (try? catalogue.jobTotals()) ?? [:]
            return JobState.allCases.map { ([$0.rawValue], totals[$0].map(Double.init) ?? .nan) }
        }
        registry.observedGauge("viva_job_workers", help: "Worker processes at work.") { [weak runner] in
            Double(runner?.running ?? 0)
        }
    }

    func jobMade(_ artifact: ArtifactRecord) { jobArtifacts.add(1, [artifact.method]) }
    func workerFailed() { workerFailures.add(1) }

    func limitReached(_ limit: LimitName) { limits.add(1, [limit.rawValue]) }

    /// The certificate that clients are greeted with from now on.
    func certificate(_ tls: TLSContext?) { certificateEnd.set(Double(tls?.secondsOfEnd ?? 0)) }
    /// Its files were read, and it stays what it was.
    func certificateRefused() { refusedCertificates.add(1) }

    /// Whether the log has a line of a request: the same for all services that a trace passes and that ask alike.
    private func isLogged(_ summary: RequestSummary) -> Bool {
        if sampled >= 0x1p52 || !Self.failure(summary).isEmpty { return true }
        return UInt64(summary.traceID.suffix(13), radix: 16).map { Double($0) < sampled } ?? true
    }

    func connectionOpened() { connections.add(1) }
    func connectionClosed() { connections.add(-1) }
    func requestStarted(_ method: HTTPRequest.Method?, isSecure: Bool) { active.begin(method, isSecure: isSecure) }

    func requestFinished(_ summary: RequestSummary) {
        active.end(summary.method, isSecure: summary.isSecure)
        let method = RequestMethods.name(of: summary.method)
        let seconds = Double(summary.durationNanoseconds) / 1e9
        let labels = [
            method, summary.route ?? "", "\(summary.status.code)", summary.isSecure ? "https" : "http",
            summary.version.map { $0 == .http10 ? "1.0" : "1.1" } ?? "", Self.failure(summary),
        ]
        requests.observe(seconds, labels)
        if summary.requestBodyBytes > 0 { requestSizes.observe(Double(summary.requestBodyBytes), labels) }
        if summary.responseBodyBytes > 0 { responseSizes.observe(Double(summary.responseBodyBytes), labels) }
        note(summary, method)
    }

    /// Why a request failed here, by the code of its problem or of what broke its answer off; empty where it did not.
    private static func failure(_ summary: RequestSummary) -> String {
        switch summary.status.code {
        case 400..<500: ""
        case 500...: summary.errorCode ?? "\(summary.status.code)"
        default: summary.errorCode ?? ""
        }
    }

    /// One line of the access log, in the form of the logger's lines; made here, for it is made for every request.
    private func note(_ summary: RequestSummary, _ method: String) {
        guard let accessLog, logger.logLevel <= .info, isLogged(summary) else { return }
        var line = LogLine(milliseconds: Clock.milliseconds(), requestLine)
        if let code = summary.errorCode { line.append(#","code":""#, code) }
        line.append(#","duration_ms":""#, milliseconds: Int(summary.durationNanoseconds / 1000))
        line.append(#","method":""#, method)
        line.append(#","peer":""#, summary.peer)
        line.append(#","request_bytes":""#, digitsOf: summary.requestBodyBytes)
        line.append(#","request_id":""#, summary.requestID)
        line.append(#","response_bytes":""#, digitsOf: summary.responseBodyBytes)
        line.append(#","route":""#, summary.route ?? "")
        line.append(#","status":""#, digitsOf: summary.status.code)
        line.append(#","trace_id":""#, summary.traceID)
        accessLog(line.finished())
    }

    func quantized(_ method: Method, _ outcome: InputPump.Outcome) {
        let labels = [method.rawValue]
        artifacts.add(Double(outcome.results.count), labels)
        inputBytes.add(Double(outcome.inputBytes), labels)
        weights.add(Double(outcome.results.reduce(0) { $0 + $1.report.quantizedWeights }), labels)
        quantizing.observe((outcome.receiving + outcome.finishing).seconds, labels)
    }

    /// OpenTelemetry's attributes of a request, as Prometheus spells them.
    private static let requestLabels = [
        "http_request_method", "http_route", "http_response_status_code", "url_scheme", "network_protocol_version",
        "error_type",
    ]
    /// 1 KiB to 64 GiB.
    private static let sizeBuckets = stride(from: 10, through: 36, by: 2).map { Double(1 << $0) }
}
