import Foundation
import Glibc
import Testing

/// A server process that dies is started anew, and nobody who connects meanwhile is turned away.
@Suite(.serialized) struct SupervisorTests {
    /// A plain connection that has asked for `/livez`.
    private static func ask(_ port: Int) throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        unsafe inet_pton(AF_INET, "127.0.0.1", &address.sin_addr)
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let connected = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(connected == 0, "refused: \(errno)")
        let request = Array("GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".utf8)
        #expect(unsafe send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count)
        return descriptor
    }

    private static func status(_ descriptor: Int32) -> String {
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = unsafe recv(descriptor, &bytes, bytes.count, 0)
        close(descriptor)
        return String(decoding: bytes.prefix(max(0, count)).prefix(15), as: UTF8.self)
    }

    @Test(arguments: [SIGKILL, SIGSEGV, SIGABRT, SIGILL])
    func whoConnectsWhileTheServerIsDeadIsAnswered(_ signal: Int32) throws {
        let service = try LiveService()
        let id = try #require(try service.post(Repository.example, "method=nf4").json()["id"] as? String)
        let supervisor = service.process.processIdentifier
        for round in 1...2 {
            let server = try service.server()
            // A supervisor that stands still cannot be too quick for this test.
            Glibc.kill(supervisor, SIGSTOP)
            Glibc.kill(server, signal)
            let hasEnded = LiveService.waitForEnd(of: server)
            let waiting = try (0..<50).map { _ in try Self.ask(service.port) }
            Glibc.kill(supervisor, SIGCONT)
            #expect(hasEnded)
            #expect(Set(waiting.map(Self.status)) == ["HTTP/1.1 200 OK"])
            #expect(service.has(starts: round + 1))
            #expect(try service.server() != server)
        }
        #expect(try service.curl("/v1/artifacts/\(id)").status == 200)
        let metrics = String(decoding: try service.curl("/metrics").body, as: UTF8.self)
        #expect(metrics.contains("\nviva_server_restarts 2\n"))
        let ends = service.logLines("the server ended; it is started anew")
        #expect(ends.map { $0["ended"] as? String } == ["signal(\(signal))", "signal(\(signal))"])
    }

    /// A server that does not move cannot keep the supervisor from ending.
    @Test func aServerThatStandsStillIsEndedByASecondSignal() throws {
        let service = try LiveService()
        let server = try service.server()
        Glibc.kill(server, SIGSTOP)
        let supervisor = service.process.processIdentifier
        Glibc.kill(supervisor, SIGTERM)
        Thread.sleep(forTimeInterval: 0.3)
        #expect(service.process.isRunning)
        Glibc.kill(supervisor, SIGTERM)
        service.process.waitUntilExit()
        #expect(service.process.terminationStatus == 128 + SIGKILL)
        #expect(LiveService.waitForEnd(of: server))
    }

    @Test func theServerDiesWithItsSupervisor() throws {
        let service = try LiveService()
        let server = try service.server()
        Glibc.kill(service.process.processIdentifier, SIGKILL)
        #expect(LiveService.waitForEnd(of: server))
    }

    @Test func aServerThatDoesNotComeUpAgainEndsTheSupervisor() throws {
        let service = try LiveService()
        let server = try service.server()
        // A file where its folder was.
        try FileManager.default.moveItem(at: service.data, to: service.data.appendingPathExtension("gone"))
        try Data().write(to: service.data)
        Glibc.kill(server, SIGKILL)
        try service.mustEnd()
        #expect(service.process.terminationStatus == 70)
        #expect(service.logLines("the server does not come up: giving up").count == 1)
        #expect(service.logLines("the server ended; it is started anew").count == 5)
        #expect(service.starts() == [server])
    }

    @Test func aRefusalToStartIsSaidOnce() throws {
        let service = try LiveService()
        let second = try run(
            Repository.viva.path, ["serve", "--listen", "127.0.0.1:0", "--data", service.data.path])
        #expect(second.status == 1)
        #expect(second.errorText.split(separator: "\n").count == 1, "\(second.errorText)")
        let taken = try run(
            Repository.viva.path,
            ["serve", "--listen", "127.0.0.1:\(service.port)", "--data", service.data.path])
        #expect(taken.status == 1)
        #expect(taken.errorText.contains("bind"))
        // Descriptor 3 is no listening socket here.
        #expect(try run(Repository.viva.path, ["serve", "--supervised", "0"]).status == 1)
    }

    @Test func aServerThatIsAskedToEndIsNotStartedAnew() throws {
        let service = try LiveService()
        Glibc.kill(try service.server(), SIGTERM)
        try service.mustEnd()
        #expect(service.process.terminationStatus == 0)
        #expect(service.starts().count == 1)
    }

    /// Ctrl-C and some service managers signal the whole group: that is one request to end, not two.
    @Test(arguments: [SIGTERM, SIGINT])
    func aSignalToBothDrainsOnceAndASecondOneEndsAtOnce(_ signal: Int32) throws {
        let service = try LiveService()
        let server = try service.server()
        let folder = try TemporaryFolder()
        let file = try folder.file(
            "in", Inputs.safetensors([("weight", [256, 1024], Inputs.gaussian(1 << 18, seed: 5))]))
        let upload = Process()
        upload.executableURL = URL(filePath: "/usr/bin/curl")
        upload.arguments = [
            "-sSf", "--limit-rate", "40k", "-X", "POST", "-T", file.path, "-o", "/dev/null",
            service.url("/v1/quantize?method=nf4"),
        ]
        upload.standardError = FileHandle.nullDevice
        try upload.run()
        Thread.sleep(forTimeInterval: 0.4)
        Glibc.kill(service.process.processIdentifier, signal)
        Glibc.kill(server, signal)
        // Time for a second request to end it, if the signals were two.
        Thread.sleep(forTimeInterval: 0.5)
        #expect(upload.isRunning)
        #expect(service.process.isRunning)
        #expect(service.logLines("draining").count == 1)
        // Nobody listens any more.
        #expect(try service.curl("/livez").curlStatus == 7)
        Glibc.kill(service.process.processIdentifier, signal)
        try service.mustEnd()
        #expect(service.process.terminationStatus == 0)
        upload.waitUntilExit()
        #expect(upload.terminationStatus != 0)
    }
}

extension LiveService {
    /// Waits for the end of the supervisor, but not for ever.
    fileprivate func mustEnd() throws {
        try #require(Self.waitForEnd(of: process.processIdentifier), "the supervisor still runs")
        process.waitUntilExit()
    }

    /// Whether the log soon names so many processes that have listened.
    fileprivate func has(starts count: Int) -> Bool {
        let deadline = Date(timeIntervalSinceNow: 10)
        while starts().count < count, Date() < deadline { Thread.sleep(forTimeInterval: 0.002) }
        return starts().count == count
    }
}
