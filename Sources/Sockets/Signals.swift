import Glibc

/// Signals as events for a thread that waits, instead of interruptions of whatever runs.
package enum Signals {
    /// What a signal asks for.
    package enum Wish: Sendable {
        /// SIGTERM, SIGINT.
        case end
        /// SIGHUP.
        case reload
    }

    /// Blocks SIGTERM, SIGINT and SIGHUP in this thread and every thread it starts later, and calls `handler` on a
    /// thread of its own for each that arrives.
    ///
    /// Call it first in `main`, before any other thread exists.
    package static func listen(_ handler: @escaping @Sendable (Wish) -> Void) throws(SocketError) {
        var set = sigset_t()
        unsafe sigemptyset(&set)
        for signal in [SIGTERM, SIGINT, SIGHUP] { unsafe sigaddset(&set, signal) }
        let code = unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
        guard code == 0 else { throw .system(call: "pthread_sigmask", errno: code) }
        let waited = set
        try Thread.start(name: "viva-signals") {
            var waited = waited
            while true {
                var signal: Int32 = 0
                if unsafe sigwait(&waited, &signal) == 0 { handler(signal == SIGHUP ? .reload : .end) }
            }
        }
    }
}
