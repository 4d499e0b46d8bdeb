import Dispatch
import Synchronization

/// Independent pieces of work on some threads.
package enum ParallelLoop {
    /// Calls `body` with 0..<count in ascending order on up to `threads` threads, at most as many as OpenBLAS lends
    /// buffers to; returns when all calls have.
    package static func run(_ count: Int, threads: Int, _ body: @Sendable (Int) -> Void) {
        let threads = min(max(1, threads), OpenBLAS.maximumThreads, max(0, count))
        let next = Atomic<Int>(0)
        DispatchQueue.concurrentPerform(iterations: threads) { _ in
            while case let index = next.wrappingAdd(1, ordering: .relaxed).oldValue, index < count { body(index) }
        }
    }
}
