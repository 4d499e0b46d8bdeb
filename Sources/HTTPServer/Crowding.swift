import Synchronization

/// Whether work that waits for its client keeps other such work from a thread: then a client that is slow gives way.
final class Crowding: Sendable {
    private let waiting = Atomic(0)

    var isCrowded: Bool { waiting.load(ordering: .relaxed) > 0 }

    func set(_ count: Int) { waiting.store(count, ordering: .relaxed) }
}

/// Connections by the host at their other end.
final class AddressCounts: Sendable {
    private let counts = Mutex<[Substring: Int]>([:])

    /// Counts a connection in; answers how many its host has now.
    func enter(_ peer: String) -> Int {
        counts.withLock { counts in
            let count = (counts[Self.host(peer)] ?? 0) + 1
            counts[Self.host(peer)] = count
            return count
        }
    }

    func leave(_ peer: String) {
        counts.withLock { counts in
            let host = Self.host(peer)
            let left = (counts[host] ?? 0) - 1
            counts[host] = left > 0 ? left : nil
        }
    }

    /// Without the port.
    private static func host(_ peer: String) -> Substring {
        peer[..<(peer.lastIndex(of: ":") ?? peer.endIndex)]
    }
}
