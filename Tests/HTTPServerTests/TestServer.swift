import Foundation
import Glibc
import HTTPServer
import HTTPTypes
import Logging
import OpenSSL
import Sockets
import Synchronization

/// Counts what the server reports.
final class Recorder: ServerObserver {
    struct Counts {
        var opened = 0
        var closed = 0
        var started = 0
        var summaries: [RequestSummary] = []
        var limits: [LimitName: Int] = [:]
    }

    let counts = Mutex(Counts())

    func connectionOpened() { counts.withLock { $0.opened += 1 } }
    func connectionClosed() { counts.withLock { $0.closed += 1 } }
    func requestStarted(_ method: HTTPRequest.Method?, isSecure: Bool) { counts.withLock { $0.started += 1 } }
    func requestFinished(_ summary: RequestSummary) { counts.withLock { $0.summaries.append(summary) } }

    func limitReached(_ limit: LimitName) { counts.withLock { $0.limits[limit, default: 0] += 1 } }

    /// How often a limit was reached.
    func hits(_ limit: LimitName) -> Int { counts.withLock { $0.limits[limit] ?? 0 } }

    var summaries: [RequestSummary] { counts.withLock { $0.summaries } }
}

/// Keeps the lines of the log that tell of errors.
struct KeptLog: LogHandler {
    /// The message of each, and what it says beside it.
    final class Lines: Sendable {
        let all = Mutex<[(message: String, metadata: Logger.Metadata)]>([])
    }

    let lines: Lines
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.error

    init(_ lines: Lines) {
        self.lines = lines
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        lines.all.withLock { $0.append(("\(event.message)", event.metadata ?? [:])) }
    }
}

/// Lets a handler wait until the test says go.
final class Gate: Sendable {
    private let arrivals: Sockets.Semaphore
    private let leave: Sockets.Semaphore

    init() throws {
        arrivals = try Sockets.Semaphore()
        leave = try Sockets.Semaphore()
    }

    func pass() {
        arrivals.signal()
        _ = leave.wait(until: .now + .seconds(20))
    }

    func waitForArrival() -> Bool { arrivals.wait(until: .now + .seconds(20)) }
    func release() { leave.signal() }
}

extension ServerLimits {
    /// Those of a server with few threads.
    static func threads(_ threads: Int, reserved: Int, queue: Int? = nil) -> ServerLimits {
        var limits = ServerLimits()
        limits.workerThreads = threads
        limits.reservedThreads = reserved
        if let queue { limits.workerQueue = queue }
        return limits
    }
}

/// A server on a free port and a thread of its own; `with` always stops it.
final class TestServer: Sendable {
    let server: Server
    let recorder = Recorder()
    let errors = KeptLog.Lines()
    let gate: Gate
    let station = Station()
    let fileURL: URL
    let fileBytes: [UInt8]
    private let ended: Sockets.Semaphore

    /// A request to `/sum` that says it has `length` bytes, and `count` of them.
    static func upload(_ length: Int, sending count: Int) -> String {
        "PUT /sum HTTP/1.1\r\nHost: x\r\nContent-Length: \(length)\r\n\r\n" + String(repeating: "!", count: count)
    }

    var port: UInt16 { server.address.port }
    var base: String { "http://127.0.0.1:\(port)" }

    private static let fileBytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761) >> 13) }

    private init(
        _ limits: ServerLimits, tls: TLSContext?, endpoints: [Endpoint],
        startThread: @escaping Sockets.Thread.Starter
    ) throws {
        ended = try Sockets.Semaphore()
        gate = try Gate()
        fileURL = FileManager.default.temporaryDirectory.appendingPathComponent("viva-\(UUID().uuidString).bin")
        fileBytes = Self.fileBytes
        try Data(fileBytes).write(to: fileURL)
        server = try Server(
            configuration: ServerConfiguration(endpoints: endpoints, tls: tls, limits: limits),
            router: testRouter(gate: gate, station: station, file: fileURL.path),
            logger: Logger(label: "test") { [errors] _ in
                KeptLog(errors)
            }, observer: recorder, startThread: startThread)
    }

    static func with<R>(
        _ limits: ServerLimits = ServerLimits(), host: String = "127.0.0.1", tls: TLSContext? = nil,
        inherited: [Int32] = [], more: [Endpoint] = [], endpoints: [Endpoint]? = nil,
        startThread: @escaping Sockets.Thread.Starter = Sockets.Thread.start,
        _ body: (TestServer) throws -> R
    ) throws -> R {
        let first = Endpoint(.network(host: host, port: 0), isSecure: tls != nil, inherited: inherited)
        let test = try TestServer(limits, tls: tls, endpoints: endpoints ?? [first] + more, startThread: startThread)
        try Sockets.Thread.start(name: "test-server") {
            test.server.run()
            test.ended.signal()
        }
        defer { test.stop() }
        return try body(test)
    }

    /// Whether `run` has returned by then.
    func hasEnded(within duration: Duration) -> Bool {
        guard ended.wait(until: .now + duration) else { return false }
        ended.signal()
        return true
    }

    private func stop() {
        server.drain()
        server.drain()
        _ = ended.wait(until: .now + .seconds(20))
        try? FileManager.default.removeItem(at: fileURL)
    }
}

private func testRouter(gate: Gate, station: Station, file: String) -> Router {
    let etag = "\"sha256-test\""
    return Router(
        [
            Route(.get, "/hello", .inline) { _ in Response(status: .ok, body: .bytes(Array("hello".utf8))) },
            Route(.get, "/named/{id}/content", .inline) { request throws(Problem) in
                Response(status: .ok, body: .bytes(Array((request.parameters["id"] ?? "").utf8)))
            },
            Route(.get, "/large-json", .inline) { _ in
                .json(Array(("[" + String(repeating: "\"word\",", count: 2000) + "1]").utf8))
            },
            Route(.post, "/echo", .inline) { request throws(Problem) in
                Response(status: .ok, body: .bytes(try wholeBody(&request)))
            },
            Route(.put, "/sum", .worker) { request throws(Problem) in try sum(&request) },
            Route(.put, "/small", .worker, maxBodyBytes: 1000) { request throws(Problem) in try sum(&request) },
            Route(.put, "/early", .worker) { _ throws(Problem) in
                throw Problem(
                    .contentTooLarge, code: "test.refused", detail: "Not \"here\".\n",
                    members: [("limit", .integer(7)), ("ratio", .double(.nan))])
            },
            Route(.put, "/half", .worker) { request throws(Problem) in
                var buffer = [UInt8](repeating: 0, count: 1000)
                var span = buffer.mutableSpan
                var bytes = unsafe span.mutableBytes
                _ = try request.body.read(into: &bytes)
                throw Problem(.unprocessableContent, code: "test.half", detail: "Half was enough.")
            },
            Route(.put, "/guarded", .worker) { request throws(Problem) in try sum(&request) },
            Route(.get, "/wait", .worker) { _ in
                gate.pass()
                return Response(status: .ok, body: .bytes(Array("waited".utf8)))
            },
            Route(.get, "/file", .inline) { request throws(Problem) in
                let descriptor = unsafe open(file, O_RDONLY | O_CLOEXEC)
                guard let body = try? FileBody(owning: descriptor) else {
                    throw .failure(code: "test.file", evidence: "open \(file): none")
                }
                return try .file(
                    request.head, body, contentType: "application/octet-stream", etag: etag,
                    lastModified: 784_111_777,
                    fields: HTTPField.Name("Repr-Digest").map { [$0: "sha-256=:test:"] } ?? [:]
                )
            },
            Route(.get, "/events", .inline) { _ in station.listen() },
            Route(.get, "/late-events", .worker) { _ in station.listen() },
            Route(.put, "/events", .inline) { _ in station.listen() },
            Route(.get, "/pieces/{count}", .inline) { request throws(Problem) in
                Response(
                    status: .ok,
                    body: .stream(Pieces(Int(request.parameters["count"] ?? "") ?? 0, station), EventSignal()))
            },
            Route(.get, "/produced/{length}/{failure}", .inline) { request throws(Problem) in
                let length = Int(request.parameters["length"] ?? "") ?? 0
                let failure = Int(request.parameters["failure"] ?? "")
                return try .produced(request.head, contentType: "text/plain", etag: etag) { () throws(Problem) in
                    Countdown(length: length, failsAt: failure)
                }
            },
        ],
        admit: { request throws(Problem) in
            if request.template == "/guarded" {
                throw Problem(.unauthorized, code: "test.guarded", detail: "Not you.")
            }
        })
}

/// Makes bytes 0, 1, 2 … in pieces of odd sizes, and stops making them somewhere.
final class Countdown: BodyProducer, @unchecked Sendable {
    // Invariant: the server calls from one thread at a time.
    private var made = 0
    private let failsAt: Int?
    let byteCount: Int

    init(length: Int, failsAt: Int?) {
        byteCount = length
        self.failsAt = failsAt
    }

    func produce(into bytes: inout MutableRawSpan) throws(ProductionFailure) -> Int {
        if let failsAt, made >= failsAt {
            if failsAt % 2 == 0 { return 0 }
            throw ProductionFailure(code: "test.failed", detail: "As asked.")
        }
        let count = min(bytes.byteCount, 70_001, max(1, (failsAt ?? .max) - made))
        for index in 0..<count {
            bytes.storeBytes(of: UInt8(truncatingIfNeeded: made + index), toByteOffset: index, as: UInt8.self)
        }
        made += count
        return count
    }

    static func bytes(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0) } }
}

/// Reads the body in large steps; answers its length and the sum of its bytes.
private func sum(_ request: inout Request) throws(Problem) -> Response {
    let bytes = try wholeBody(&request)
    let total = bytes.reduce(0) { $0 + Int($1) }
    return Response(status: .ok, body: .bytes(Array("\(bytes.count) \(total)".utf8)))
}

private func wholeBody(_ request: inout Request) throws(Problem) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    var body: [UInt8] = []
    while true {
        var span = buffer.mutableSpan
        var bytes = unsafe span.mutableBytes
        let count = try request.body.read(into: &bytes)
        if count == 0 { return body }
        body += buffer[..<count]
    }
}
