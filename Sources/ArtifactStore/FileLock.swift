import Glibc

/// A lock on a file (flock(2)), held by one open description: the kernel releases it however the process ends.
struct FileLock: ~Copyable, Sendable {
    /// How often `attempt(_:within:)` tries again.
    private static let pollMicroseconds: UInt32 = 10_000

    private let file: Descriptor
    private let path: String

    /// Opens the file, created with mode 0600 where it is missing, and locks nothing.
    ///
    /// Throws the error of a file system that has no locks.
    init(_ name: String, in folder: borrowing Folder) throws(StoreError) {
        file = try folder.file(name, O_RDWR | O_CREAT)
        path = folder.pathOf(name)
    }

    /// Takes the lock, shared (LOCK_SH) or exclusive (LOCK_EX); false when others held it all the while.
    func attempt(_ mode: Int32, within wait: Duration = .zero) throws(StoreError) -> Bool {
        let end = ContinuousClock.now + wait
        while true {
            do {
                _ = try retrying("flock", path: path) { flock(file.raw, mode | LOCK_NB) }
                return true
            } catch {
                guard case .system(_, _, EWOULDBLOCK) = error else { throw error }
            }
            if ContinuousClock.now >= end { return false }
            usleep(Self.pollMicroseconds)
        }
    }

    /// Takes the lock, shared (LOCK_SH) or exclusive (LOCK_EX), and waits for it without end.
    ///
    /// What can go wrong passes: a signal, or a kernel that has no memory for the lock now (ENOLCK).
    func take(_ mode: Int32) {
        while flock(file.raw, mode) != 0 {
            if errno != EINTR { usleep(Self.pollMicroseconds) }
        }
    }

    /// Releases the lock now, also where a process that was just forked shares the description.
    func release() {
        // Nothing is learnt from the answer: an open descriptor can always be unlocked.
        _ = flock(file.raw, LOCK_UN)
    }
}
