import Foundation
@testable import HTTPServer
import Sockets
import Synchronization
import Testing

@Suite struct LimitTests {
    @Test func endsSlowHeads() throws {
        var limits = ServerLimits()
        limits.headDeadline = .milliseconds(100)
        try TestServer.with(limits) { test in
            let client = try Client(test.port)
            try client.send("GET /hello HTTP/1.1\r\n")
            #expect(try client.answer().code == "http.head_timeout")
            #expect(client.isClosed())
            let silent = try Client(test.port)
            #expect(silent.isClosed())
            #expect(test.recorder.hits(.headDeadline) == 2)
        }
    }

    @Test func endsIdleConnections() throws {
        var limits = ServerLimits()
        limits.keepAliveIdle = .milliseconds(100)
        try TestServer.with(limits) { test in
            let client = try Client(test.port)
            try client.send(ExchangeTests.get)
            #expect(try client.answer().status == 200)
            #expect(client.isClosed())
            #expect(test.recorder.hits(.keepAliveIdle) == 1)
        }
    }

    @Test(arguments: [10, 200_000])
    func endsStalledBodies(_ length: Int) throws {
        var limits = ServerLimits()
        limits.bodyIdle = .milliseconds(150)
        try TestServer.with(limits) { test in
            let client = try Client(test.port)
            let sent = String(repeating: "x", count: length - 5)
            try client.send("PUT /sum HTTP/1.1\r\nHost: x\r\nContent-Length: \(length)\r\n\r\n\(sent)")
            let answer = try client.answer()
            #expect(answer.code == "body.timeout")
            #expect(answer.status == 408)
            #expect(client.isClosed())
            #expect(test.recorder.hits(.bodyIdle) == 1)
        }
    }

    @Test func endsTricklingBodies() throws {
        var limits = ServerLimits()
        limits.bodyGrace = .milliseconds(200)
        limits.bodyMinimumRate = 1 << 20
        try TestServer.with(limits) { test in
            for framing in ["Content-Length: 1000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nfffff\r\n"] {
                let client = try Client(test.port)
                try client.send("PUT /sum HTTP/1.1\r\nHost: x\r\n\(framing)")
                // One byte at a time resets every idle timer, but earns next to nothing.
                for _ in 0..<200 where (try? client.send("0")) != nil { usleep(5000) }
                #expect(try client.answer().status == 408)
            }
            #expect(test.recorder.hits(.bodyRate) == 2)
        }
    }

    @Test func endsClientsThatDoNotRead() throws {
        var limits = ServerLimits()
        limits.writeStall = .milliseconds(200)
        try TestServer.with(limits) { test in
            let client = try Client(test.port, receiveBuffer: 4096)
            for _ in 0..<4 { try client.send("GET /file HTTP/1.1\r\nHost: x\r\n\r\n") }
            #expect(eventually { test.recorder.counts.withLock { $0.closed } == 1 })
            #expect(test.recorder.summaries.last?.errorCode == "response.stalled")
            #expect(test.recorder.hits(.writeStall) == 1)
        }
    }

    @Test(arguments: [true, false])
    func boundsTheTimeOfDiscarding(_ sends: Bool) throws {
        var limits = ServerLimits()
        if sends { limits.lingerTotal = .milliseconds(200) } else { limits.lingerIdle = .milliseconds(200) }
        try TestServer.with(limits) { test in
            let client = try Client(test.port)
            try client.send("PUT /guarded HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
            #expect(try client.answer().code == "test.guarded")
            // The client never ends its half; going on to send keeps only the idle limit away.
            #expect(
                eventually {
                    if sends { try? client.send("x") }
                    return test.recorder.counts.withLock { $0.closed } == 1
                })
            #expect(test.recorder.hits(.linger) == 1)
        }
    }

    @Test func serves2000IdleConnections() throws {
        try TestServer.with { test in
            let clients = try (0..<2000).map { _ in try Client(test.port) }
            for client in clients { try client.send(ExchangeTests.get) }
            for client in clients { #expect(try client.answer().status == 200) }
            for client in clients { try client.send(ExchangeTests.get) }
            for client in clients { #expect(try client.answer().status == 200) }
            #expect(test.recorder.counts.withLock { $0.opened } == 2000)
        }
    }

    @Test func refusesFurtherConnectionsAtOnce() throws {
        var limits = ServerLimits()
        limits.maxConnections = 2
        try TestServer.with(limits) { test in
            var clients = try (0..<2).map { _ in try Client(test.port) }
            for client in clients {
                try client.send(ExchangeTests.get)
                #expect(try client.answer().status == 200)
            }
            // More than may linger, all open at once: each is told, whatever it sends.
            let late = try (0..<ConnectionCounts.mostLingering + 8).map { _ in try Client(test.port) }
            for client in late {
                let refusal = try client.answer()
                #expect(refusal.status == 503)
                #expect(refusal.code == "connections.limit")
                #expect(refusal.fields["retry-after"] == "1")
                #expect(refusal.fields["connection"] == "close")
            }
            #expect(test.recorder.hits(.connections) == late.count)
            // Who is here is served, and the place of one who leaves is free, though the refused have not all left.
            try clients[0].send(ExchangeTests.get)
            #expect(try clients[0].answer().status == 200)
            clients.removeLast()
            #expect(
                eventually {
                    guard let next = try? Client(test.port), (try? next.send(ExchangeTests.get)) != nil else {
                        return false
                    }
                    return (try? next.answer().status) == 200
                })
        }
    }

    @Test(arguments: [
        ("192.0.2.1:80", "192.0.2.1"), ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("[2001:db8:1:2:3:4:5:6]:80", "2001:db8:1:2"), ("[2001:db8:1:2::6]:443", "2001:db8:1:2"),
        ("[2001:db8:0:1::5]:1", "2001:db8:0:1"), ("[2001:db8::1:0:0:1]:1", "2001:db8:0:0"),
        ("[2001:db8::1]:1", "2001:db8:0:0"), ("[fe80::1%eth0]:1", "fe80:0:0:0"), ("[::1]:1", "0:0:0:0"),
        ("[1::]:1", "1:0:0:0"), ("[::]:1", "0:0:0:0"), ("[::2:3:4:5:6:7:8]:1", "0:2:3:4"), ("unknown", "unknown"),
    ])
    func countsAnAddressByItsNetwork(_ peer: String, _ client: String) {
        #expect(ConnectionCounts.client(peer) == client)
    }

    @Test func answers503WhenAllThreadsAreBusy() throws {
        var limits = ServerLimits()
        limits.workerThreads = 1
        limits.workerQueue = 1
        try TestServer.with(limits) { test in
            let wait = "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
            let running = try Client(test.port)
            try running.send(wait)
            #expect(test.gate.waitForArrival())
            let queued = try Client(test.port)
            try queued.send(wait)
            #expect(eventually { test.recorder.counts.withLock { $0.started } == 2 })
            usleep(50_000)
            let late = try Client(test.port)
            try late.send(wait)
            let answer = try late.answer()
            #expect(answer.code == "server.overloaded")
            #expect(answer.status == 503)
            #expect(answer.fields["retry-after"] == "1")
            #expect(test.recorder.hits(.workerThreads) == 1)
            // What needs no thread is served all the same.
            let quick = try Client(test.port)
            try quick.send(ExchangeTests.get)
            #expect(try quick.answer().text == "hello")
            test.gate.release()
            test.gate.release()
            #expect(try running.answer().text == "waited")
            #expect(try queued.answer().text == "waited")
        }
    }

    @Test func drainFinishesWhatRuns() throws {
        try TestServer.with { test in
            let idle = try Client(test.port)
            try idle.send(ExchangeTests.get)
            #expect(try idle.answer().status == 200)
            let running = try Client(test.port)
            try running.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(test.gate.waitForArrival())
            test.server.drain()
            #expect(test.server.isDraining)
            #expect(idle.isClosed())
            #expect(throws: ClientError.self) { try Client(test.port) }
            test.gate.release()
            let answer = try running.answer()
            #expect(answer.text == "waited")
            #expect(answer.fields["connection"] == "close")
            #expect(test.hasEnded(within: .seconds(10)))
            let counts = test.recorder.counts.withLock { ($0.opened, $0.closed) }
            #expect(counts.0 == counts.1)
        }
    }

    @Test func drainEndsAtItsDeadline() throws {
        var limits = ServerLimits()
        limits.drainDeadline = .milliseconds(200)
        try TestServer.with(limits) { test in
            let stalled = try Client(test.port)
            try stalled.send("PUT /sum HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
            #expect(eventually { test.recorder.counts.withLock { $0.started } == 1 })
            test.server.drain()
            #expect(test.hasEnded(within: .seconds(10)))
        }
    }

    /// One canary for each class of refused bytes: answered, closed, and what follows is never read as a request.
    @Test(arguments: [
        ("GET /hello HTTP/1.1\r\n\r\n", 400),
        ("GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        ("GET /hello HTTP/1.1\nHost: x\n\n", 400),
        ("GET /hello HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        ("GET /hello HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
        ("GET /hello HTTP/1.1\r\nHost: x\r\nA: \u{0}\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc", 400),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        ("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        ("GET /hello HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        ("GET /hello HTTP/1.1\r\nHost: x\r\nA: " + String(repeating: "a", count: 40_000) + "\r\n\r\n", 431),
        ("GET /" + String(repeating: "a", count: 9000) + " HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    ])
    func refusedBytesEndTheConnection(_ bytes: String, _ status: Int) throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            try client.send(bytes)
            try client.send("GET /named/canary/content HTTP/1.1\r\nHost: x\r\n\r\n")
            let answer = try client.answer()
            #expect(answer.status == status)
            #expect(answer.code?.hasPrefix("http.") == true)
            #expect(answer.fields["connection"] == "close")
            #expect(client.isClosed())
            #expect(test.recorder.summaries.count == 1)
        }
    }
}

/// Polls for something that another thread brings about.
func eventually(_ condition: () -> Bool) -> Bool {
    for _ in 0..<2000 {
        if condition() { return true }
        usleep(5000)
    }
    return false
}
