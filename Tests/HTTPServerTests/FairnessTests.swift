import Foundation
import Glibc
@testable import HTTPServer
import Sockets
import Synchronization
import Testing

/// Slow clients hold what is cheap, and nobody else up.
@Suite struct FairnessTests {
    private static let file = "GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    /// Ten clients that do not read, and one thread for all long answers.
    @Test(arguments: ["/file", "/produced/3000000/none"])
    func aClientThatDoesNotReadGivesItsThreadBack(_ path: String) throws {
        var limits = ServerLimits.threads(2, reserved: 1)
        limits.threadPatience = .milliseconds(50)
        try TestServer.with(limits) { test in
            let request = "GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n"
            let slow = try (0..<10).map { _ in try Client(test.port, receiveBuffer: 4096) }
            for client in slow { try client.send(request) }
            #expect(eventually { test.server.flights.count(where: { $0.phase == .sending }) == 10 })
            let quick = try Client(test.port)
            try quick.send(request)
            let expected = path == "/file" ? test.fileBytes : Countdown.bytes(3_000_000)
            #expect(try quick.answer().body == expected)
            // What was put aside goes on where it was, byte for byte.
            for client in slow.prefix(3) { #expect(try client.answer().body == expected) }
            #expect(test.server.flights.count == 7)
        }
    }

    @Test func whatWasPutAsideEndsWithTheServer() throws {
        var limits = ServerLimits()
        limits.threadPatience = .milliseconds(10)
        try TestServer.with(limits) { test in
            let slow = try Client(test.port, receiveBuffer: 4096)
            try slow.send(Self.file)
            #expect(eventually { test.server.flights.contains { $0.bytesSent > 0 } })
            usleep(100_000)
            test.server.drain()
            #expect(!test.hasEnded(within: .milliseconds(100)))
            test.server.drain()
            #expect(test.hasEnded(within: .seconds(10)))
            #expect(test.recorder.summaries.last?.errorCode == "server.stopping")
            #expect(test.server.flights.isEmpty)
        }
    }

    @Test func theMemoryOfAnswersPutAsideIsBounded() throws {
        var limits = ServerLimits()
        limits.threadPatience = .milliseconds(10)
        limits.maxWaitingBytes = 1000
        try TestServer.with(limits) { test in
            let slow = try (0..<4).map { _ in try Client(test.port, receiveBuffer: 4096) }
            for client in slow { try client.send("GET /produced/9000000/none HTTP/1.1\r\nHost: x\r\n\r\n") }
            #expect(eventually { test.recorder.hits(.waitingBytes) > 0 })
            #expect(eventually { test.recorder.counts.withLock { $0.closed } > 0 })
        }
    }

    @Test func endsClientsThatReadTooSlowly() throws {
        var limits = ServerLimits()
        limits.threadPatience = .milliseconds(20)
        limits.answerGrace = .milliseconds(300)
        limits.answerMinimumRate = 1 << 30
        try TestServer.with(limits) { test in
            let client = try Client(test.port, receiveBuffer: 4096)
            try client.send(Self.file)
            // A few bytes at a time keep the stall away, but earn next to nothing.
            #expect(
                eventually {
                    client.take(1000)
                    return test.recorder.counts.withLock { $0.closed } == 1
                })
            #expect(test.recorder.summaries.last?.errorCode == "response.stalled")
            #expect(test.recorder.hits(.answerRate) == 1)
        }
    }

    @Test func aSlowBodyGivesWayWhenOthersWait() throws {
        var limits = ServerLimits.threads(2, reserved: 1)
        limits.crowdedGrace = .milliseconds(100)
        try TestServer.with(limits) { test in
            let slow = try Client(test.port)
            try slow.send(TestServer.upload(200_000, sending: 100_000))
            #expect(eventually { test.server.flights.contains { $0.bytesReceived == 100_000 } })
            usleep(400_000)
            // Nobody waits: it may be slow.
            #expect(test.server.flights.count == 1)
            let quick = try Client(test.port)
            try quick.send(TestServer.upload(200_000, sending: 200_000))
            #expect(try quick.answer().text == "200000 6600000")
            let refusal = try slow.answer()
            #expect(refusal.code == "body.timeout")
            #expect(refusal.text.contains("crowded-body-rate"))
            #expect(test.recorder.hits(.crowdedBodyRate) == 1)
        }
    }

    /// Only what comes after the head start, which no thread waited for, earns time on a thread.
    @Test func aHeadStartEarnsNoThread() throws {
        var limits = ServerLimits.threads(2, reserved: 1)
        limits.crowdedGrace = .milliseconds(100)
        limits.crowdedBodyRate = 1
        try TestServer.with(limits) { test in
            let slow = try Client(test.port)
            try slow.send(TestServer.upload(200_000, sending: limits.bodyHeadStart))
            #expect(eventually { test.server.flights.contains { $0.bytesReceived == limits.bodyHeadStart } })
            let quick = try Client(test.port)
            try quick.send(TestServer.upload(200_000, sending: 200_000))
            #expect(try quick.answer().text == "200000 6600000")
            #expect(try slow.answer().code == "body.timeout")
        }
    }

    /// A queue full of one client's bodies is no reason to refuse another's.
    @Test func aCrowdOfOneAddressMakesRoomForOthers() throws {
        var limits = ServerLimits.threads(2, reserved: 1, queue: 4)
        limits.crowdedGrace = .milliseconds(500)
        try TestServer.with(limits, host: "0.0.0.0") { test in
            let crowd = try (0..<5).map { _ in try Client(test.port) }
            for client in crowd { try client.send(TestServer.upload(200_000, sending: limits.bodyHeadStart)) }
            #expect(eventually { test.server.flights.count == 5 })
            let own = try Client(test.port)
            try own.send(TestServer.upload(200_000, sending: 200_000))
            #expect(try own.answer().code == "server.overloaded")
            let other = try Client(test.port, from: "127.0.0.2")
            try other.send(TestServer.upload(200_000, sending: 200_000))
            #expect(try other.answer().text == "200000 6600000")
            // One of the crowd has gone for it.
            let codes = try crowd.filter { $0.hasBytes(within: 0) }.map { try $0.answer().code }
            #expect(codes.count { $0 == "server.overloaded" } == 1)
        }
    }

    @Test func clientsTakeTurnsInTheQueue() throws {
        let home = try Mailbox()
        var queue = ParcelQueue()
        var comers: [ObjectIdentifier: String] = [:]
        func parcel(_ client: String?) -> Parcel {
            let origin = Origin(
                peer: client ?? "unix:", client: client, isSecure: false, isLocal: client == nil, excess: nil)
            let parcel = Parcel(nil, .again, slot: 0, origin: origin, home: home)
            comers[ObjectIdentifier(parcel)] = client ?? "-"
            return parcel
        }
        let parcels = ["a", "a", "a", "a", "b", "b", "c", nil, "b"].map(parcel)
        for parcel in parcels { queue.append(parcel) }
        // Who has four makes room for who has none, and not for who would have as many.
        #expect(queue.makeRoom(for: parcel("d")) === parcels[3])
        #expect(queue.makeRoom(for: parcel("b")) == nil)
        #expect(queue.makeRoom(for: parcel(nil)) == nil)
        var order = ""
        while let next = queue.takeFirst() { order += comers[ObjectIdentifier(next)] ?? "?" }
        #expect(order == "abcabab-")
        #expect(queue.count == 0)
    }

    /// With a grace of minutes each, the last of sixty would wait for an hour.
    @Test func manySlowBodiesGiveWayTheSooner() throws {
        var limits = ServerLimits.threads(2, reserved: 1)
        limits.crowdedGrace = .seconds(60)
        try TestServer.with(limits) { test in
            let slow = try (0..<60).map { _ in try Client(test.port) }
            for client in slow { try client.send(TestServer.upload(200_000, sending: limits.bodyHeadStart)) }
            #expect(eventually { slow.contains { $0.hasBytes(within: 0) } })
            let refused = try #require(slow.first { $0.hasBytes(within: 0) })
            #expect(try refused.answer().text.contains("crowded-body-rate"))
        }
        let crowding = Crowding(threads: 12)
        for (waiting, share) in [(1, 1.0), (12, 1), (24, 0.5), (120, 0.1)] {
            crowding.set(waiting: waiting, taken: 12)
            #expect(crowding.patience(.seconds(2)) == .seconds(2 * share))
        }
        crowding.set(waiting: 0, taken: 12)
        #expect(crowding.patience(.seconds(2)) == nil)
    }

    /// Chunks that do not come hold no thread, however many wait for them; those that did come are answered.
    @Test func chunksTakeAThreadOnceTheyAreThere() throws {
        let limits = ServerLimits.threads(2, reserved: 1, queue: 1)
        try TestServer.with(limits) { test in
            let silent = try (0..<10).map { _ in try Client(test.port) }
            for client in silent {
                try client.send("PUT /sum HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2")
            }
            #expect(eventually { test.server.flights.count == 10 })
            let quick = try Client(test.port)
            try quick.send(TestServer.upload(200_000, sending: 200_000))
            #expect(try quick.answer().text == "200000 6600000")
            #expect(test.server.flights.allSatisfy { $0.phase == .waiting })
            for (index, client) in silent.enumerated() {
                // Whole, in pieces, too long to be waited for, and broken.
                switch index % 4 {
                case 0: try client.send("\r\n!!\r\n0\r\n\r\n" + ExchangeTests.get)
                case 1: for byte in "\r\n!!\r\n0;x\r\nA: b\r\n\r\n".utf8 { try client.send([byte]) }
                case 2: try client.send("0000\r\n" + String(repeating: "!", count: 131_072) + "\r\n0\r\n\r\n")
                default: try client.send("\n!!")
                }
                let answer = try client.answer()
                if index % 4 == 3 {
                    #expect(answer.code == "http.chunk_size")
                } else {
                    #expect(answer.text == (index % 4 == 2 ? "131072 4325376" : "2 66"))
                }
                if index % 4 == 0 { #expect(try client.answer().text == "hello") }
            }
        }
    }

    /// Clients that wait for 100 Continue and then send nothing get the first threads, not the last.
    @Test func whoPromisesABodyHoldsFewThreads() throws {
        let limits = ServerLimits.threads(3, reserved: 1, queue: 10)
        try TestServer.with(limits) { test in
            let expect = "PUT /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
            let clients = try (0..<10).map { _ in try Client(test.port) }
            for client in clients {
                try client.send(expect)
                #expect(try client.answer().status == 100)
            }
            #expect(test.server.flights.count(where: { $0.phase == .working }) == 1)
            let quick = try Client(test.port)
            try quick.send(TestServer.upload(200_000, sending: 200_000))
            #expect(try quick.answer().text == "200000 6600000")
            for client in clients { try client.send("!!") }
            for client in clients { #expect(try client.answer().text == "2 66") }
            // What can be refused without a thread is refused before the client is told to continue.
            let refused = try Client(test.port)
            try refused.send("PUT /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            #expect(try refused.answer().status == 404)
        }
    }

    @Test func boundsTheConnectionsOfAnAddress() throws {
        var limits = ServerLimits()
        limits.maxConnectionsPerAddress = 2
        try TestServer.with(limits, host: "0.0.0.0") { test in
            var clients = try (0..<2).map { _ in try Client(test.port) }
            for client in clients {
                try client.send(ExchangeTests.get)
                #expect(try client.answer().status == 200)
            }
            let third = try Client(test.port)
            let refusal = try third.answer()
            #expect(refusal.status == 503)
            #expect(refusal.code == "connections.per_address")
            #expect(refusal.fields["retry-after"] == "5")
            #expect(third.isClosed())
            // Another address has its own.
            let other = try Client(test.port, host: "127.0.0.1", from: "127.0.0.2")
            try other.send(ExchangeTests.get)
            #expect(try other.answer().status == 200)
            third.finishSending()
            clients.removeAll()
            #expect(eventually { test.recorder.counts.withLock { $0.closed } == 3 })
            let late = try Client(test.port)
            try late.send(ExchangeTests.get)
            #expect(try late.answer().status == 200)
            #expect(test.recorder.hits(.connectionsPerAddress) == 1)
        }
    }

    @Test func aRequestThatTakesTooLongIsRefused() throws {
        var limits = ServerLimits()
        limits.workerThreads = 1
        limits.requestDeadline = .milliseconds(200)
        try TestServer.with(limits) { test in
            let running = try Client(test.port)
            try running.send(ThreadTests.wait)
            #expect(test.gate.waitForArrival())
            let queued = try Client(test.port)
            try queued.send(ThreadTests.wait)
            #expect(eventually { test.server.flights.map(\.phase) == [.working, .waiting] })
            usleep(300_000)
            test.gate.release()
            #expect(try running.answer().text == "waited")
            let refusal = try queued.answer()
            #expect(refusal.code == "request.deadline")
            #expect(refusal.status == 503)
            #expect(test.recorder.hits(.requestDeadline) == 1)
            // The client's own time does not count.
            let slow = try Client(test.port)
            try slow.send(TestServer.upload(100_000, sending: 70_000))
            usleep(400_000)
            try slow.send([UInt8](repeating: 33, count: 30_000))
            #expect(try slow.answer().text == "100000 3300000")
            #expect(eventually { test.server.flights.isEmpty })
        }
    }

    @Test func countsTurnsAndRequestsOfAConnection() throws {
        var limits = ServerLimits()
        limits.maxPipelinedRequests = 2
        limits.maxRequestsPerConnection = 5
        try TestServer.with(limits) { test in
            let client = try Client(test.port)
            try client.send(String(repeating: ExchangeTests.get, count: 6))
            for _ in 0..<5 { #expect(try client.answer().text == "hello") }
            #expect(client.isClosed())
            #expect(test.recorder.hits(.pipelinedRequests) == 2)
            #expect(test.recorder.hits(.requestsPerConnection) == 1)
        }
    }
}
