import Testing

@testable import Jobs

@Suite struct JobScheduleTests {
    private var limits: JobLimits {
        var limits = JobLimits()
        limits.concurrency = 2
        limits.memoryBytes = 100
        limits.retryDelays = [10, 20]
        limits.maximumAttempts = 5
        return limits
    }

    private func job(_ id: String, memory: Int = 10, owner: String = "ann") -> JobRecord {
        var job = JobRecord(id: id, owner: owner, input: "i", recipe: "{}", artifact: id, createdAt: 1)
        job.memory = memory
        job.state = .running
        job.attempts = 1
        return job
    }

    @Test func memoryAndThreadsBoundWhatRuns() {
        var schedule = JobSchedule(limits: limits)
        // Alone, even what never fits is looked at.
        #expect(schedule.claim == JobSchedule.Claim(owner: "", memory: .max))
        #expect(schedule.admit(job("a", memory: 60)) == .run)
        #expect(schedule.claim == JobSchedule.Claim(owner: "ann", memory: 40))
        #expect(schedule.admit(job("b", memory: 40, owner: "bob")) == .run)
        #expect(schedule.claim == nil)
        _ = schedule.finish(job("a"), .succeeded(job("a")), wish: nil)
        #expect(schedule.claim == JobSchedule.Claim(owner: "bob", memory: 60))
        schedule.stop()
        #expect(schedule.claim == nil)
    }

    @Test func nothingIsAskedForWithoutMemory() {
        var schedule = JobSchedule(limits: limits)
        #expect(schedule.admit(job("a", memory: 100)) == .run)
        #expect(schedule.claim == nil)
    }

    @Test func whatNeverFitsIsRefusedWithTheFigures() {
        var schedule = JobSchedule(limits: limits)
        #expect(schedule.admit(job("a", memory: 101)) == .refused(.memory(needed: 101, limit: 100)))
        var poison = job("b")
        poison.attempts = 6
        #expect(schedule.admit(poison) == .refused(.attempts(5)))
        var unwanted = job("c")
        unwanted.isCancelWanted = true
        #expect(schedule.admit(unwanted) == .cancelled)
        #expect(schedule.isIdle)
    }

    @Test func outsideReasonsAreTriedAgainTwice() {
        var schedule = JobSchedule(limits: limits)
        let end = JobEnd.disturbed(problem: "p")
        for delay in [10, 20] as [Int64] {
            #expect(schedule.admit(job("a")) == .run)
            #expect(schedule.finish(job("a"), end, wish: nil) == Verdict(event: .postponed, delay: delay))
        }
        #expect(schedule.finish(job("a"), end, wish: nil) == Verdict(event: .failed, problem: "p"))
        // A job of the same name begins with all its chances.
        #expect(schedule.finish(job("a"), end, wish: nil) == Verdict(event: .postponed, delay: 10))
    }

    /// However a job ends, nothing is kept of it.
    @Test(arguments: ["cancelled", "refused", "ended in the queue"]) func whatEndsIsForgotten(_ way: String) {
        var schedule = JobSchedule(limits: limits)
        _ = schedule.finish(job("a"), .disturbed(problem: "p"), wish: nil)
        #expect(schedule.disturbances == ["a": 1])
        var ended = job("a")
        switch way {
        case "cancelled":
            ended.isCancelWanted = true
            #expect(schedule.admit(ended) == .cancelled)
        case "refused":
            ended.attempts = 6
            #expect(schedule.admit(ended) == .refused(.attempts(5)))
        default: schedule.forget("a")
        }
        #expect(schedule.disturbances.isEmpty)
    }

    @Test func whoStoppedAJobDecidesWhatBecomesOfIt() {
        var schedule = JobSchedule(limits: limits)
        #expect(schedule.finish(job("a"), .stopped, wish: .cancel) == Verdict(event: .cancelled))
        #expect(schedule.finish(job("a"), .stopped, wish: .interrupt) == Verdict(event: .interrupted))
        #expect(schedule.finish(job("a"), .failed(problem: "p"), wish: .cancel).problem == "p")
        #expect(schedule.finish(job("a"), .succeeded(job("a")), wish: .cancel) == Verdict(event: .succeeded))
    }
}

@Suite struct JobBoardTests {
    private func job(_ state: JobState, _ id: String = "a") -> JobRecord {
        var job = JobRecord(id: id, owner: "ann", input: "i", recipe: "{}", artifact: "x", createdAt: 1)
        job.state = state
        job.totalBytes = 1_000
        return job
    }

    @Test func noticesComeInOrderAndCanBeTakenUpAgain() throws {
        let board = JobBoard()
        board.note(job(.running))
        board.note("a", bytes: 100, tensors: 1, totalTensors: 4, at: 0)
        board.note("a", bytes: 300, tensors: 2, totalTensors: 4, at: 1_000)
        let progress = try #require(board.progress(of: "a"))
        #expect(progress.rate == 200)
        #expect(progress.secondsLeft == 3.5)
        let all = board.notices(of: "a", after: 0)
        #expect(all.notices.count == 3)
        #expect(!all.isOver)
        board.note(job(.succeeded))
        let rest = board.notices(of: "a", after: all.notices[1].number)
        #expect(rest.notices.map(\.content) == [.progress(progress), .state(job(.succeeded))])
        #expect(rest.isOver)
        #expect(board.progress(of: "a") == nil)
    }

    @Test func whatIsLeftBehindTheLastByteIsTensors() throws {
        let board = JobBoard()
        board.note(job(.running))
        func left(bytes: Int, tensors: Int, at time: Int64) throws -> Double? {
            board.note("a", bytes: bytes, tensors: tensors, totalTensors: 10, at: time)
            return try #require(board.progress(of: "a")).secondsLeft
        }
        #expect(try left(bytes: 500, tensors: 1, at: 0) == nil)
        #expect(try left(bytes: 1_000, tensors: 2, at: 1_000) == nil)
        #expect(try left(bytes: 1_000, tensors: 2, at: 3_000) == nil)
        // Two in four seconds; six are left.
        #expect(try left(bytes: 1_000, tensors: 4, at: 5_000) == 12)
        #expect(try left(bytes: 1_000, tensors: 10, at: 9_000) == 0)
    }

    @Test func memoryIsBounded() {
        let board = JobBoard()
        board.note(job(.running))
        for step in 0..<1_000 { board.note("a", bytes: step, tensors: 0, totalTensors: 1, at: Int64(step)) }
        #expect(board.notices(of: "a", after: 0).notices.count == JobBoard.maximumNotices)
        for number in 0..<100 { board.note(job(.succeeded, "f\(number)")) }
        #expect(board.notices(of: "f0", after: 0).notices.isEmpty)
        #expect(board.notices(of: "f99", after: 0).isOver)
        // Nobody watches a job that waits.
        board.note(job(.queued, "q"))
        #expect(board.notices(of: "q", after: 0).notices.isEmpty)
    }

    @Test func listenersAreWokenUntilTheyLeave() {
        let board = JobBoard()
        let calls = Calls()
        let (ticket, last) = board.listen(to: "a") { calls.add() }
        board.note(job(.queued))
        #expect(calls.count == 1)
        #expect(board.notices(of: "a", after: last).notices.count == 1)
        board.ignore("a", ticket: ticket)
        board.note(job(.running))
        #expect(calls.count == 1)
    }
}
