import Synchronization

/// Whether work that waits for its client keeps other such work from a thread: then a client that is slow gives way.
final class Crowding: Sendable {
    private let waiting = Atomic(0)
    private let isHalfFull = Atomic(false)

    var isCrowded: Bool { waiting.load(ordering: .relaxed) > 0 }

    /// Whether half of the threads that such work may have are taken.
    var isNear: Bool { isHalfFull.load(ordering: .relaxed) }

    /// - Parameters:
    ///   - waiting: how many wait for a thread because all that they may have are taken.
    ///   - taken: the threads that are taken, and asked for.
    func set(waiting count: Int, taken: Int, of most: Int) {
        waiting.store(count, ordering: .relaxed)
        isHalfFull.store(taken >= (most + 1) / 2, ordering: .relaxed)
    }
}
