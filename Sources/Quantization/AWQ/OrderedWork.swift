internal import LinearAlgebra
import Synchronization

/// Independent pieces of work on all cores, with results in order: the same sums at any number of threads.
enum OrderedWork {
    /// The results of `body` for 0..<count, in order.
    ///
    /// `threads` bounds how many run at once; nil leaves it to Dispatch. The call returns when all have ended.
    static func map<Result: Sendable>(_ count: Int, threads: Int?, _ body: @Sendable (Int) -> Result) -> [Result] {
        let results = Mutex<[Result?]>(Array(repeating: nil, count: count))
        ParallelLoop.run(count, threads: threads ?? count) { index in
            let result = body(index)
            results.withLock { $0[index] = result }
        }
        return results.withLock { $0.compactMap { $0 } }
    }
}
