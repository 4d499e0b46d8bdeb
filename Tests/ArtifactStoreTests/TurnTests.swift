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
    @Test(.timeLimit(.minutes(1))) func aBusyServerDoesNotKeepAnExclusiveTurnWaitingForEver() throws {
        let folder = try TemporaryFolder()
        let server = try ArtifactStore(folder: folder.path + "/data")
        let helper = try ArtifactStore(beside: folder.path + "/data")
        let isOver = Mutex(false)
        let ended = DispatchGroup()
        let begun = DispatchSemaphore(value: 0)
        for number in 1...2 {
            // Threads of their own: what waits has no place on a queue.
            let thread = Thread {
                server.inTurn(["\(number)"]) { _ = begun.signal() }
                while !isOver.withLock({ $0 }) { server.inTurn(["\(number)"]) { _ = usleep(2000) } }
                ended.leave()
            }
            ended.enter()
            thread.start()
        }
        begun.wait()
        begun.wait()
        for _ in 1...3 { helper.exclusively {} }
        isOver.withLock { $0 = true }
        ended.wait()
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
