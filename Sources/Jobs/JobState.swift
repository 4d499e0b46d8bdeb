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
    package var isFinal: Bool {
        switch self {
        case .queued, .running: false
        case .succeeded, .failed, .cancelled: true
        }
    }
}
