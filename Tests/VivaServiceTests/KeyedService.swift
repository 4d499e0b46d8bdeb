import ArtifactStore
import Catalogue
import Foundation
import HTTPServer
import Jobs
import Logging
import OpenSSL
import Sockets
import Testing

@testable import VivaService

/// The whole service on a free port, with keys, in a folder of its own; `with` always stops it.
final class KeyedService: Sendable {
    let folder: String
    let service: TestService
    private let server: Server
    private let ended: Sockets.Semaphore

    var catalogue: Catalogue { service.facilities.catalogue }
    var store: ArtifactStore { service.facilities.store }

    private init(_ authentication: Authentication, _ metricsScope: Scopes?, _ limits: OwnerLimits) throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "viva-keyed-\(UUID().uuidString)").path
        service = try TestService(
            folder: folder, authentication: authentication, metricsScope: metricsScope, limits: limits)
        let access = service.facilities.access
        var limits = ServerLimits()
        limits.lingerIdle = .milliseconds(100)
        server = try Server(
            configuration: ServerConfiguration(
                endpoints: [Endpoint(.network(host: "127.0.0.1", port: 0))], limits: limits),
            router: Router(service.table.routes) { (request) throws(Problem) in try access.admit(request) },
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, observer: service.facilities.metrics)
        ended = try Sockets.Semaphore()
    }

    static func with(
        _ authentication: Authentication = .required, metricsScope: Scopes? = nil, limits: OwnerLimits = OwnerLimits(),
        _ body: (KeyedService) throws -> Void
    ) throws {
        let keyed = try KeyedService(authentication, metricsScope, limits)
        let server = keyed.server
        try Sockets.Thread.start(name: "keyed-service") {
            server.run()
            keyed.ended.signal()
        }
        defer {
            server.drain()
            server.drain()
            _ = keyed.ended.wait(until: .now + .seconds(20))
            try? FileManager.default.removeItem(atPath: keyed.folder)
        }
        try body(keyed)
    }

    /// Makes a key as the command does.
    func key(
        _ name: String, _ scopes: String = "read,write", bytes: Int? = nil, work: Int? = nil
    ) throws -> (key: String, id: String) {
        try KeyCommand(data: folder, creating: false)
            .add(name: name, scopes: scopes, maximumBytes: bytes, maximumWork: work)
    }

    /// An answer with what tests ask of it.
    struct Reply {
        let status: Int
        let head: String
        let text: String

        func field(_ name: String) -> String? {
            head.components(separatedBy: "\r\n").first { $0.lowercased().hasPrefix("\(name.lowercased()): ") }
                .map { String($0.dropFirst(name.count + 2)) }
        }

        var json: [String: Any] {
            (try? JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]) ?? [:]
        }

        var code: String? { json["code"] as? String }
    }

    /// One request on a connection of its own.
    func send(
        _ method: String, _ target: String, key: String? = nil, fields: [String] = [], body: [UInt8] = [],
        announced: Int? = nil
    ) throws -> Reply {
        var lines = ["\(method) \(target) HTTP/1.1", "Host: localhost", "Connection: close"] + fields
        if let key { lines.append("Authorization: Bearer \(key)") }
        if !["GET", "HEAD", "OPTIONS"].contains(method) { lines.append("Content-Length: \(announced ?? body.count)") }
        let answer = try PlainClient.exchange(
            at: .network(host: "127.0.0.1", port: server.address.port),
            request: Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8) + body, limit: 8 << 20,
            patience: .seconds(20))
        let text = String(decoding: answer, as: UTF8.self)
        let end = try #require(text.range(of: "\r\n\r\n"))
        let head = String(text[..<end.lowerBound])
        return Reply(
            status: try #require(Int(head.dropFirst(9).prefix(3))), head: head, text: String(text[end.upperBound...]))
    }

    /// Sends a tensor of 64 by 64 floats to be quantized.
    func quantize(
        _ key: String?, _ query: String = "method=int8", fields: [String] = [], seed: UInt32 = 1
    ) throws -> Reply {
        let values = (0..<4096).map { Float(($0 * 31 + Int(seed) * 7) % 97) / 97 - 0.5 }
        let body = values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * $0)) } }
        return try send(
            "POST", "/v1/quantize?\(query)&dtype=float32&shape=64,64", key: key, fields: fields, body: body)
    }
}

/// One thing of each kind that an owner can have, and names that nobody has.
struct Belongings {
    let artifact: String
    let input: String
    let upload = "0123456789abcdef0123456789abcdef"
    let job = "fedcba9876543210fedcba9876543210"

    static let unknown = [
        "artifacts": String(repeating: "9", count: 32), "inputs": "sha256:" + String(repeating: "9", count: 64),
        "uploads": String(repeating: "9", count: 32), "jobs": String(repeating: "9", count: 32),
    ]

    init(of owner: String, key: String, in service: KeyedService) throws {
        let made = try service.quantize(key)
        try #require(made.status == 201, "\(made.text)")
        artifact = try #require(made.json["id"] as? String)
        let staged = try service.store.stage()
        try staged.content.write(Array("input".utf8))
        let digest = try staged.content.digest().hex
        try service.store.publishInput(staged, as: digest)
        input = "sha256:\(digest)"
        _ = try service.catalogue.insert(
            InputRecord(owner: owner, digest: input, bytes: 5, container: "raw", createdAt: 1))
        let far = Int64.max / 2
        _ = try service.store.createWork(upload)
        try service.catalogue.insert(
            UploadRecord(id: upload, owner: owner, length: 100, metadata: "", query: nil, createdAt: 1, expiresAt: far))
        var job = JobRecord(id: job, owner: owner, input: input, recipe: "{}", artifact: "a", createdAt: 1)
        // Nobody may begin it: it only has to be there.
        job.notBefore = far
        _ = try service.catalogue.enqueue(job)
    }

    /// Its name by the collection that it is in.
    func name(in collection: String) -> String? {
        ["artifacts": artifact, "inputs": input, "uploads": upload, "jobs": job][collection]
    }

    /// Whether everything is still there, and still its owner's.
    func areWhole(for owner: String, in catalogue: Catalogue) throws -> Bool {
        try catalogue.artifact(artifact, owner: owner) != nil && catalogue.input(input, owner: owner) != nil
            && catalogue.upload(upload, owner: owner)?.offset == 0
            && catalogue.job(job, owner: owner)?.isCancelWanted == false
    }
}
