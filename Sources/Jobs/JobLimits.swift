/// What jobs may take of the machine.
package struct JobLimits: Sendable, Equatable {
    /// Jobs that run at once.
    package var concurrency = 2
    /// Bytes of memory that running jobs may need together.
    package var memoryBytes = 2 << 30
    /// How long a job waits, in milliseconds, after each failure for a reason outside of it; after one more it fails.
    package var retryDelays: [Int64] = [1_000, 5_000]
    /// A job that was taken so often without coming to an end fails: it may be what ends the server.
    package var maximumAttempts = 100
    /// How long, in milliseconds, the runner waits before it looks into the queue though nobody told it to.
    package var pollInterval: Int64 = 5_000

    /// The defaults.
    package init() {}
}
