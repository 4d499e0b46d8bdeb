internal import Dispatch
import Synchronization

/// Runs the jobs of a queue on threads of its own: a bounded number at once, within the memory there is, owners in
/// turn.
///
/// Each thread takes a job, gives it to the worker, and writes what became of it. All that it decides is decided by
/// `JobSchedule` and the table of `JobState`.
package final class JobRunner: Sendable {
    /// What a runner is given.
    package struct Surroundings: Sendable {
        /// The wall clock in milliseconds since 1970.
        let now: @Sendable () -> Int64
        /// Starts a thread of the operating system.
        let start: @Sendable (_ name: String, _ body: @escaping @Sendable () -> Void) throws -> Void
        /// The problem of a refused job, as JSON text.
        let problem: @Sendable (JobRefusal) -> String
        /// Told what the queue did not answer.
        let complain: @Sendable (JobQueueError) -> Void

        /// Takes each of them.
        package init(
            now: @escaping @Sendable () -> Int64,
            start: @escaping @Sendable (_ name: String, _ body: @escaping @Sendable () -> Void) throws -> Void,
            problem: @escaping @Sendable (JobRefusal) -> String,
            complain: @escaping @Sendable (JobQueueError) -> Void
        ) {
            self.now = now
            self.start = start
            self.problem = problem
            self.complain = complain
        }
    }

    private struct State {
        var schedule: JobSchedule
        var controls: [String: JobControl] = [:]
        /// When postponed jobs may begin again, in milliseconds since 1970.
        var due: [Int64] = []
        var sleepers = 0
        var threads = 0
    }

    private let queue: any JobQueue
    private let worker: any JobWorker
    private let board: JobBoard
    private let limits: JobLimits
    private let surroundings: Surroundings
    private let state: Mutex<State>
    /// One signal for each thread that is to look into the queue.
    private let work = DispatchSemaphore(value: 0)
    private let ended = DispatchSemaphore(value: 0)

    /// A runner that stands still until `start`.
    package init(
        queue: any JobQueue, worker: any JobWorker, board: JobBoard, limits: JobLimits, surroundings: Surroundings
    ) {
        self.queue = queue
        self.worker = worker
        self.board = board
        self.limits = limits
        self.surroundings = surroundings
        state = Mutex(State(schedule: JobSchedule(limits: limits)))
    }

    /// Starts the threads, which take what waits in the queue at once.
    package func start() throws {
        for number in 0..<limits.concurrency {
            state.withLock { $0.threads += 1 }
            do {
                try surroundings.start("viva-job-\(number)") { [self] in
                    while takeTurn() {}
                    ended.signal()
                }
            } catch {
                state.withLock { $0.threads -= 1 }
                throw error
            }
        }
    }

    /// Has the threads look into the queue: a job was recorded.
    package func wake() {
        let sleepers = state.withLock { state in
            defer { state.sleepers = 0 }
            return state.sleepers
        }
        for _ in 0..<sleepers { work.signal() }
    }

    /// Asks a running job to end; false when it does not run here.
    package func cancel(_ id: String) -> Bool {
        let control = state.withLock { $0.controls[id] }
        control?.ask(.cancel)
        return control != nil
    }

    /// Drops what is known of a job that ended in the queue.
    package func forget(_ id: String) { state.withLock { $0.schedule.forget(id) } }

    /// Jobs that failed for reasons outside of them and wait, or run again.
    var disturbed: Int { state.withLock { $0.schedule.disturbances.count } }

    /// Jobs that run now.
    package var running: Int { state.withLock { $0.controls.count } }

    /// Takes no more jobs, asks those that run to stop so that they can go on later, and waits for them, at most for so
    /// many milliseconds; false when some still run.
    package func stop(within milliseconds: Int) -> Bool {
        let (controls, threads) = state.withLock { state in
            state.schedule.stop()
            defer { state.threads = 0 }
            return (Array(state.controls.values), state.threads)
        }
        for control in controls { control.ask(.interrupt) }
        for _ in 0..<threads { work.signal() }
        let end = DispatchTime.now() + .milliseconds(milliseconds)
        return (0..<threads).allSatisfy { _ in ended.wait(timeout: end) == .success }
    }

    /// One job, or one sleep; false when the runner stops.
    private func takeTurn() -> Bool {
        switch claim() {
        case .job(let job, let control): run(job, control)
        case .nothing: sleep()
        case .again: break
        case .stop: return false
        }
        return true
    }

    private enum Turn {
        case job(JobRecord, JobControl)
        case nothing
        /// A job was taken that is not to be run.
        case again
        case stop
    }

    private func claim() -> Turn {
        // Under the lock from the claim to the control: who wants to cancel finds the job in the queue or here.
        let (turn, refused) = state.withLock { state -> (Turn, (JobRecord, JobRefusal?)?) in
            if state.schedule.isStopping { return (.stop, nil) }
            guard let claim = state.schedule.claim, let job = next(claim, surroundings.now()) else {
                state.sleepers += 1
                return (.nothing, nil)
            }
            switch state.schedule.admit(job) {
            case .run:
                let control = JobControl()
                state.controls[job.id] = control
                return (.job(job, control), nil)
            case .cancelled: return (.again, (job, nil))
            case .refused(let refusal): return (.again, (job, refusal))
            }
        }
        if let (job, refusal) = refused {
            settle(
                job, Verdict(event: refusal == nil ? .cancelled : .failed, problem: refusal.map(surroundings.problem)))
        }
        return turn
    }

    private func next(_ claim: JobSchedule.Claim, _ now: Int64) -> JobRecord? {
        do throws(JobQueueError) {
            return try queue.nextJob(after: claim.owner, memory: claim.memory, now: now)
        } catch {
            surroundings.complain(error)
            return nil
        }
    }

    private func run(_ job: JobRecord, _ control: JobControl) {
        board.note(job)
        let end = worker.work(job, control)
        let verdict = state.withLock { state in
            let verdict = state.schedule.finish(job, end, wish: control.wish)
            if verdict.event == .postponed { state.due.append(surroundings.now() + verdict.delay) }
            return verdict
        }
        if case .succeeded(let recorded) = end { conclude(recorded) } else { settle(job, verdict) }
        state.withLock { $0.controls[job.id] = nil }
        // What waited for memory may fit now.
        wake()
    }

    /// Writes what became of a job that did not succeed, however long the queue does not answer.
    private func settle(_ job: JobRecord, _ verdict: Verdict) {
        let now = surroundings.now()
        guard let moved = job.after(verdict.event, at: now, problem: verdict.problem, delay: verdict.delay) else {
            return
        }
        while true {
            do throws(JobQueueError) {
                _ = try queue.move(moved, from: job.state)
                break
            } catch {
                surroundings.complain(error)
                // A server that stops leaves it as running, and the next start puts it back.
                if state.withLock({ $0.schedule.isStopping }) { return }
                _ = DispatchSemaphore(value: 0).wait(timeout: .now() + .milliseconds(Int(limits.pollInterval)))
            }
        }
        conclude(moved)
    }

    /// Tells where a job stands now, as it is recorded.
    private func conclude(_ job: JobRecord) {
        if job.state.isFinal { worker.discard(job) }
        board.note(job)
    }

    /// Waits until something may have changed; `complain` has told why the queue could not say.
    private func sleep() {
        let now = surroundings.now()
        let pause = state.withLock { state in
            let waiting = state.due.count
            state.due.removeAll { $0 <= now }
            // One came due since the queue was asked.
            return state.due.count < waiting ? 0 : min(limits.pollInterval, (state.due.min() ?? .max) - now)
        }
        if work.wait(timeout: .now() + .milliseconds(Int(max(1, pause)))) == .timedOut {
            // Nobody woke this one: who counted it as asleep must not signal for it.
            state.withLock { $0.sleepers = max(0, $0.sleepers - 1) }
        }
    }
}
