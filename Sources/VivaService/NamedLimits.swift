import HTTPServer
import HTTPWire

/// The limits of the server as `--limit NAME=VALUE` sets them and docs/OPERATIONS.md lists them.
package enum NamedLimits {
    /// Where a limit stands, and the least and the most it may be.
    enum Place: Sendable {
        case time(any WritableKeyPath<ServerLimits, Duration> & Sendable)
        case count(any WritableKeyPath<ServerLimits, Int> & Sendable, atLeast: Int, atMost: Int = .max)
    }

    /// All that can be set, in the order of the page.
    static let all: [(name: String, place: Place)] = [
        ("head-deadline", .time(\.headDeadline)),
        ("keep-alive-idle", .time(\.keepAliveIdle)),
        ("body-idle", .time(\.bodyIdle)),
        ("body-rate", .count(\.bodyMinimumRate, atLeast: 1)),
        ("body-grace", .time(\.bodyGrace)),
        ("crowded-body-rate", .count(\.crowdedBodyRate, atLeast: 1)),
        ("crowded-body-grace", .time(\.crowdedGrace)),
        ("write-stall", .time(\.writeStall)),
        ("answer-rate", .count(\.answerMinimumRate, atLeast: 1)),
        ("answer-grace", .time(\.answerGrace)),
        ("thread-patience", .time(\.threadPatience)),
        ("tls-handshake", .time(\.tlsHandshake)),
        ("request-deadline", .time(\.requestDeadline)),
        ("stream-heartbeat", .time(\.streamHeartbeat)),
        ("linger", .time(\.lingerTotal)),
        ("linger-idle", .time(\.lingerIdle)),
        ("head-bytes", .count(\.head.maxHeadBytes, atLeast: 1024, atMost: 16 << 20)),
        ("head-fields", .count(\.head.maxFields, atLeast: 1)),
        ("target-bytes", .count(\.head.maxTargetBytes, atLeast: 64)),
        ("body-bytes", .count(\.maxBodyBytes, atLeast: 0)),
        ("connections", .count(\.maxConnections, atLeast: 1)),
        ("connections-per-address", .count(\.maxConnectionsPerAddress, atLeast: 0)),
        ("requests-per-connection", .count(\.maxRequestsPerConnection, atLeast: 1)),
        ("pipelined-requests", .count(\.maxPipelinedRequests, atLeast: 1)),
        ("worker-threads", .count(\.workerThreads, atLeast: 1)),
        ("reserved-threads", .count(\.reservedThreads, atLeast: 0)),
        ("worker-queue", .count(\.workerQueue, atLeast: 0)),
        ("waiting-bytes", .count(\.maxWaitingBytes, atLeast: 1)),
    ]

    /// Sets what `NAME=VALUE` says; answers why it cannot, or nil.
    package static func set(_ text: String, in configuration: inout ServiceConfiguration) -> String? {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let place = all.first(where: { $0.name == parts[0] })?.place else {
            return "'\(text)' is not NAME=VALUE with one of \(all.map(\.name).joined(separator: ", "))"
        }
        let value = String(parts[1])
        switch place {
        case .time(let path):
            guard let time = ServiceConfiguration.parseDuration(value) else {
                return "'\(text)' is not a time like 500ms, 10s, 30m or 24h"
            }
            configuration.serverLimits[keyPath: path] = time
        case .count(let path, let least, let most):
            guard value.utf8.allSatisfy({ (48...57).contains($0) }), let count = Int(value), count >= least,
                count <= most
            else {
                return "'\(text)' is not a whole number from \(least)" + (most == .max ? "" : " to \(most)")
            }
            configuration.serverLimits[keyPath: path] = count
        }
        return nil
    }
}
