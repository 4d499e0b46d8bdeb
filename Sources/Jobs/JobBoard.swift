import Synchronization

/// Something that happened to a job while this process ran.
package struct JobNotice: Sendable, Equatable {
    /// What happened.
    package enum Content: Sendable, Equatable {
        /// It came to a state.
        case state(JobRecord)
        /// It came further.
        case progress(JobProgress)
    }

    /// Ascending over all jobs of this process.
    package let number: Int
    /// What happened.
    package let content: Content
}

/// What happens to jobs, in memory, for those who watch: the last notices of each, how far it has come, and whom to
/// tell. What must survive is in the queue.
package final class JobBoard: Sendable {
    /// Notices kept of one job: who comes back after more of them has missed the oldest.
    package static let maximumNotices = 256
    /// Finished jobs whose notices are kept, so that who was cut off hears of the end.
    package static let maximumFinished = 64

    private struct Entry {
        var notices: [JobNotice] = []
        var progress = JobProgress()
        var meter = RateMeter()
        /// When all bytes had been worked on, and how many tensors were finished then.
        var lastByte: (time: Int64, tensors: Int)?
        var isRunning = false
        var isOver = false
        var listeners: [Int: @Sendable () -> Void] = [:]
    }

    private struct State {
        var entries: [String: Entry] = [:]
        var finished: [String] = []
        var lastNumber = 0
        var lastListener = 0
    }

    private let state = Mutex(State())

    /// A board without jobs.
    package init() {}

    /// Notes that a job came to a state.
    package func note(_ job: JobRecord) {
        post(job.id) { entry in
            entry.isRunning = job.state == .running
            entry.isOver = job.state.isFinal
            if job.state == .running {
                entry.progress = JobProgress()
                entry.progress.totalBytes = job.totalBytes
                entry.meter = RateMeter()
                entry.lastByte = nil
            }
            return .state(job)
        }
    }

    /// Notes how far a running job had come at a time in milliseconds since 1970.
    package func note(_ id: String, bytes: Int, tensors: Int, totalTensors: Int, at time: Int64) {
        post(id) { entry in
            entry.progress.bytes = bytes
            entry.progress.tensors = tensors
            entry.progress.totalTensors = totalTensors
            entry.progress.rate = entry.meter.add(bytes, at: time)
            if bytes >= entry.progress.totalBytes {
                let since = entry.lastByte ?? (time, tensors)
                entry.lastByte = since
                if time > since.time {
                    entry.progress.tensorRate = Double(tensors - since.tensors) * 1_000 / Double(time - since.time)
                }
            }
            return .progress(entry.progress)
        }
    }

    private func post(_ id: String, _ change: (inout Entry) -> JobNotice.Content) {
        let listeners = state.withLock { state in
            var entry = state.entries[id] ?? Entry()
            let content = change(&entry)
            state.lastNumber += 1
            if entry.notices.count == Self.maximumNotices { entry.notices.removeFirst() }
            entry.notices.append(JobNotice(number: state.lastNumber, content: content))
            state.entries[id] = entry
            if entry.isOver { state.finished.append(id) }
            Self.tidy(&state, id)
            return Array(entry.listeners.values)
        }
        for listener in listeners { listener() }
    }

    /// How far a running job has come; nil for one that does not run.
    package func progress(of id: String) -> JobProgress? {
        state.withLock { state in state.entries[id].flatMap { $0.isRunning ? $0.progress : nil } }
    }

    /// The notices of a job behind a number, in their order, and whether there will be no more.
    package func notices(of id: String, after number: Int) -> (notices: [JobNotice], isOver: Bool) {
        state.withLock { state in
            guard let entry = state.entries[id] else { return ([], false) }
            return (Array(entry.notices.drop { $0.number <= number }), entry.isOver)
        }
    }

    /// Has `wake` called after each notice of a job until `ignore`; answers a ticket for that, and the number of the
    /// last notice so far.
    package func listen(to id: String, _ wake: @escaping @Sendable () -> Void) -> (ticket: Int, last: Int) {
        state.withLock { state in
            state.lastListener += 1
            state.entries[id, default: Entry()].listeners[state.lastListener] = wake
            return (state.lastListener, state.lastNumber)
        }
    }

    /// Forgets who listened with `ticket`.
    package func ignore(_ id: String, ticket: Int) {
        state.withLock { state in
            state.entries[id]?.listeners[ticket] = nil
            Self.tidy(&state, id)
        }
    }

    /// Drops the entry of a job that nobody watches and that does not run, and those that finished long ago.
    private static func tidy(_ state: inout State, _ id: String) {
        while state.finished.count > maximumFinished {
            let oldest = state.finished.removeFirst()
            if state.entries[oldest]?.listeners.isEmpty == true { state.entries[oldest] = nil }
        }
        guard let entry = state.entries[id], entry.listeners.isEmpty, !entry.isRunning else { return }
        if !state.finished.contains(id) { state.entries[id] = nil }
    }
}
