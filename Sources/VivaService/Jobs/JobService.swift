import Catalogue
import HTTPServer
import HTTPTypes
import Jobs
import Logging
import Processes
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
    private let catalogue: Catalogue
    private let runner: JobRunner
    private let worker: ProcessWorker
    /// The idempotency keys of requests that are worked on now.
    private let keysInWork = Mutex<Set<String>>([])

    /// The jobs of `facilities`' catalogue; nothing runs before `start`.
    init(_ facilities: Facilities, limits: JobLimits, logger: Logger, program: ChildPlan = .worker) {
        catalogue = facilities.catalogue
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

    /// Records a job, unless its key or its like in flight says that it is recorded already.
    func enqueue(_ planned: JobPlanner.Planned, key: String?) throws(Problem) -> Enqueued {
        let mark = key.map { "\(planned.job.owner)\n\($0)" }
        if let mark {
            guard keysInWork.withLock({ $0.insert(mark).inserted }) else { throw .keyInWork }
        }
        defer { if let mark { keysInWork.withLock { _ = $0.remove(mark) } } }
        let enqueued: Enqueued
        do throws(CatalogueError) {
            enqueued = try catalogue.enqueue(
                planned.job,
                key: key.map {
                    IdempotencyKey(
                        key: $0, fingerprint: planned.fingerprint,
                        expiresAt: planned.job.createdAt + Self.keyTimeToLive.milliseconds)
                })
        } catch {
            throw Problem(error)
        }
        if case .new(let job) = enqueued {
            board.note(job)
            if job.state == .queued { runner.wake() }
        }
        return enqueued
    }

    /// Ends a job that is not finished: the job as it is then, or nil when its owner has none of this identifier.
    func cancel(_ id: String, owner: String) throws(Problem) -> JobRecord? {
        do throws(CatalogueError) {
            guard let job = try catalogue.wantCancel(id, owner: owner) else { return nil }
            if job.state == .queued, let cancelled = job.after(.cancelled, at: Clock.milliseconds()),
                try catalogue.moveJob(cancelled, from: .queued)
            {
                worker.discard(cancelled)
                board.note(cancelled)
                return cancelled
            }
            // It runs, or was taken just now; the runner finds the wish in its row where it was taken by a start.
            if !job.state.isFinal { _ = runner.cancel(id) }
            return job
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
