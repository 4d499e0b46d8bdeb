import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import Jobs
import Logging
import Processes
import Quantization
import Sockets
import Synchronization

/// The jobs of a running service: recorded, run, watched and ended.
final class JobService: Sendable {
    /// How long an idempotency key is remembered: a day, as a client's retries take at most.
    static let keyTimeToLive: Duration = .seconds(24 * 3600)
    /// How long running jobs may take to leave a checkpoint when the server stops.
    static let stopMilliseconds = 8_000

    /// What happens to jobs, for those who watch.
    let board = JobBoard()
    /// What they may take of the machine.
    let limits: JobLimits
    private let catalogue: Catalogue
    private let store: ArtifactStore
    private let freeBytesFloor: Int
    let runner: JobRunner
    private let worker: ProcessWorker
    /// The idempotency keys of requests that are worked on now.
    private let keysInWork = Mutex<Set<String>>([])

    /// The jobs of `facilities`' catalogue; nothing runs before `start`.
    init(_ facilities: Facilities, limits: JobLimits, logger: Logger, program: ChildPlan = .worker) {
        catalogue = facilities.catalogue
        store = facilities.store
        freeBytesFloor = facilities.freeBytesFloor
        self.limits = limits
        worker = ProcessWorker(facilities, board: board, logger: logger, program: program)
        runner = JobRunner(
            queue: CatalogueQueue(catalogue: catalogue), worker: worker, board: board, limits: limits,
            surroundings: JobRunner.Surroundings(
                now: Clock.milliseconds, start: { (name, body) in try Thread.start(name: name, body) },
                problem: { refusal in String(decoding: Problem(refusal).render(traceID: ""), as: UTF8.self) },
                complain: { error in
                    logger.error("the queue of jobs does not answer", metadata: ["error": "\(error.reason)"])
                }))
        facilities.metrics.observe(runner, catalogue)
    }

    /// Puts back what a crash has interrupted, and begins to work.
    func start() throws {
        _ = try catalogue.requeueInterruptedJobs()
        try runner.start()
    }

    /// Interrupts what runs, so that it goes on after the next start.
    func stop() {
        _ = runner.stop(within: Self.stopMilliseconds)
    }

    /// What became of the wish to end a job.
    enum Ending {
        /// It ended by this, or is about to.
        case ended(JobRecord)
        /// It had ended before.
        case over
        /// Its owner has none of this identifier.
        case absent
    }

    /// Makes and records a job, unless its key or its like in flight says that it is recorded already. `admit` refuses
    /// a new one that its owner or the disk has no room for; what it answers is held until the row counts.
    func enqueue(
        owner: String, key: (text: String, fingerprint: String)?, plan: () throws(Problem) -> JobPlanner.Planned,
        admit: (JobPlanner.Planned) throws(Problem) -> WorkPermit
    ) throws(Problem) -> Enqueued {
        let mark = key.map { "\(owner)\n\($0.text)" }
        if let mark {
            guard keysInWork.withLock({ $0.insert(mark).inserted }) else { throw .keyInWork }
        }
        defer { if let mark { keysInWork.withLock { _ = $0.remove(mark) } } }
        let now = Clock.milliseconds()
        let key = key.map {
            IdempotencyKey(
                key: $0.text, fingerprint: $0.fingerprint, expiresAt: now + Self.keyTimeToLive.milliseconds)
        }
        if let key {
            let known = try asking { () throws(CatalogueError) in
                try catalogue.repeated(key, owner: owner, now: now)
            }
            if let known { return known }
        }
        let planned = try plan()
        if let known = try asking({ () throws(CatalogueError) in try catalogue.alike(planned.job) }) {
            // A key that came with a job in flight is to be remembered as well.
            guard let key else { return known }
            try checkRoom(for: key)
            return try asking { () throws(CatalogueError) in try catalogue.enqueue(planned.job, key: key) }
        }
        let permit = try admit(planned)
        defer { permit.end() }
        let enqueued = try asking { () throws(CatalogueError) in try catalogue.enqueue(planned.job, key: key) }
        if case .new(let job) = enqueued {
            board.note(job)
            if job.state == .queued { runner.wake() }
        }
        return enqueued
    }

    /// Ends a job that is not finished.
    func cancel(_ id: String, owner: String) throws(Problem) -> Ending {
        guard let job = try asking({ () throws(CatalogueError) in try catalogue.wantCancel(id, owner: owner) }) else {
            return .absent
        }
        if job.state == .queued, let cancelled = job.after(.cancelled, at: Clock.milliseconds()),
            try asking({ () throws(CatalogueError) in try catalogue.moveJob(cancelled, from: .queued) })
        {
            runner.forget(id)
            worker.discard(cancelled)
            board.note(cancelled)
            return .ended(cancelled)
        }
        guard !job.state.isFinal else { return .over }
        // It runs, or was taken just now; the runner finds the wish in its row when it takes the job anew.
        _ = runner.cancel(id)
        return .ended(job)
    }

    /// Throws 507 when the disk has no room for one more key.
    private func checkRoom(for key: IdempotencyKey) throws(Problem) {
        do throws(QuantizationError) {
            try store.checkRoom(for: key.key.utf8.count + key.fingerprint.utf8.count, above: freeBytesFloor)
        } catch {
            throw Problem(error)
        }
    }

    private func asking<Answer>(_ ask: () throws(CatalogueError) -> Answer) throws(Problem) -> Answer {
        do throws(CatalogueError) {
            return try ask()
        } catch {
            throw Problem(error)
        }
    }
}

extension Problem {
    /// Why a recorded job is not begun.
    init(_ refusal: JobRefusal) {
        switch refusal {
        case .memory(let needed, let limit):
            self.init(
                .contentTooLarge, code: "limit.job_memory", title: "A limit is exceeded",
                detail: "The job needs \(needed) bytes of memory; all jobs together may have \(limit).",
                members: [
                    ("limit_name", .string("job_memory")), ("value", .integer(needed)), ("limit", .integer(limit)),
                ])
        case .attempts(let count):
            self.init(
                .internalServerError, code: "worker.crashed", title: "The job never ends",
                detail: "The job was begun \(count) times, and the server ended each time before it did.",
                members: [("attempts", .integer(count))])
        }
    }

    fileprivate static let keyInWork = Problem(
        .conflict, code: "idempotency.in_progress", title: "The same request is being worked on",
        detail: "A request with this Idempotency-Key has not been answered yet; send it again later.",
        fields: [.retryAfter: "1"])
}
