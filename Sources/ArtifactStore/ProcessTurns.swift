import Glibc
import Synchronization

/// Turns between the processes that have one data folder open: any number of shared ones, or one exclusive one.
///
/// flock(2) belongs to an open description, so the shared turns of a store count their way through one. Linux grants
/// shared locks while somebody waits for the exclusive one: a busy server would keep `viva gc` waiting for ever.
/// Hence the gate, a second file, which every shared turn passes and an exclusive one closes before it waits.
final class ProcessTurns: Sendable {
    private let shared: FileLock
    private let exclusive: FileLock
    private let entrance: FileLock
    private let barrier: FileLock
    /// Held while one shared turn passes the gate; not while it runs or ends, for whoever closed the gate waits for it.
    private let entering = Mutex(())
    /// How many shared turns there are now.
    private let running = Mutex(0)
    private let excluding = Mutex(())

    /// Opens `turns` and `turns.gate` in the folder; an error where its file system has no locks.
    init(in folder: borrowing Folder) throws(StoreError) {
        shared = try FileLock("turns", in: folder)
        exclusive = try FileLock("turns", in: folder)
        entrance = try FileLock("turns.gate", in: folder)
        barrier = try FileLock("turns.gate", in: folder)
        // The answer is of no interest: that there is one shows that later attempts can only wait.
        if try shared.attempt(LOCK_SH) { shared.release() }
    }

    /// Calls `body` while no exclusive turn runs, in whatever process.
    func share<Outcome, Failure: Error>(_ body: () throws(Failure) -> Outcome) throws(Failure) -> Outcome {
        enter()
        defer { leave() }
        return try body()
    }

    /// Calls `body` while no other turn runs, in whatever process; waits for those that do.
    func exclude<Outcome: Sendable, Failure: Error>(
        _ body: () throws(Failure) -> Outcome
    ) throws(Failure) -> Outcome {
        try excluding.withLock { (_) throws(Failure) in
            barrier.take(LOCK_EX)
            defer { barrier.release() }
            exclusive.take(LOCK_EX)
            defer { exclusive.release() }
            return try body()
        }
    }

    private func enter() {
        entering.withLock { _ in
            entrance.take(LOCK_SH)
            running.withLock { count in
                // Never waits: who holds it exclusively has closed the gate before.
                if count == 0 { shared.take(LOCK_SH) }
                count += 1
            }
            entrance.release()
        }
    }

    private func leave() {
        running.withLock { count in
            count -= 1
            if count == 0 { shared.release() }
        }
    }
}
