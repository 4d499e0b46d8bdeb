import HTTPServer
import HTTPTypes

/// Every route of the service. `openapi.yaml` describes exactly these; a test compares the two.
struct RouteTable: Sendable {
    let quantize: QuantizeHandler
    let artifacts: ArtifactHandlers
    let inputs: InputHandlers
    let uploads: UploadHandlers
    let jobs: JobHandlers
    let plan: FilePlanHandler
    let compare: CompareHandler
    let operations: OperationsHandlers
    let audit: AuditTrail

    init(
        facilities: Facilities, uploads: Uploads, jobs: JobService, server: ServerState
    ) {
        quantize = QuantizeHandler(facilities: facilities)
        artifacts = ArtifactHandlers(facilities: facilities)
        inputs = InputHandlers(facilities: facilities)
        self.uploads = UploadHandlers(uploads: uploads)
        self.jobs = JobHandlers(facilities: facilities, jobs: jobs)
        plan = FilePlanHandler(memory: facilities.memory, limits: facilities.limits)
        compare = CompareHandler(facilities: facilities)
        audit = AuditTrail(catalogue: facilities.catalogue, access: facilities.access, metrics: facilities.metrics)
        operations = OperationsHandlers(facilities: facilities, server: server)
    }

    /// All routes, with the notes that the audit log wants of those that change something.
    var routes: [Route] { served.map(audit.noting) }

    private var served: [Route] {
        [
            Route(.post, "/v1/quantize", .worker, handler: quantizing),
            Route(.put, "/v1/quantize", .worker, handler: quantizing),
            Route(.post, "/v1/inputs", .worker) { (request) throws(Problem) in try inputs.create(&request) },
            Route(.put, "/v1/inputs", .worker) { (request) throws(Problem) in try inputs.create(&request) },
            Route(.get, "/v1/inputs", .worker) { (request) throws(Problem) in try inputs.list(&request) },
            Route(.put, "/v1/inputs/{id}", .worker) { (request) throws(Problem) in try inputs.put(&request) },
            Route(.get, "/v1/inputs/{id}", .worker) { (request) throws(Problem) in try inputs.describe(&request) },
            Route(.delete, "/v1/inputs/{id}", .worker) { (request) throws(Problem) in try inputs.remove(&request) },
            Route(.options, "/v1/uploads", .inline) { (request) throws(Problem) in try uploads.options(&request) },
            Route(.post, "/v1/uploads", .worker) { (request) throws(Problem) in try uploads.create(&request) },
            Route(.get, "/v1/uploads/{id}", .worker) { (request) throws(Problem) in try uploads.describe(&request) },
            Route(.patch, "/v1/uploads/{id}", .worker) { (request) throws(Problem) in try uploads.append(&request) },
            Route(.delete, "/v1/uploads/{id}", .worker) { (request) throws(Problem) in try uploads.remove(&request) },
            Route(.get, "/v1/artifacts", .worker) { (request) throws(Problem) in try artifacts.list(&request) },
            Route(.get, "/v1/artifacts/{id}", .worker) { (request) throws(Problem) in
                try artifacts.describe(&request)
            },
            Route(.delete, "/v1/artifacts/{id}", .worker) { (request) throws(Problem) in
                try artifacts.remove(&request)
            },
            Route(.get, "/v1/artifacts/{id}/content", .worker) { (request) throws(Problem) in
                try artifacts.content(&request)
            },
            Route(.get, "/v1/artifacts/{id}/dequantized", .worker) { (request) throws(Problem) in
                try artifacts.dequantized(&request)
            },
            Route(.get, "/v1/artifacts/{id}/report", .worker) { (request) throws(Problem) in
                try artifacts.report(&request)
            },
            Route(.get, "/v1/artifacts/{id}/config.json", .worker) { (request) throws(Problem) in
                try artifacts.config(&request)
            },
            Route(.post, "/v1/jobs", .worker, maxBodyBytes: JobHandlers.maximumBodyBytes) { (request) throws(Problem) in
                try jobs.create(&request)
            },
            Route(.get, "/v1/jobs", .worker) { (request) throws(Problem) in try jobs.list(&request) },
            Route(.get, "/v1/jobs/{id}", .worker) { (request) throws(Problem) in try jobs.describe(&request) },
            Route(.delete, "/v1/jobs/{id}", .worker) { (request) throws(Problem) in try jobs.remove(&request) },
            Route(.get, "/v1/jobs/{id}/events", .worker) { (request) throws(Problem) in try jobs.events(&request) },
            Route(.get, "/v1/plan", .inline, handler: PlanHandlers.plan),
            Route(.post, "/v1/plan", .worker) { (request) throws(Problem) in try plan(&request) },
            Route(.put, "/v1/plan", .worker) { (request) throws(Problem) in try plan(&request) },
            Route(.post, "/v1/compare", .worker) { (request) throws(Problem) in try compare(&request) },
            Route(.put, "/v1/compare", .worker) { (request) throws(Problem) in try compare(&request) },
            Route(.get, "/v1/methods", .inline, handler: MethodHandlers.methods),
            Route(.post, "/v1/gc", .worker) { (request) throws(Problem) in try operations.collectGarbage(&request) },
            Route(.get, "/v1/requests", .worker) { (request) throws(Problem) in try operations.requests(&request) },
            Route(.get, "/livez", .inline) { (request) throws(Problem) in try operations.live(&request) },
            Route(.get, "/readyz", .worker) { (request) throws(Problem) in try operations.ready(&request) },
            Route(.get, "/healthz", .worker) { (request) throws(Problem) in try operations.ready(&request) },
            Route(.get, "/metrics", .worker) { (request) throws(Problem) in try operations.metricsText(&request) },
            Route(.get, "/v1/metrics", .worker) { (request) throws(Problem) in try operations.metricsJSON(&request) },
            // Coding it with gzip would hold up the loop for a millisecond.
            Route(.get, "/openapi.yaml", .worker, handler: OperationsHandlers.contract),
            Route(.get, "/", .inline, handler: OperationsHandlers.page),
        ]
    }

    private var quantizing: Route.Handler {
        { (request) throws(Problem) in
            guard JobHandlers.prefersLater(request.head) else { return try quantize(&request) }
            return try jobs.createFromBody(&request)
        }
    }
}
