import Synchronization

/// Whether work that waits for its client keeps other such work from a thread: then a client that is slow gives way.
final class Crowding: Sendable {
    /// The threads that such work may have.
    private let threads: Int
    private let waiting = Atomic(0)
    private let isHalfFull = Atomic(false)

    init(threads: Int) {
        self.threads = threads
    }

    var isCrowded: Bool { waiting.load(ordering: .relaxed) > 0 }

    /// Whether half of the threads that such work may have are taken.
    var isNear: Bool { isHalfFull.load(ordering: .relaxed) }

    /// How long a client may keep a thread waiting: the whole of `grace` while no more wait than there are threads, and
    /// so much less beyond that the last in the queue, behind others that are as slow, waits for about as long. Nil
    /// while nobody waits.
    func patience(_ grace: Duration) -> Duration? {
        let waiting = waiting.load(ordering: .relaxed)
        return waiting > 0 ? grace * (Double(threads) / Double(max(threads, waiting))) : nil
    }

    /// - Parameters:
    ///   - waiting: how many wait for a thread because all that they may have are taken.
    ///   - taken: the threads that are taken, and asked for.
    func set(waiting count: Int, taken: Int) {
        waiting.store(count, ordering: .relaxed)
        isHalfFull.store(taken >= (threads + 1) / 2, ordering: .relaxed)
    }
}
