/// Which jobs run and what the next one may need: decisions without threads, clocks or a queue.
struct JobSchedule {
    /// What to ask the queue for.
    struct Claim: Equatable {
        /// Whose job was given last.
        let owner: String
        /// The most memory in bytes.
        let memory: Int
    }

    /// What becomes of a job that came from the queue.
    enum Admission: Equatable {
        case run
        case cancelled
        /// It needs more memory than there is, or has been taken too often.
        case refused(JobRefusal)
    }

    let limits: JobLimits
    private var lastOwner = ""
    private var memory: [String: Int] = [:]
    /// How often a running or waiting job has failed for reasons outside of it.
    private(set) var disturbances: [String: Int] = [:]
    private(set) var isStopping = false

    init(limits: JobLimits) {
        self.limits = limits
    }

    var isIdle: Bool { memory.isEmpty }

    /// What may be claimed now; nil when nothing may.
    var claim: Claim? {
        guard !isStopping, memory.count < limits.concurrency else { return nil }
        // With nothing running whatever comes is looked at, so that a job that never fits is not passed over for ever.
        let left = memory.isEmpty ? Int.max : limits.memoryBytes - memory.values.reduce(0, +)
        return left > 0 ? Claim(owner: lastOwner, memory: left) : nil
    }

    /// Takes in a job that was claimed.
    mutating func admit(_ job: JobRecord) -> Admission {
        lastOwner = job.owner
        let admission = judge(job)
        if admission == .run { memory[job.id] = job.memory } else { forget(job.id) }
        return admission
    }

    private func judge(_ job: JobRecord) -> Admission {
        if job.isCancelWanted { return .cancelled }
        guard job.memory <= limits.memoryBytes else {
            return .refused(.memory(needed: job.memory, limit: limits.memoryBytes))
        }
        guard job.attempts <= limits.maximumAttempts else {
            return .refused(.attempts(job.attempts - 1))
        }
        return .run
    }

    /// Drops what is known of a job that ended while it waited.
    mutating func forget(_ id: String) { disturbances[id] = nil }

    /// Gives back what a job had, and says what happens to it.
    mutating func finish(_ job: JobRecord, _ end: JobEnd, wish: JobControl.Wish?) -> Verdict {
        memory[job.id] = nil
        switch end {
        case .disturbed(let problem):
            let before = disturbances.removeValue(forKey: job.id) ?? 0
            guard before < limits.retryDelays.count else { return Verdict(event: .failed, problem: problem) }
            disturbances[job.id] = before + 1
            return Verdict(event: .postponed, delay: limits.retryDelays[before])
        case .stopped where wish != .cancel: return Verdict(event: .interrupted)
        case .succeeded, .failed, .stopped: forget(job.id)
        }
        switch end {
        case .failed(let problem): return Verdict(event: .failed, problem: problem)
        case .succeeded: return Verdict(event: .succeeded)
        default: return Verdict(event: .cancelled)
        }
    }

    mutating func stop() { isStopping = true }
}

/// What happens to a job after its worker.
struct Verdict: Equatable {
    let event: JobEvent
    var problem: String?
    var delay: Int64 = 0
}

/// Why a job that was recorded is not begun, with the figures.
package enum JobRefusal: Sendable, Equatable {
    /// It needs more memory than all jobs together may have, in bytes.
    case memory(needed: Int, limit: Int)
    /// It was taken so often and never came to an end.
    case attempts(Int)
}
