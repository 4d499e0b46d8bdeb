/// How long the service keeps what clients send, and how much of it at once.
package struct IntakeLimits: Sendable, Equatable {
    /// How long an input stays that nobody sends again or uses in a job.
    package var inputTimeToLive: Duration = .seconds(7 * 24 * 3600)
    /// How long an upload stays to which nothing is added; a finished one answers for as long.
    package var uploadTimeToLive: Duration = .seconds(24 * 3600)
    /// Uploads of one owner that are not finished.
    package var maximumUploads = 1_000
    /// Bytes of `Upload-Metadata`.
    package var maximumMetadataBytes = 4_096
    /// Bytes of an upload after which they are made durable and acknowledged while more of them come.
    package var acknowledgeBytes = 64 << 20
    /// How often expired uploads and inputs are looked for.
    package var sweepInterval: Duration = .seconds(60)

    /// The defaults.
    package init() {}
}

extension Duration {
    /// Whole milliseconds.
    var milliseconds: Int64 {
        let (seconds, attoseconds) = components
        return Int64(clamping: seconds).multipliedReportingOverflow(by: 1000).partialValue
            + attoseconds / 1_000_000_000_000_000
    }
}
