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
                            try store.remove(id)
                        }
                    }
                }
            } catch {
                contradictions.withLock { $0.append("\(number): \(error)") }
            }
        }
        #expect(contradictions.withLock { $0 } == [])
        #expect(try store.identifiers() == recorded.withLock { $0.sorted() })
    }

    @Test func anErrorEndsTheTurn() throws {
        let folder = try TemporaryFolder()
        let store = try ArtifactStore(folder: folder.path + "/data")
        #expect(throws: StoreError.notFound("a")) {
            try store.inTurn(["a", "a"]) { () throws(StoreError) in try store.remove("a") }
        }
        #expect(store.inTurn(["a"]) { 7 } == 7)
    }
}
