import Glibc

/// Signals as events for a thread that waits, instead of interruptions of whatever runs.
package enum Signals {
    /// Blocks SIGTERM and SIGINT in this thread and every thread it starts later, and calls `handler` on a
    /// thread of its own for each that arrives.
    ///
    /// Call it first in `main`, before any other thread exists.
    package static func listen(_ handler: @escaping @Sendable (Int32) -> Void) throws(SocketError) {
        var set = sigset_t()
        unsafe sigemptyset(&set)
        for signal in [SIGTERM, SIGINT] { unsafe sigaddset(&set, signal) }
        let code = unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
        guard code == 0 else { throw .system(call: "pthread_sigmask", errno: code) }
        let waited = set
        try Thread.start(name: "viva-signals") {
            var waited = waited
            while true {
                var signal: Int32 = 0
                if unsafe sigwait(&waited, &signal) == 0 { handler(signal) }
            }
        }
    }
}
