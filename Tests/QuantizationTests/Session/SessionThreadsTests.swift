import Dispatch
import Synchronization
import Testing

@testable import Quantization

/// Threads that stay with a session from batch to batch.
@Suite struct SessionThreadsTests {
    private final class Tally: Sendable {
        let inside = Atomic(0)
        let numbers = Mutex<[Int]>([])
    }

    /// Batches at once behind each other, and after pauses in which the helpers have gone.
    @Test(arguments: [1, 2, 5])
    func eachPartHasANumberAndEndsWithTheBatch(threads: Int) {
        let workers = SessionThreads()
        for batch in 0..<300 {
            let tally = Tally()
            workers.share(among: threads) { thread in
                tally.inside.add(1, ordering: .relaxed)
                tally.numbers.withLock { $0.append(thread) }
                if batch % 3 == thread % 3 { DispatchSemaphore(value: 0).waits(microseconds: 20) }
                tally.inside.subtract(1, ordering: .relaxed)
            }
            #expect(tally.inside.load(ordering: .relaxed) == 0)
            let numbers = tally.numbers.withLock { $0 }
            #expect(numbers.contains(0) && Set(numbers).count == numbers.count)
            #expect(numbers.allSatisfy { 0..<threads ~= $0 })
            if batch % 100 == 99 { DispatchSemaphore(value: 0).waits(microseconds: 1000) }
        }
    }

    /// Each batch ends only when a helper has come to it: none is forgotten, whether helpers stayed or had gone.
    @Test(.timeLimit(.minutes(1)))
    func aHelperComesToEachBatch() {
        let workers = SessionThreads()
        for batch in 0..<300 {
            let came = DispatchSemaphore(value: 0)
            workers.share(among: 2) { thread in
                if thread == 0 { came.wait() } else { came.signal() }
            }
            if batch % 7 == 0 { DispatchSemaphore(value: 0).waits(microseconds: batch) }
        }
    }

    /// Two sessions at once have helpers of their own.
    @Test func sessionsDoNotMix() {
        let tallies = [Tally(), Tally()]
        DispatchQueue.concurrentPerform(iterations: 2) { session in
            let workers = SessionThreads()
            for _ in 0..<200 {
                workers.share(among: 2) { _ in tallies[session].inside.add(1, ordering: .relaxed) }
            }
        }
        for tally in tallies { #expect(200...400 ~= tally.inside.load(ordering: .relaxed)) }
    }
}

extension DispatchSemaphore {
    fileprivate func waits(microseconds: Int) { _ = wait(timeout: .now() + .microseconds(microseconds)) }
}
