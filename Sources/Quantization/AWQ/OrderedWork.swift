import Dispatch
import Synchronization

/// Independent pieces of work on all cores, with results in order: the same sums at any number of threads.
enum OrderedWork {
    /// The results of `body` for 0..<count, in order.
    ///
    /// `threads` bounds how many run at once; nil leaves it to Dispatch. The call returns when all have ended.
    static func map<Result: Sendable>(_ count: Int, threads: Int?, _ body: @Sendable (Int) -> Result) -> [Result] {
        if count <= 1 || threads == 1 { return (0..<count).map(body) }
        let results = Mutex<[Result?]>(Array(repeating: nil, count: count))
        let next = Atomic<Int>(0)
        DispatchQueue.concurrentPerform(iterations: min(count, threads.map { max(1, $0) } ?? count)) { _ in
            while true {
                let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
                guard index < count else { return }
                let result = body(index)
                results.withLock { $0[index] = result }
            }
        }
        return results.withLock { $0.compactMap { $0 } }
    }
}
