import HTTPTypes
import Synchronization

/// Counts connections in and out, and says which are too many: in all, or of one client.
final class ConnectionCounts: Sendable {
    /// Why a connection is refused, and whether there is room to wait until its client has read so.
    struct Excess: Sendable {
        let limit: LimitName
        let mayLinger: Bool
    }

    private struct State {
        var admitted = 0
        var refused = 0
        var byClient: [String: Int] = [:]
    }

    /// The most refused connections that wait for their clients; descriptors beyond `maxConnections`.
    static let mostLingering = 256

    private let limits: ServerLimits
    private let state = Mutex(State())

    init(_ limits: ServerLimits) {
        self.limits = limits
    }

    /// Counts a connection in; nil when it is welcome.
    func enter(_ client: String?) -> Excess? {
        let most = limits.maxConnectionsPerAddress
        return state.withLock { state in
            let others = client.flatMap { state.byClient[$0] } ?? 0
            let limit: LimitName? =
                state.admitted >= limits.maxConnections
                ? .connections : most > 0 && others >= most ? .connectionsPerAddress : nil
            if let limit {
                state.refused += 1
                return Excess(limit: limit, mayLinger: state.refused <= Self.mostLingering)
            }
            state.admitted += 1
            if let client { state.byClient[client] = others + 1 }
            return nil
        }
    }

    /// The end of a connection that entered.
    func leave(_ origin: Origin) {
        state.withLock { state in
            guard origin.excess == nil else {
                state.refused -= 1
                return
            }
            state.admitted -= 1
            guard let client = origin.client else { return }
            let left = (state.byClient[client] ?? 0) - 1
            state.byClient[client] = left > 0 ? left : nil
        }
    }

    /// What stands for one client: an IPv4 address, mapped into IPv6 or not (RFC 4291 section 2.5.5.2), or the first 64
    /// bits of an IPv6 one, for behind those it may call itself what it likes (RFC 4291 section 2.5.4).
    ///
    /// - Parameter peer: as `SocketAddress` describes it, with its port.
    static func client(_ peer: String) -> String {
        let host = peer[..<(peer.lastIndex(of: ":") ?? peer.endIndex)]
        guard host.first == "[" else { return String(host) }
        let address = host.dropFirst().prefix { $0 != "]" && $0 != "%" }
        if address.contains("."), let colon = address.lastIndex(of: ":") {
            return String(address[address.index(after: colon)...])
        }
        var groups = address.split(separator: ":", omittingEmptySubsequences: false)
        // An empty group stands for all that are left out; at an end there are two.
        if groups.first?.isEmpty == true { groups.removeFirst() }
        if groups.last?.isEmpty == true, groups.count > 1 { groups.removeLast() }
        if let gap = groups.firstIndex(of: "") {
            groups.replaceSubrange(gap...gap, with: Array(repeating: "0", count: max(0, 9 - groups.count)))
        }
        return groups.prefix(4).joined(separator: ":")
    }
}

extension Problem {
    /// A connection too many.
    static func tooManyConnections(_ limit: LimitName, _ limits: ServerLimits) -> Problem {
        guard limit == .connectionsPerAddress else {
            return Problem(
                .serviceUnavailable, code: "connections.limit",
                detail: "The server has \(limits.maxConnections) connections open; try again.",
                members: [("limit", .integer(limits.maxConnections))], fields: [.retryAfter: "1"]
            ).reaching(limit)
        }
        let most = limits.maxConnectionsPerAddress
        return Problem(
            .serviceUnavailable, code: "connections.per_address",
            detail: "Your address has \(most) connections open; use those, or close some.",
            members: [("limit", .integer(most))], fields: [.retryAfter: "5"]
        ).reaching(limit)
    }
}
