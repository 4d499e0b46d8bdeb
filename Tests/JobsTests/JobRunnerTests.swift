import Foundation
import Synchronization
import Testing

@testable import Jobs

/// Counts calls from any thread.
final class Calls: Sendable {
    private let number = Mutex(0)
    var count: Int { number.withLock { $0 } }
    func add() { number.withLock { $0 += 1 } }
}

/// A queue in memory.
final class MemoryQueue: JobQueue {
    private let jobs = Mutex<[JobRecord]>([])
    /// Calls that fail before the first one is answered.
    private let failures = Mutex(0)

    init(_ jobs: [JobRecord], failures: Int = 0) {
        self.jobs.withLock { $0 = jobs }
        self.failures.withLock { $0 = failures }
    }

    func add(_ job: JobRecord) { jobs.withLock { $0.append(job) } }
    subscript(id: String) -> JobRecord? { jobs.withLock { $0.first { $0.id == id } } }

    private func fail() throws(JobQueueError) {
        let isFailing = failures.withLock { left in
            left -= 1
            return left >= 0
        }
        if isFailing { throw JobQueueError("not now") }
    }

    func nextJob(after owner: String, memory: Int, now: Int64) throws(JobQueueError) -> JobRecord? {
        try fail()
        return jobs.withLock { jobs in
            guard
                let index = jobs.firstIndex(where: {
                    $0.state == .queued && $0.memory <= memory && $0.notBefore <= now
                }), let claimed = jobs[index].after(.claimed, at: now)
            else { return nil }
            jobs[index] = claimed
            return claimed
        }
    }

    func move(_ job: JobRecord, from state: JobState) throws(JobQueueError) -> Bool {
        try fail()
        return jobs.withLock { jobs in
            guard let index = jobs.firstIndex(where: { $0.id == job.id && $0.state == state }) else { return false }
            jobs[index] = job
            return true
        }
    }

    /// Records the success of `job`, as a worker does.
    func succeed(_ job: JobRecord) -> JobEnd {
        let done = job.after(.succeeded, at: 9) ?? job
        jobs.withLock { jobs in
            for index in jobs.indices where jobs[index].id == job.id { jobs[index] = done }
        }
        return .succeeded(done)
    }
}

/// Works as a closure says, and counts how many do at once.
final class ScriptedWorker: JobWorker {
    let most = Mutex((now: 0, most: 0, memory: 0, mostMemory: 0))
    private let script: @Sendable (JobRecord, JobControl) -> JobEnd

    init(_ script: @escaping @Sendable (JobRecord, JobControl) -> JobEnd) {
        self.script = script
    }

    func discard(_ job: JobRecord) {}

    func work(_ job: JobRecord, _ control: JobControl) -> JobEnd {
        most.withLock { most in
            most.now += 1
            most.memory += job.memory
            most.most = max(most.most, most.now)
            most.mostMemory = max(most.mostMemory, most.memory)
        }
        defer {
            most.withLock { most in
                most.now -= 1
                most.memory -= job.memory
            }
        }
        return script(job, control)
    }
}

@Suite struct JobRunnerTests {
    private static var limits: JobLimits {
        var limits = JobLimits()
        limits.concurrency = 3
        limits.memoryBytes = 100
        limits.retryDelays = [1, 2]
        limits.pollInterval = 20
        return limits
    }

    private static func job(_ id: String, memory: Int = 10) -> JobRecord {
        var job = JobRecord(id: id, owner: "ann", input: "i", recipe: "{}", artifact: id, createdAt: 1)
        job.memory = memory
        return job
    }

    private static func runner(_ queue: MemoryQueue, _ worker: ScriptedWorker, board: JobBoard = JobBoard())
        -> JobRunner
    {
        JobRunner(
            queue: queue, worker: worker, board: board, limits: limits,
            surroundings: JobRunner.Surroundings(
                now: { Int64(Date().timeIntervalSince1970 * 1_000) },
                start: { (name, body) in
                    let thread = Thread(block: body)
                    thread.name = name
                    thread.start()
                },
                problem: { "\($0)" }, complain: { _ in }))
    }

    /// Waits until `condition` holds; a test that waits in vain fails.
    private func wait(_ condition: () -> Bool) throws {
        let deadline = Date(timeIntervalSinceNow: 10)
        while !condition() {
            try #require(Date() < deadline)
            Thread.sleep(forTimeInterval: 0.002)
        }
    }

    @Test func allIsDoneWithinTheLimits() throws {
        let queue = MemoryQueue((0..<30).map { Self.job("j\($0)", memory: $0 % 3 * 30 + 20) }, failures: 4)
        let worker = ScriptedWorker { (job, _) in
            Thread.sleep(forTimeInterval: 0.001)
            return queue.succeed(job)
        }
        let runner = Self.runner(queue, worker)
        try runner.start()
        try wait { (0..<30).allSatisfy { queue["j\($0)"]?.state == .succeeded } }
        #expect(runner.stop(within: 5_000))
        let most = worker.most.withLock { $0 }
        #expect(most.most <= 3)
        #expect(most.mostMemory <= 100)
    }

    @Test func disturbancesAreTriedAgainThenFail() throws {
        let queue = MemoryQueue([Self.job("a"), Self.job("b")])
        let calls = Calls()
        let worker = ScriptedWorker { (job, _) in
            if job.id == "a" { calls.add() }
            return job.id == "a" ? .disturbed(problem: "crashed") : .failed(problem: "wrong")
        }
        let runner = Self.runner(queue, worker)
        try runner.start()
        try wait { queue["a"]?.state == .failed && queue["b"]?.state == .failed }
        #expect(runner.stop(within: 5_000))
        #expect(calls.count == 3)
        #expect(queue["a"]?.problem == "crashed")
        #expect(queue["b"]?.problem == "wrong")
        #expect(queue["b"]?.attempts == 1)
    }

    @Test func cancelAndStopReachTheWorker() throws {
        let queue = MemoryQueue([Self.job("a"), Self.job("b"), Self.job("never", memory: 101)])
        let worker = ScriptedWorker { (_, control) in
            let asked = DispatchSemaphore(value: 0)
            control.onWish { _ in asked.signal() }
            asked.wait()
            return .stopped
        }
        let board = JobBoard()
        let runner = Self.runner(queue, worker, board: board)
        try runner.start()
        try wait { runner.running == 2 }
        #expect(!runner.cancel("elsewhere"))
        #expect(runner.cancel("a"))
        try wait { queue["a"]?.state == .cancelled }
        #expect(board.notices(of: "a", after: 0).isOver)
        #expect(runner.stop(within: 5_000))
        #expect(queue["b"]?.state == .queued)
        #expect(queue["b"]?.attempts == 0)
    }

    @Test func aJobThatNeverFitsFailsWhenNothingElseRuns() throws {
        let queue = MemoryQueue([Self.job("never", memory: 101)])
        let runner = Self.runner(queue, ScriptedWorker { (job, _) in .succeeded(job) })
        try runner.start()
        try wait { queue["never"]?.state == .failed }
        #expect(runner.stop(within: 5_000))
        #expect(queue["never"]?.problem == "memory(needed: 101, limit: 100)")
    }

    @Test func whoWakesTheRunnerNeedNotWait() throws {
        let queue = MemoryQueue([])
        let board = JobBoard()
        let runner = Self.runner(
            queue,
            ScriptedWorker { (job, _) in queue.succeed(job) }, board: board)
        try runner.start()
        queue.add(Self.job("late"))
        runner.wake()
        try wait { queue["late"]?.state == .succeeded }
        #expect(runner.stop(within: 5_000))
        // Who watches is told what was recorded, to the millisecond.
        let last = board.notices(of: "late", after: 0).notices.last?.content
        #expect(last == queue["late"].map { .state($0) })
    }
}
