import Catalogue
import HTTPServer
import HTTPTypes
import HTTPWire
import Jobs
import Quantization
import Tensors

/// Everything below `/v1/jobs`: work that outlives its request.
struct JobHandlers: Sendable {
    /// The most bytes of the JSON that describes a job.
    static let maximumBodyBytes = 1 << 20
    /// The most bytes of an `Idempotency-Key`.
    static let maximumKeyBytes = 255
    /// How often a client should look at a job that it does not watch, in seconds.
    static let pollSeconds = "1"

    let facilities: Facilities
    let jobs: JobService
    /// Tells ids of events from those of an earlier process.
    private let epoch = String(Clock.milliseconds(), radix: 36)

    init(facilities: Facilities, jobs: JobService) {
        self.facilities = facilities
        self.jobs = jobs
    }

    /// `POST /v1/jobs`.
    func create(_ request: inout Request) throws(Problem) -> Response {
        let principal = try facilities.access.principal(request)
        _ = try Query(request.head, known: [])
        let key = try Self.idempotencyKey(request.head)
        let order = try JobOrder(
            request.document(maximumBytes: Self.maximumBodyBytes), trace: request.trace.traceID)
        let inputs = JobInputs(input: order.input, calibration: order.calibration)
        return try respond(enqueue(order.request, inputs, principal, key: key), inputs)
    }

    /// `POST /v1/quantize` with `Prefer: respond-async` (RFC 7240): the body is stored, and a job made of it.
    func createFromBody(_ request: inout Request) throws(Problem) -> Response {
        let principal = try facilities.access.principal(request)
        let key = try Self.idempotencyKey(request.head)
        let wanted = try QuantizeRequest(request.head)
        let items = Query.items(request.head)
        if let budget = wanted.budget { try JobOrder.refuse([budget.limit.option]) }
        try JobOrder.refuse(wanted.options)
        let question = try InputQuestion(items.filter { InputQuestion.names.contains($0.name) })
        let inputs = InputHandlers(facilities: facilities)
        let kept = try inputs.keep(&request, question, principal)
        let job = JobRequest(
            options: wanted.options, name: wanted.name, dtype: question.dtype, shape: question.shape,
            trace: request.trace.traceID)
        do throws(Problem) {
            let inputs = JobInputs(input: kept.record.digest)
            var response = try respond(enqueue(job, inputs, principal, key: key), inputs)
            if let name = HTTPField.Name("Preference-Applied") { response.fields[name] = "respond-async" }
            return response
        } catch {
            // What was refused leaves nothing behind; the refusal is the evidence.
            if kept.isNew { try? inputs.discard(kept.record) }
            throw error
        }
    }

    /// Whether a client would rather not wait.
    static func prefersLater(_ head: RequestHead) -> Bool {
        guard let name = HTTPField.Name("Prefer"), let field = head.fields[name] else { return false }
        return field.split(separator: ",").contains { preference in
            let token = preference.prefix { $0 != ";" && $0 != "=" }
            return token.filter { $0 != " " && $0 != "\t" }.lowercased() == "respond-async"
        }
    }

    /// Plans a job and records it.
    func enqueue(
        _ request: JobRequest, _ inputs: JobInputs, _ principal: Principal, key: String?
    ) throws(Problem) -> Enqueued {
        let planner = JobPlanner(facilities: facilities, limits: jobs.limits)
        var keyed: (text: String, fingerprint: String)?
        if let key { keyed = (key, try JobPlanner.fingerprint(request, inputs)) }
        return try jobs.enqueue(owner: principal.owner, key: keyed) { () throws(Problem) in
            try planner.plan(request, inputs, principal)
        } admit: { (planned) throws(Problem) in
            let permit = try facilities.quotas.permit(principal)
            let reservation = facilities.reservation(permit)
            do throws(QuantizationError) {
                try reservation.check(planned.disk)
            } catch {
                throw reservation.problem(error)
            }
            return permit
        }
    }

    /// The answer to the wish for a job, wherever it came from.
    func respond(_ enqueued: Enqueued, _ inputs: JobInputs) throws(Problem) -> Response {
        let job: JobRecord
        switch enqueued {
        case .inputAbsent: throw .inputNotFound(inputs.names.joined(separator: "' or '"))
        case .new(let new): job = new
        case .alike(let known), .repeated(let known): job = known
        case .keyInUse:
            throw Problem(
                .unprocessableContent, code: "idempotency.key_reused", title: "The key was used for something else",
                detail: "This Idempotency-Key came with another job before; a new job needs a new key.")
        case .removed:
            throw Problem(
                .gone, code: "job.removed", title: "The job was removed",
                detail: "This Idempotency-Key came with a job that has been removed since; a new job needs a new key.")
        }
        var fields: HTTPFields = [.location: "/v1/jobs/\(job.id)"]
        if !job.state.isFinal { fields[.retryAfter] = Self.pollSeconds }
        return .json(body(job), status: .accepted, fields: fields)
    }

    func list(_ request: inout Request) throws(Problem) -> Response {
        let owner = try facilities.access.principal(request).owner
        let query = try Query(request.head, known: ["limit", "cursor", "state"])
        let (limit, state) = (try query.pageSize(), try query.choice("state", JobState.self))
        do throws(CatalogueError) {
            let page = try facilities.catalogue.jobs(
                owner: owner, state: state, after: query.text("cursor"), limit: limit)
            let items = page.items.map { JobJSON(job: $0, progress: jobs.board.progress(of: $0.id)).json }
            return .json(JSON.page(items, next: page.next).bytes())
        } catch {
            throw Problem(error)
        }
    }

    func describe(_ request: inout Request) throws(Problem) -> Response {
        let owner = try facilities.access.principal(request).owner
        _ = try Query(request.head, known: [])
        let job = try job(request.parameters["id"] ?? "", owner: owner)
        var fields = HTTPFields()
        fields[.cacheControl] = "no-store"
        if !job.state.isFinal { fields[.retryAfter] = Self.pollSeconds }
        return .json(body(job), fields: fields)
    }

    /// `DELETE /v1/jobs/{id}`: ends a job that is not finished; removes one that is.
    func remove(_ request: inout Request) throws(Problem) -> Response {
        let owner = try facilities.access.principal(request).owner
        _ = try Query(request.head, known: [])
        let id = try job(request.parameters["id"] ?? "", owner: owner).id
        // What a job says of itself changes as it goes, and has no entity tag.
        if let refusal = request.head.failedPrecondition(etag: "") { throw refusal }
        switch try jobs.cancel(id, owner: owner) {
        case .absent: throw Self.notFound(id)
        case .ended(let job): return .json(body(job), status: .accepted, fields: [.location: "/v1/jobs/\(id)"])
        case .over: break
        }
        do throws(CatalogueError) {
            _ = try facilities.catalogue.removeJob(id, owner: owner)
        } catch {
            throw Problem(error)
        }
        return Response(status: .noContent)
    }

    /// `GET /v1/jobs/{id}/events`.
    func events(_ request: inout Request) throws(Problem) -> Response {
        let owner = try facilities.access.principal(request).owner
        _ = try Query(request.head, known: [])
        let id = request.parameters["id"] ?? ""
        let offered = ["text/event-stream", "application/x-ndjson"]
        guard let type = preferredMediaType(accept: request.head.fields[.accept], offered: offered) else {
            throw Problem(
                .notAcceptable, code: "request.not_acceptable",
                detail: "Events are sent as \(offered.joined(separator: " or ")).")
        }
        let signal = EventSignal()
        let stream = try JobEventStream(
            id, form: type == offered[0] ? .serverSentEvents : .lines, board: jobs.board, epoch: epoch,
            lastID: HTTPField.Name("Last-Event-ID").flatMap { request.head.fields[$0] }, signal: signal
        ) { () throws(Problem) in try job(id, owner: owner) }
        var fields: HTTPFields = [.contentType: type, .cacheControl: "no-store", .vary: "Accept"]
        // A proxy that collects an answer before it passes it on would keep the events.
        if let name = HTTPField.Name("X-Accel-Buffering") { fields[name] = "no" }
        return Response(status: .ok, fields: fields, body: .stream(stream, signal))
    }

    private func body(_ job: JobRecord) -> [UInt8] {
        JobJSON(job: job, progress: jobs.board.progress(of: job.id)).json.bytes()
    }

    private func job(_ id: String, owner: String) throws(Problem) -> JobRecord {
        do throws(CatalogueError) {
            if let job = try facilities.catalogue.job(id, owner: owner) { return job }
        } catch {
            throw Problem(error)
        }
        throw Self.notFound(id)
    }

    static func notFound(_ id: String) -> Problem {
        Problem(.notFound, code: "job.not_found", detail: "There is no job '\(id)'.")
    }

    /// The `Idempotency-Key` of a request: a quoted string (RFC 9651 section 3.3.3), or the same without its quotes.
    static func idempotencyKey(_ head: RequestHead) throws(Problem) -> String? {
        guard let name = HTTPField.Name("Idempotency-Key"), let field = head.fields[name] else { return nil }
        var text = Substring(field)
        if text.hasPrefix("\"") {
            guard text.utf8.count > 1, text.hasSuffix("\"") else { throw invalidKey(field) }
            text = text.dropFirst().dropLast()
            guard !text.utf8.contains(where: { $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }) else {
                throw invalidKey(field)
            }
        }
        guard (1...maximumKeyBytes).contains(text.utf8.count), text.utf8.allSatisfy({ (0x20...0x7E).contains($0) })
        else { throw invalidKey(field) }
        return String(text)
    }

    private static func invalidKey(_ field: String) -> Problem {
        Problem(
            .badRequest, code: "idempotency.invalid_key", title: "The Idempotency-Key is not valid",
            detail: "An Idempotency-Key is a quoted string of 1 to \(maximumKeyBytes) printable characters.")
    }
}
