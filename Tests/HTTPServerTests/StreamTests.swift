import Foundation
import Glibc
import HTTPServer
import Synchronization
import Testing

/// Answers that are made as they come about.
@Suite struct StreamTests {
    private static func get(_ path: String, method: String = "GET", _ fields: String = "") -> String {
        "\(method) \(path) HTTP/1.1\r\nHost: x\r\n\(fields)\r\n"
    }

    /// A client that has read the head of a stream.
    private static func listener(_ test: TestServer, _ path: String = "/events") throws -> Client {
        let client = try Client(test.port)
        try client.send(get(path))
        #expect(try client.head().status == 200)
        return client
    }

    @Test func eventsArriveAsTheyAreSaidAndTheConnectionServesOn() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            // The second request waits behind the stream.
            try client.send(Self.get("/events") + ExchangeTests.get)
            let head = try client.head()
            #expect(head.fields["transfer-encoding"] == "chunked")
            #expect(head.fields["content-length"] == nil)
            #expect(head.fields["connection"] == nil)
            #expect(head.fields["content-type"] == "text/event-stream")
            for text in ["one", "two", String(repeating: "three", count: 10_000)] {
                test.station.say(text)
                #expect(try client.chunk() == text)
            }
            test.station.say("four")
            test.station.finish()
            #expect(try client.chunk() == "four")
            #expect(try client.chunk() == nil)
            #expect(try client.answer().text == "hello")
            try client.send(Self.get("/events"))
            #expect(try client.head().status == 200)
            let summary = try #require(test.recorder.summaries.first)
            #expect(summary.responseBodyBytes == 50_010)
            #expect(summary.errorCode == nil)
            #expect(eventually { test.station.listeners == 1 })
        }
    }

    @Test(arguments: ["--http1.1", "--http1.0"])
    func curlReadsThemWhole(_ version: String) throws {
        try TestServer.with { test in
            for count in [0, 1, 1000] {
                let curl = try Curl([version, "\(test.base)/pieces/\(count)"])
                #expect(curl.exitCode == 0)
                #expect(curl.output == Data(Station.bytes(count)))
            }
            #expect(eventually { test.station.released == 3 })
        }
    }

    @Test func overTLSTheyHoldNoThreadEither() throws {
        let limits = ServerLimits.threads(1, reserved: 0)
        try TestServer.with(limits, tls: try TLSTests.context()) { test in
            let folder = FileManager.default.temporaryDirectory
            let copies = (0..<3).map { folder.appendingPathComponent("viva-stream-\($0)-\(UUID().uuidString)") }
            defer { for copy in copies { try? FileManager.default.removeItem(at: copy) } }
            let base = "https://127.0.0.1:\(test.port)"
            let listening = try copies.map { copy in
                let process = Foundation.Process()
                process.executableURL = URL(fileURLWithPath: "/usr/bin/curl")
                process.arguments = ["-skN", "--max-time", "30", "-o", copy.path, "\(base)/late-events"]
                try process.run()
                return process
            }
            #expect(eventually { test.station.listeners == 3 })
            #expect(try Curl(["-k", "\(base)/hello"]).text == "hello")
            #expect(try Curl(["-k", "\(base)/pieces/300"]).output == Data(Station.bytes(300)))
            test.station.say("one\n")
            test.station.say("two\n")
            test.station.finish()
            for process in listening {
                process.waitUntilExit()
                #expect(process.terminationStatus == 0)
            }
            for copy in copies { #expect(try String(contentsOf: copy, encoding: .utf8) == "one\ntwo\n") }
        }
    }

    @Test func headHasNoBodyAndMakesNothing() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            try client.send(Self.get("/pieces/5", method: "HEAD") + ExchangeTests.get)
            #expect(try client.head().fields["transfer-encoding"] == "chunked")
            #expect(try client.answer().text == "hello")
            #expect(test.station.pieces == 0)
            #expect(eventually { test.station.released == 1 })
        }
    }

    @Test func silenceIsBroken() throws {
        var limits = ServerLimits()
        limits.streamHeartbeat = .milliseconds(40)
        try TestServer.with(limits) { test in
            let client = try Self.listener(test)
            for _ in 0..<3 { #expect(try client.chunk() == ":\n\n") }
            test.station.say("said")
            var heard = try client.chunk()
            while heard == ":\n\n" { heard = try client.chunk() }
            #expect(heard == "said")
        }
    }

    @Test func whatIsNotTakenIsNotMade() throws {
        var limits = ServerLimits()
        limits.writeStall = .milliseconds(300)
        try TestServer.with(limits) { test in
            let client = try Client(test.port, receiveBuffer: 4096)
            try client.send(Self.get("/pieces/1000000"))
            #expect(eventually { test.recorder.counts.withLock { $0.closed } == 1 })
            // What the kernel's buffers hold of the 10 GB.
            #expect(test.station.pieces < 2000)
            #expect(test.station.released == 1)
            #expect(test.recorder.summaries.last?.errorCode == "response.stalled")
        }
    }

    @Test func aClientThatLeavesIsNoticed() throws {
        try TestServer.with { test in
            do {
                let silent = try Self.listener(test)
                let pipelining = try Self.listener(test)
                // More than the server reads ahead: the end of file is seen all the same.
                try pipelining.send([UInt8](repeating: 33, count: 100_000))
                #expect(eventually { test.station.listeners == 2 })
                silent.finishSending()
                #expect(eventually { test.station.listeners == 1 })
            }
            #expect(eventually { test.station.listeners == 0 })
            #expect(test.recorder.summaries.map(\.errorCode) == ["response.client_left", "response.client_left"])
        }
    }

    @Test func whatFollowsIsReadWhenTheStreamIsOver() throws {
        try TestServer.with { test in
            let client = try Self.listener(test)
            try client.send("PUT /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n")
            try client.send([UInt8](repeating: 33, count: 900_000))
            test.station.say("heard")
            #expect(try client.chunk() == "heard")
            test.station.finish()
            #expect(try client.chunk() == nil)
            #expect(try client.answer().text == "900000 29700000")
        }
    }

    @Test func aBodyThatNobodyReadEndsTheConnectionBehindTheStream() throws {
        try TestServer.with { test in
            let client = try Client(test.port)
            try client.send(Self.get("/events", method: "PUT", "Content-Length: 300000\r\n"))
            try client.send([UInt8](repeating: 33, count: 300_000))
            #expect(try client.head().fields["connection"] == "close")
            test.station.say("early")
            test.station.finish()
            #expect(try client.chunk() == "early")
            #expect(try client.chunk() == nil)
            #expect(client.isClosed())
        }
    }

    @Test func drainingEndsStreamsInOrder() throws {
        try TestServer.with { test in
            let listeners = try (0..<20).map { _ in try Self.listener(test) }
            let busy = try Self.listener(test, "/pieces/1000000")
            test.server.drain()
            for client in listeners {
                #expect(try client.chunk() == nil)
                #expect(client.isClosed())
            }
            while try busy.chunk() != nil {}
            #expect(test.hasEnded(within: .seconds(10)))
            #expect(test.recorder.summaries.allSatisfy { $0.errorCode == nil })
            #expect(test.station.listeners == 0)
        }
    }

    @Test func aSecondDrainCutsThoseThatAreStuck() throws {
        try TestServer.with { test in
            let stuck = try Client(test.port, receiveBuffer: 4096)
            try stuck.send(Self.get("/events"))
            #expect(try stuck.head().status == 200)
            // More than the kernel's buffers hold.
            test.station.say(String(repeating: "x", count: 20_000_000))
            // The first of it is on its way: what has not begun is not stuck, and ends with the first drain.
            #expect(stuck.hasBytes(within: 10_000))
            test.server.drain()
            #expect(!test.hasEnded(within: .milliseconds(200)))
            test.server.drain()
            #expect(test.hasEnded(within: .seconds(10)))
            #expect(test.recorder.summaries.last?.errorCode == "server.stopping")
            #expect(test.station.listeners == 0)
        }
    }

    @Test func aThousandListenBesideRequests() throws {
        let limits = ServerLimits.threads(2, reserved: 1)
        try TestServer.with(limits) { test in
            let listeners = try (0..<1000).map { index in
                try Self.listener(test, index % 2 == 0 ? "/events" : "/late-events")
            }
            let client = try Client(test.port)
            for round in 0..<3 {
                test.station.say("round \(round)")
                try client.send(ExchangeTests.get)
                #expect(try client.answer().text == "hello")
                test.gate.release()
                try client.send(Self.get("/wait"))
                #expect(try client.answer().text == "waited")
                for listener in listeners { #expect(try listener.chunk() == "round \(round)") }
            }
            test.station.finish()
            for listener in listeners { #expect(try listener.chunk() == nil) }
            #expect(eventually { test.station.listeners == 0 })
        }
    }
}
