/// The durable queue that a runner serves; the catalogue is one.
package protocol JobQueue: Sendable {
    /// Gives the next job to a worker, in the state `running`: the owners take turns, each with its oldest job that may
    /// begin by `now` and needs at most `memory` bytes. `owner` is whose job was given last.
    func nextJob(after owner: String, memory: Int, now: Int64) throws(JobQueueError) -> JobRecord?

    /// Writes where a job stands; false, and nothing changed, when it is not in the state `from` any more.
    func move(_ job: JobRecord, from state: JobState) throws(JobQueueError) -> Bool
}

/// The queue did not answer; the text says why.
package struct JobQueueError: Error, Sendable, Equatable {
    /// One sentence for a log, without its full stop.
    package let reason: String

    /// Takes the sentence.
    package init(_ reason: String) {
        self.reason = reason
    }
}

/// Does the work of jobs, one call each, on the thread that calls.
package protocol JobWorker: Sendable {
    /// Works until the job has come to an end or `control` asks to stop. A job that succeeded is recorded when this
    /// returns: its row and its artifact's are one transaction.
    func work(_ job: JobRecord, _ control: JobControl) -> JobEnd

    /// Removes what is left of the work on a job that has come to its end.
    func discard(_ job: JobRecord)
}

/// How the work on a job ended.
package enum JobEnd: Sendable, Equatable {
    /// Its artifact exists and its row says so: this one.
    case succeeded(JobRecord)
    /// It cannot be done; the problem as JSON text.
    case failed(problem: String)
    /// It failed for a reason outside of it, which may pass; the problem as JSON text.
    case disturbed(problem: String)
    /// It ended because `control` asked for it.
    case stopped
}
