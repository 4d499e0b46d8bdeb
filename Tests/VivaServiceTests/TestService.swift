import ArtifactStore
import Catalogue
import Foundation
import Glibc
import HTTPServer
import Jobs
import Logging
import Processes
import Quantization
import Sockets

@testable import VivaService

extension Facilities {
    /// One life of a service on a data folder.
    static func test(
        _ folder: String, authentication: Authentication = .none, metricsScope: Scopes? = nil,
        ownerLimits: OwnerLimits = OwnerLimits(), intake: IntakeLimits = IntakeLimits(),
        limits: SessionLimits = SessionLimits(), freeBytesFloor: Int = 0,
        logger: Logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    ) throws -> Facilities {
        let store = try ArtifactStore(folder: folder)
        let catalogue = try Catalogue(path: "\(folder)/catalogue.sqlite")
        let access = Access(
            policy: AccessPolicy(authentication, isLoopback: false, metrics: metricsScope),
            localPolicy: AccessPolicy(authentication, isLoopback: true, metrics: metricsScope), admission: Admission(),
            keys: KeyRing(catalogue, defaults: ownerLimits),
            limits: ownerLimits)
        return Facilities(
            store: store, catalogue: catalogue, access: access, quotas: Quotas(catalogue),
            metrics: ServiceMetrics(logger: logger), pool: BufferPool(), memory: MemoryBudget(bytes: 1 << 30),
            limits: limits, intake: intake,
            freeBytesFloor: freeBytesFloor)
    }

    /// All routes over it.
    var routes: RouteTable {
        RouteTable(
            facilities: self, uploads: Uploads(facilities: self),
            jobs: JobService(
                self, limits: JobLimits(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }),
            server: ServerState())
    }
}

/// The route table over a real store and catalogue.
struct TestService {
    let facilities: Facilities
    let table: RouteTable

    /// In a folder that is gone when this returns: for what touches no file.
    init() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "viva-service-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try self.init(folder: folder)
    }

    /// In a folder that is the caller's to remove.
    init(
        folder: String, authentication: Authentication = .auto, metricsScope: Scopes? = nil,
        limits: OwnerLimits = OwnerLimits()
    ) throws {
        facilities = try Facilities.test(
            folder, authentication: authentication, metricsScope: metricsScope, ownerLimits: limits)
        table = facilities.routes
    }
}

/// One life of the service on a real port, stopped with its owner.
final class TestLife {
    let facilities: Facilities
    let uploads: Uploads
    /// Runs nothing unless a worker was given.
    let jobs: JobService
    let port: UInt16
    private let server: Server
    private let end: EndOfServer

    private final class EndOfServer: Sendable {
        let semaphore: Sockets.Semaphore
        init() throws { semaphore = try Sockets.Semaphore() }
    }

    init(
        _ folder: String, authentication: Authentication = .none, intake: IntakeLimits = IntakeLimits(),
        limits: SessionLimits = SessionLimits(), freeBytesFloor: Int = 0, jobLimits: JobLimits = JobLimits(),
        worker: ChildPlan? = nil, logger: Logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    ) throws {
        facilities = try Facilities.test(
            folder, authentication: authentication, intake: intake, limits: limits, freeBytesFloor: freeBytesFloor,
            logger: logger)
        uploads = Uploads(facilities: facilities)
        jobs = JobService(
            facilities, limits: jobLimits, logger: logger, program: worker ?? .worker)
        if worker != nil { try jobs.start() }
        let table = RouteTable(facilities: facilities, uploads: uploads, jobs: jobs, server: ServerState())
        let access = facilities.access
        server = try Server(
            configuration: ServerConfiguration(endpoints: [Endpoint(.network(host: "127.0.0.1", port: 0))]),
            router: Router(table.routes) { (request) throws(Problem) in try access.admit(request) },
            logger: logger, observer: facilities.metrics)
        port = server.address.port
        let end = try EndOfServer()
        self.end = end
        try Sockets.Thread.start(name: "test-server") { [server] in
            server.run()
            end.semaphore.signal()
        }
    }

    deinit {
        jobs.stop()
        server.drain()
        server.drain()
        _ = end.semaphore.wait(until: .now + .seconds(10))
    }

    /// One request on a connection of its own, sent as it is.
    func send(
        _ line: String, _ fields: [String] = [], _ body: [UInt8] = [], length: Int? = nil
    ) throws -> TestAnswer {
        let connection = try TestConnection(port)
        let framing = line.hasPrefix("GET") || line.hasPrefix("HEAD") ? [] : ["Content-Length: \(length ?? body.count)"]
        try connection.write(line, fields + framing + ["Connection: close"], body)
        if let length, length > body.count { connection.finishWriting() }
        return try connection.answer()
    }

    /// The same with what tus asks of each request.
    func tus(
        _ line: String, _ fields: [String] = [], _ body: [UInt8] = [], length: Int? = nil
    ) throws -> TestAnswer {
        let type = body.isEmpty && !line.hasPrefix("PATCH") ? [] : ["Content-Type: application/offset+octet-stream"]
        return try send(line, ["Tus-Resumable: 1.0.0"] + type + fields, body, length: length)
    }
}

/// An answer as it stood on the wire.
struct TestAnswer {
    let status: Int
    /// Names in lower case.
    let fields: [String: String]
    let body: Data

    init(_ bytes: [UInt8]) throws {
        var rest = Data(bytes)
        var head = ""
        // 100 Continue comes before the answer.
        repeat {
            guard let end = rest.range(of: Data("\r\n\r\n".utf8)) else {
                throw Failure(text: String(decoding: bytes, as: UTF8.self))
            }
            head = String(decoding: rest[..<end.lowerBound], as: UTF8.self)
            rest = Data(rest[end.upperBound...])
        } while head.hasPrefix("HTTP/1.1 100")
        let lines = head.components(separatedBy: "\r\n")
        status = Int(lines[0].split(separator: " ")[1]) ?? 0
        fields = Dictionary(
            lines.dropFirst().map { line in
                let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
                return (parts[0].lowercased(), parts[1].trimmingCharacters(in: .whitespaces))
            }, uniquingKeysWith: { $1 })
        body = rest
    }

    struct Failure: Error { let text: String }

    var json: [String: Any] { (try? JSONSerialization.jsonObject(with: body) as? [String: Any]) ?? [:] }
    /// The `code` of a problem.
    var code: String? { json["code"] as? String }
}

/// A blocking socket that knows nothing of the server's code.
final class TestConnection {
    private let descriptor: Int32

    init(_ port: UInt16) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw TestAnswer.Failure(text: "connect \(errno)") }
    }

    deinit { close(descriptor) }

    func write(_ line: String, _ fields: [String], _ body: [UInt8] = []) throws {
        let head = ([line + " HTTP/1.1", "Host: 127.0.0.1"] + fields).joined(separator: "\r\n") + "\r\n\r\n"
        try write(Array(head.utf8) + body)
    }

    func write(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = unsafe bytes[sent...].withUnsafeBytes {
                unsafe Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            // The server may refuse and close before it has read all.
            guard count > 0 else { return }
            sent += count
        }
    }

    /// Ends the client's half, as a broken client does.
    func finishWriting() { _ = shutdown(descriptor, Int32(SHUT_WR)) }

    /// The first bytes of what comes.
    func interim() throws -> String {
        var buffer = [UInt8](repeating: 0, count: 1024)
        let count = unsafe recv(descriptor, &buffer, buffer.count, 0)
        return String(decoding: buffer[..<max(0, count)], as: UTF8.self)
    }

    /// All that comes until the server closes.
    func answer() throws -> TestAnswer {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = unsafe recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { return try TestAnswer(bytes) }
            bytes += buffer[..<count]
        }
    }
}
