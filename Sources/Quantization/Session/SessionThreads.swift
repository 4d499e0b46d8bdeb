import Dispatch
internal import Synchronization

/// The threads that work on a session's batches beside the one that it runs on.
///
/// Waking a thread takes as long as coding 64 to 256 KiB (docs/PERFORMANCE.md). While batches follow one another
/// without a pause, a thread that has nothing to do therefore looks for the next one a little while before it goes; not
/// where the session waits for its input, nor where another session has threads, too, which could use the processor.
final class SessionThreads: Sendable {
    private let state = Mutex(State())
    /// Batches so far.
    private let begun = Atomic(0)
    /// Threads inside a part of the batch, for who looks, and for who sleeps.
    private let working = Atomic(0)
    private let leaving = DispatchGroup()

    /// The threads of all sessions.
    private static let all = Atomic(0)
    /// How long a thread looks for others before it sleeps or goes, and the longest pause between two batches that is
    /// no pause: as long as a share takes, and twice what waking takes.
    private static let patience = Duration.microseconds(50)

    private struct Part: @unchecked Sendable {
        // Invariant: each call has another number, and the caller sees to it that what they share bears that.
        let call: (Int) -> Void
    }

    private struct State {
        /// What the threads do while there are numbers for them.
        var part: Part?
        var numbers = 1..<1
        /// Threads asked for that have not gone.
        var present = 0
        /// When the last batch counts as long ago, and whether this one came before that.
        var limit = ContinuousClock.now
        var isPressed = false
    }

    /// Calls `part` with 0 on this thread, and with each of 1..<`threads` on another one if that comes before this
    /// thread's call ends; returns when all calls have ended.
    func share(among threads: Int, _ part: (Int) -> Void) {
        withoutActuallyEscaping(part) { part in
            let missing = state.withLock { state in
                state.isPressed = ContinuousClock.now < state.limit
                (state.part, state.numbers) = (Part(call: part), 1..<max(1, threads))
                begun.add(1, ordering: .releasing)
                defer { state.present = max(state.present, threads - 1) }
                return max(0, threads - 1 - state.present)
            }
            Self.all.add(missing, ordering: .relaxed)
            for _ in 0..<missing { DispatchQueue.global(qos: .utility).async { self.help() } }
            part(0)
            state.withLock { $0.part = nil }
            look { working.load(ordering: .acquiring) == 0 }
            leaving.wait()
        }
        state.withLock { $0.limit = ContinuousClock.now + Self.patience }
    }

    /// What another thread does until it goes.
    private func help() {
        var stays = true
        while stays {
            let seen = begun.load(ordering: .acquiring)
            if takePart() {
                leaving.leave()
                working.subtract(1, ordering: .releasing)
            }
            if state.withLock({ $0.isPressed }) { look { begun.load(ordering: .acquiring) != seen } }
            stays = state.withLock { state in
                let isNew = begun.load(ordering: .acquiring) != seen
                if !isNew { state.present -= 1 }
                return isNew
            }
        }
        Self.all.subtract(1, ordering: .relaxed)
    }

    /// Takes part in the batch if it has a number left; nothing refers to the part any more when the call returns.
    @inline(never)
    private func takePart() -> Bool {
        let mine = state.withLock { state -> (part: Part, number: Int)? in
            guard let part = state.part, let number = state.numbers.popFirst() else { return nil }
            working.add(1, ordering: .relaxed)
            leaving.enter()
            return (part, number)
        }
        guard let mine else { return false }
        mine.part.call(mine.number)
        return true
    }

    /// Looks for a while, without sleeping, whether something is so; not where other sessions have threads.
    private func look(_ isSo: () -> Bool) {
        guard state.withLock({ $0.present == Self.all.load(ordering: .relaxed) }) else { return }
        let end = ContinuousClock.now + Self.patience
        while !isSo(), ContinuousClock.now < end {}
    }
}
