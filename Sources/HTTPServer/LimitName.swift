/// The limits of connections and requests, by the names that flags, figures and pages give them.
package enum LimitName: String, CaseIterable, Sendable {
    case headDeadline = "head-deadline"
    case keepAliveIdle = "keep-alive-idle"
    case bodyIdle = "body-idle"
    case bodyRate = "body-rate"
    case crowdedBodyRate = "crowded-body-rate"
    case writeStall = "write-stall"
    case answerRate = "answer-rate"
    case tlsHandshake = "tls-handshake"
    case requestDeadline = "request-deadline"
    case linger
    case headBytes = "head-bytes"
    case headFields = "head-fields"
    case targetBytes = "target-bytes"
    case bodyBytes = "body-bytes"
    case connections
    case connectionsPerAddress = "connections-per-address"
    case pipelinedRequests = "pipelined-requests"
    case requestsPerConnection = "requests-per-connection"
    case workerThreads = "worker-threads"
    case waitingBytes = "waiting-bytes"
    /// The process's own, RLIMIT_NOFILE.
    case descriptors
}
