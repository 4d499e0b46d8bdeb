/// Why a process could not be started or reached, with the evidence.
package enum ProcessError: Error, Sendable, Equatable {
    /// A system call failed with this `errno`.
    case system(call: String, errno: Int32)
    /// Nothing came, or nothing was taken, for the time given.
    case timedOut
    /// A frame is longer than its receiver takes.
    case tooLarge(bytes: Int, limit: Int)
    /// The other end went away in the middle of a frame.
    case truncated(missing: Int)

    /// Whether the other end is gone, or this machine cannot reach it.
    package var isDisconnection: Bool {
        switch self {
        case .truncated: true
        case .system(_, let code): Self.gone.contains(code)
        case .timedOut, .tooLarge: false
        }
    }

    /// EPIPE, ECONNRESET.
    private static let gone: [Int32] = [32, 104]
}
