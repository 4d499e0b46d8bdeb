/// Where a job stands.
package enum JobState: String, Sendable, CaseIterable {
    /// Waits for its turn.
    case queued
    /// A worker has it.
    case running
    /// Its artifact exists.
    case succeeded
    /// It ended with a problem.
    case failed
    /// Its owner ended it.
    case cancelled

    /// Whether nothing changes any more.
    package var isFinal: Bool { JobEvent.allCases.allSatisfy { after($0) == nil } }

    /// The state that `event` leads to; nil where it cannot happen. This is the one table of transitions.
    package func after(_ event: JobEvent) -> JobState? {
        switch (self, event) {
        case (.queued, .claimed): .running
        case (.queued, .cancelled), (.running, .cancelled): .cancelled
        case (.queued, .failed), (.running, .failed): .failed
        case (.running, .succeeded): .succeeded
        case (.running, .postponed), (.running, .interrupted): .queued
        default: nil
        }
    }
}

/// What can happen to a job.
package enum JobEvent: Sendable, CaseIterable {
    /// A worker took it.
    case claimed
    /// Its artifact was recorded.
    case succeeded
    /// It cannot be done.
    case failed
    /// Something beside the job went wrong, so that it is tried again later.
    case postponed
    /// The server stopped.
    case interrupted
    /// Its owner does not want it any more.
    case cancelled
}

extension JobRecord {
    /// The job after `event` at `now`, in milliseconds since 1970; nil where the event cannot happen.
    ///
    /// `problem` is what it failed with, as JSON text; `delay` the milliseconds that a postponed job waits.
    package func after(
        _ event: JobEvent, at now: Int64, problem: String? = nil, delay: Int64 = 0
    ) -> JobRecord? {
        guard let next = state.after(event) else { return nil }
        var job = self
        job.state = next
        switch event {
        case .claimed:
            job.attempts += 1
            job.startedAt = now
        case .postponed: job.notBefore = now + delay
        case .interrupted:
            // It was not the job that ended this attempt.
            job.attempts = max(0, job.attempts - 1)
            job.notBefore = 0
        case .succeeded, .failed, .cancelled:
            job.problem = problem
            job.reserved = 0
            job.finishedAt = now
        }
        return job
    }
}
