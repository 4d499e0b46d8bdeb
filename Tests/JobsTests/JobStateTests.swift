import Testing

@testable import Jobs

@Suite struct JobStateTests {
    /// Every state and every event, written down by hand.
    private static let table: [JobState: [JobEvent: JobState]] = [
        .queued: [.claimed: .running, .failed: .failed, .cancelled: .cancelled],
        .running: [
            .succeeded: .succeeded, .failed: .failed, .postponed: .queued, .interrupted: .queued,
            .cancelled: .cancelled,
        ],
        .succeeded: [:], .failed: [:], .cancelled: [:],
    ]

    @Test func theTableSaysAllAndNothingElse() {
        for state in JobState.allCases {
            for event in JobEvent.allCases {
                #expect(state.after(event) == Self.table[state]?[event], "\(state) \(event)")
            }
        }
    }

    @Test func onlyThreeStatesAreFinal() {
        #expect(JobState.allCases.filter(\.isFinal) == [.succeeded, .failed, .cancelled])
    }

    private func job(_ state: JobState) -> JobRecord {
        var job = JobRecord(id: "a", owner: "ann", input: "i", recipe: "{}", artifact: "x", createdAt: 1)
        job.state = state
        job.attempts = 1
        job.reserved = 9
        return job
    }

    @Test func aFinishedJobHoldsNothing() throws {
        let failed = try #require(job(.running).after(.failed, at: 50, problem: "{}"))
        #expect(failed.reserved == 0)
        #expect(failed.finishedAt == 50)
        #expect(failed.problem == "{}")
        #expect(failed.after(.claimed, at: 60) == nil)
    }

    @Test func onlyTheJobsOwnAttemptsCount() throws {
        let waiting = try #require(job(.queued).after(.claimed, at: 50))
        #expect(waiting.attempts == 2)
        #expect(waiting.startedAt == 50)
        let interrupted = try #require(waiting.after(.interrupted, at: 60))
        #expect(interrupted.attempts == 1)
        #expect(interrupted.notBefore == 0)
        let postponed = try #require(waiting.after(.postponed, at: 60, delay: 5))
        #expect(postponed.attempts == 2)
        #expect(postponed.notBefore == 65)
        #expect(postponed.reserved == 9)
    }
}
