import Foundation
import Glibc
import HTTPServer
import Sockets
import Synchronization
import Testing

/// Who gets a thread, who waits without one, and what may wait at all.
@Suite struct ThreadTests {
    static let wait = "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"

    @Test func stalledBodiesLeaveThreadsToOthers() throws {
        let limits = ServerLimits.threads(4, reserved: 2, queue: 2)
        try TestServer.with(limits) { test in
            // Two get a thread, two wait for one, the rest is refused: whichever come last, and before a thread is
            // awake those that it will take wait too.
            let bodies = try (0..<5).map { _ in try Client(test.port) }
            for client in bodies { try client.send(TestServer.upload(200_000, sending: 100_000)) }
            #expect(eventually { bodies.contains { $0.hasBytes(within: 0) } })
            let refused = bodies.filter { $0.hasBytes(within: 100) }
            let stalled = bodies.filter { client in !refused.contains { $0 === client } }
            #expect(stalled.count >= 2)
            for client in refused { #expect(try client.answer().code == "server.overloaded") }
            test.gate.release()
            let short = try Client(test.port)
            try short.send(Self.wait)
            #expect(try short.answer().text == "waited")
            for client in stalled { try client.send([UInt8](repeating: 33, count: 100_000)) }
            for client in stalled { #expect(try client.answer().text == "200000 6600000") }
        }
    }

    @Test func stalledReadersLeaveThreadsToOthers() throws {
        let limits = ServerLimits.threads(2, reserved: 1)
        try TestServer.with(limits) { test in
            let slow = try (0..<3).map { _ in try Client(test.port, receiveBuffer: 4096) }
            for client in slow { for _ in 0..<4 { try client.send("GET /file HTTP/1.1\r\nHost: x\r\n\r\n") } }
            #expect(eventually { test.recorder.counts.withLock { $0.started } >= 3 })
            test.gate.release()
            let short = try Client(test.port)
            try short.send(Self.wait)
            #expect(try short.answer().text == "waited")
        }
    }

    @Test func boundsTheBytesOfRequestsThatAreNotWhole() throws {
        var limits = ServerLimits()
        limits.maxWaitingBytes = 50_000
        try TestServer.with(limits) { test in
            let first = try Client(test.port)
            try first.send(TestServer.upload(40_000, sending: 30_000))
            #expect(eventually { test.recorder.counts.withLock { $0.started } == 1 })
            for part in [TestServer.upload(40_000, sending: 30_000), "GET /" + String(repeating: "a", count: 25_000)] {
                let late = try Client(test.port)
                try late.send(part)
                #expect(try late.answer().code == "server.overloaded")
            }
            #expect(test.recorder.hits(.waitingBytes) == 2)
            try first.send([UInt8](repeating: 33, count: 10_000))
            #expect(try first.answer().text == "40000 1320000")
        }
    }

    @Test func aBodyTakesAThreadAfterItsHeadStart() throws {
        var limits = ServerLimits()
        limits.workerThreads = 1
        limits.workerQueue = 0
        limits.bodyHeadStart = 1000
        try TestServer.with(limits) { test in
            let running = try Client(test.port)
            try running.send(Self.wait)
            #expect(test.gate.waitForArrival())
            let upload = try Client(test.port)
            try upload.send(TestServer.upload(2000, sending: 999))
            #expect(eventually { test.recorder.counts.withLock { $0.started } == 2 })
            usleep(50_000)
            // Nobody asked for the thread that is not there.
            #expect(test.recorder.summaries.isEmpty)
            try upload.send("!")
            #expect(try upload.answer().code == "server.overloaded")
            test.gate.release()
            #expect(try running.answer().text == "waited")
        }
    }

    @Test func longAnswersTakeAThread() throws {
        var limits = ServerLimits()
        limits.workerThreads = 1
        limits.inlineResponseBytes = 4
        try TestServer.with(limits) { test in
            let running = try Client(test.port)
            try running.send(Self.wait)
            #expect(test.gate.waitForArrival())
            let client = try Client(test.port)
            try client.send(ExchangeTests.get)
            #expect(eventually { test.recorder.counts.withLock { $0.started } == 2 })
            usleep(50_000)
            #expect(test.recorder.summaries.isEmpty)
            test.gate.release()
            #expect(try client.answer().text == "hello")
            #expect(try running.answer().text == "waited")
        }
    }

    /// What a system does whose limit of processes is reached (pthread_create(3), EAGAIN), until `allowed` is more.
    private final class Threads: Sendable {
        let allowed = Mutex(0)

        var starter: Sockets.Thread.Starter {
            { [self] (name, body) throws(SocketError) in
                let isAllowed = allowed.withLock { allowed in
                    allowed -= 1
                    return allowed >= 0
                }
                guard isAllowed else { throw .system(call: "pthread_create", errno: EAGAIN) }
                try Sockets.Thread.start(name: name, body)
            }
        }
    }

    @Test func whoNeedsAThreadIsRefusedWhereNoneCanBeStarted() throws {
        let threads = Threads()
        try TestServer.with(startThread: threads.starter) { (test: TestServer) throws in
            let client = try Client(test.port)
            try client.send(Self.wait)
            let refusal = try client.answer()
            #expect(refusal.status == 503 && refusal.code == "server.overloaded")
            #expect(refusal.fields["retry-after"] == "1")
            let upload = try Client(test.port)
            try upload.send(TestServer.upload(200_000, sending: 100_000))
            #expect(try upload.answer().code == "server.overloaded")
            // An answer whose head is made cannot be refused any more.
            let download = try Client(test.port)
            try download.send("GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(download.isClosed())
            #expect(test.recorder.summaries.last?.errorCode == "server.overloaded")
            #expect(test.recorder.hits(.workerThreads) == 3)
            #expect(test.server.flights.isEmpty)
            // The loop needs none.
            let short = try Client(test.port)
            try short.send(ExchangeTests.get)
            #expect(try short.answer().text == "hello")
            // Threads that come later serve.
            threads.allowed.withLock { $0 = 1 }
            let late = try Client(test.port)
            try late.send(Self.wait)
            #expect(test.gate.waitForArrival())
            // The one that is there is busy for itself, and will come.
            try short.send(Self.wait)
            test.gate.release()
            #expect(try late.answer().text == "waited")
            test.gate.release()
            #expect(try short.answer().text == "waited")
            // Now it waits for a client: nobody knows for how long.
            let slow = try Client(test.port)
            try slow.send(TestServer.upload(200_000, sending: 100_000))
            #expect(eventually { test.server.flights.contains { $0.bytesReceived == 100_000 } })
            try short.send(Self.wait)
            #expect(try short.answer().code == "server.overloaded")
            try slow.send([UInt8](repeating: 33, count: 100_000))
            #expect(try slow.answer().text == "200000 6600000")
        }
    }

    /// Without a thread the loop speaks TLS by itself.
    @Test func whoSpeaksTLSIsRefusedSoToo() throws {
        let threads = Threads()
        try TestServer.with(tls: try TLSTests.context(), startThread: threads.starter) { (test: TestServer) throws in
            let base = "https://127.0.0.1:\(test.port)"
            #expect(try Curl(["-k", "\(base)/wait"]).text.contains("server.overloaded"))
            #expect(try Curl(["-k", "\(base)/hello", "\(base)/hello"]).text == "hellohello")
            #expect(try Curl(["-k", "\(base)/file"]).exitCode != 0)
            threads.allowed.withLock { $0 = 100 }
            #expect(try Curl(["-k", "\(base)/file"]).output == Data(test.fileBytes))
        }
    }

    /// Clients and server share a process of their own, so both run out of descriptors.
    @Test func pausesAcceptingWhenNoDescriptorIsLeft() async {
        await #expect(processExitsWith: .success) {
            var limit = rlimit(rlim_cur: 200, rlim_max: 200)
            guard unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { exit(2) }
            try TestServer.with { test in
                var clients = [try Client(test.port)]
                try clients[0].send(ExchangeTests.get)
                guard try clients[0].answer().text == "hello" else { exit(5) }
                while let client = try? Client(test.port) { clients.append(client) }
                guard clients.count > 10 else { exit(3) }
                // Those in the backlog keep the listener ready. A loop that spun would notice it thousands of times.
                usleep(600_000)
                let pauses = test.recorder.hits(.descriptors)
                guard (1...10).contains(pauses) else { exit(6) }
                clients.removeFirst(clients.count - 5)
                for client in clients {
                    try client.send(ExchangeTests.get)
                    guard try client.answer().text == "hello" else { exit(4) }
                }
            }
        }
    }

    @Test func aSecondDrainEndsWhatRuns() throws {
        try TestServer.with { test in
            let computing = try Client(test.port)
            try computing.send(Self.wait)
            #expect(test.gate.waitForArrival())
            let stalled = try Client(test.port)
            try stalled.send(TestServer.upload(200_000, sending: 100_000))
            let waiting = try Client(test.port)
            try waiting.send(TestServer.upload(2000, sending: 10))
            #expect(eventually { test.recorder.counts.withLock { $0.started } == 3 })
            test.server.drain()
            #expect(!test.hasEnded(within: .milliseconds(100)))
            test.server.drain()
            #expect(test.hasEnded(within: .seconds(10)))
            #expect(try stalled.answer().code == "server.stopping")
            #expect(waiting.isClosed())
            test.gate.release()
        }
    }

    @Test func earlierAnswersPrecede100Continue() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            let head = "PUT /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
            try client.send(ExchangeTests.get + head)
            #expect(try client.answer().text == "hello")
            #expect(try client.answer().status == 100)
            try client.send("!!")
            #expect(try client.answer().text == "2 66")
        }
    }

    @Test func anEndOfFileLosesNoPipelinedRequest() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            for _ in 0..<20 { try client.send(String(repeating: ExchangeTests.get, count: 500)) }
            client.finishSending()
            for _ in 0..<10_000 { #expect(try client.answer().text == "hello") }
            #expect(client.isClosed())
        }
    }
}
