import ArtifactStore
import Foundation
import Synchronization
import Testing

/// Publishing and removing the same identifiers at the same time: what is recorded of them is what lies on disk.
@Suite struct TurnTests {
    @Test func filesAndRecordsChangeTogether() throws {
        let folder = try TemporaryFolder()
        let store = try ArtifactStore(folder: folder.path + "/data")
        let recorded = Mutex<Set<String>>([])
        let contradictions = Mutex<[String]>([])
        // Both orders, so that two callers that each hold what the other wants would never end.
        let orders = [["a", "b"], ["b", "a"], ["b", "c"], ["c", "b"]]
        DispatchQueue.concurrentPerform(iterations: 160) { number in
            let ids = orders[number % orders.count]
            do {
                try store.inTurn(ids) { () throws(StoreError) in
                    for id in ids {
                        if number % 3 == 0 {
                            let staged = try store.stage()
                            try staged.content.write([1], at: 0)
                            try store.publish(staged, report: [2], as: id)
                            recorded.withLock { _ = $0.insert(id) }
                        } else if recorded.withLock({ $0.remove(id) }) != nil {
                            try store.remove(.artifact, id)
                        }
                    }
                }
            } catch {
                contradictions.withLock { $0.append("\(number): \(error)") }
            }
        }
        #expect(contradictions.withLock { $0 } == [])
        #expect(try store.identifiers(of: .artifact) == recorded.withLock { $0.sorted() })
    }

    @Test func anErrorEndsTheTurn() throws {
        let folder = try TemporaryFolder()
        let store = try ArtifactStore(folder: folder.path + "/data")
        #expect(throws: StoreError.notFound("a")) {
            try store.inTurn(["a", "a"]) { () throws(StoreError) in try store.remove(.artifact, "a") }
        }
        #expect(store.inTurn(["a"]) { 7 } == 7)
    }

    @Test func turnsOfSeveralProcessesRunAtTheSameTime() throws {
        let folder = try TemporaryFolder()
        let server = try ArtifactStore(folder: folder.path + "/data")
        let helper = try ArtifactStore(beside: folder.path + "/data")
        #expect(server.inTurn(["a"]) { helper.inTurn(["a"]) { 7 } } == 7)
        // Either way round: the first to end must not end the turn of the second.
        #expect(helper.inTurn(["a"]) { server.inTurn(["b"]) { 8 } } == 8)
    }

    @Test func anExclusiveTurnWaitsForTheOthers() throws {
        let folder = try TemporaryFolder()
        let server = try ArtifactStore(folder: folder.path + "/data")
        let helper = try ArtifactStore(beside: folder.path + "/data")
        let order = Mutex<[String]>([])
        let begun = DispatchSemaphore(value: 0)
        let ended = DispatchGroup()
        for number in 1...2 {
            DispatchQueue.global().async(group: ended) {
                server.inTurn(["\(number)"]) {
                    begun.signal()
                    usleep(50_000)
                    order.withLock { $0.append("turn") }
                }
            }
        }
        begun.wait()
        begun.wait()
        helper.exclusively { order.withLock { $0.append("alone") } }
        #expect(order.withLock { $0 } == ["turn", "turn", "alone"])
        ended.wait()
        server.inTurn(["1"]) { order.withLock { $0.append("turn") } }
        #expect(order.withLock { $0.count } == 4)
    }

    @Test func aTurnWaitsForAnExclusiveOne() throws {
        let folder = try TemporaryFolder()
        let server = try ArtifactStore(folder: folder.path + "/data")
        let helper = try ArtifactStore(beside: folder.path + "/data")
        let order = Mutex<[String]>([])
        let ended = DispatchGroup()
        helper.exclusively {
            let begun = DispatchSemaphore(value: 0)
            DispatchQueue.global().async(group: ended) {
                begun.signal()
                server.inTurn(["a"]) { order.withLock { $0.append("turn") } }
            }
            begun.wait()
            usleep(50_000)
            order.withLock { $0.append("alone") }
        }
        ended.wait()
        #expect(order.withLock { $0 } == ["alone", "turn"])
    }

    /// Turns that overlap without end leave no moment without one, and Linux prefers them to whoever waits.
    @Test func aBusyServerDoesNotKeepAnExclusiveTurnWaitingForEver() throws {
        let folder = try TemporaryFolder()
        let server = try ArtifactStore(folder: folder.path + "/data")
        let helper = try ArtifactStore(beside: folder.path + "/data")
        let isOver = Mutex(false)
        let hasStarved = Mutex(false)
        let begun = [DispatchSemaphore(value: 0), DispatchSemaphore(value: 0)]
        let ended = DispatchGroup()
        for own in 0...1 {
            ended.enter()
            // Threads of their own: what waits has no place on a queue.
            Thread {
                if own == 1 { begun[0].wait() }
                // Nobody leaves before the other has begun anew, unless the other is kept from it.
                for _ in 0..<5000 where !isOver.withLock({ $0 }) {
                    server.inTurn(["\(own)"]) {
                        begun[own].signal()
                        _ = begun[1 - own].wait(timeout: .now() + .milliseconds(20))
                        usleep(1000)
                    }
                }
                if !isOver.withLock({ $0 }) { hasStarved.withLock { $0 = true } }
                ended.leave()
            }.start()
        }
        usleep(20_000)
        helper.exclusively { isOver.withLock { $0 = true } }
        ended.wait()
        #expect(!hasStarved.withLock { $0 })
    }

    /// The oracle is flock(1), another process.
    @Test func anotherProcessSeesTheTurns() throws {
        let folder = try TemporaryFolder()
        let store = try ArtifactStore(folder: folder.path + "/data")
        let attempt = { (mode: String) in
            try run("flock", "--nonblock", mode, folder.path + "/data/turns", "echo", "taken") == "taken\n"
        }
        #expect(try store.inTurn(["a"]) { try attempt("--shared") })
        #expect(try !store.inTurn(["a"]) { try attempt("--exclusive") })
        #expect(try !store.exclusively { try attempt("--shared") })
        #expect(try attempt("--exclusive"))
    }
}
