import Synchronization

/// Whether work that waits for its client keeps other such work from a thread: then a client that is slow gives way.
final class Crowding: Sendable {
    private let waiting = Atomic(0)

    var isCrowded: Bool { waiting.load(ordering: .relaxed) > 0 }

    func set(_ count: Int) { waiting.store(count, ordering: .relaxed) }
}
