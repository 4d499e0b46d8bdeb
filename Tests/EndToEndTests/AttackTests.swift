import Foundation
import HTTPCorpus
import Testing

/// The corpus of raw requests against the executable: every case is answered or closed as its section allows, no byte
/// of one becomes a request of its own, and the service lives on.
@Suite struct AttackTests {
    /// Seen as IPv6 addresses the clients have names that live in memory of their own, as those of most networks do;
    /// `127.0.0.1:12345` does not.
    @Test(arguments: ["127.0.0.1:0", "http://[::]:0"])
    func corpusIsAnsweredAsAllowed(address: String) throws {
        let service = try LiveService(
            arguments: ["--auth", "none"], environment: LiveService.scrambledMemory, listen: address)
        let made = try service.curl(
            "/v1/quantize?method=int8&dtype=float32&shape=2,16", ["--data-binary", String(repeating: "0", count: 128)])
        let artifact = try #require(try made.json()["id"] as? String)
        let whole = try service.curl("/v1/artifacts/\(artifact)/content")
        let names = ["artifact": artifact, "etag": try #require(whole.field("ETag"))]
        let attacks = try AttackCase.all(names)
        for attack in attacks { try attempt(attack, service) }
        #expect(attacks.count >= 400)
        #expect(service.starts().count == 1, "the server was started again")
        #expect(try service.curl("/v1/artifacts/\(artifact)/content").body == whole.body)
    }

    /// Keep-alive, chunks, 100-continue, HEAD, ranges, gzip and early refusals, as two strict clients see them.
    @Test func pythonAndCurlSeeTheSame() throws {
        let service = try LiveService()
        let script = Repository.root.appending(path: "tools/http/clients.py")
        let outcome = try run("/usr/bin/env", ["python3", script.path, service.url("")])
        #expect(outcome.status == 0, "\(outcome.text)\(outcome.errorText)")
        #expect(outcome.text.contains("checks, 0 failures"))
    }

    private func attempt(_ attack: AttackCase, _ service: LiveService) throws {
        let exchange = try RawExchange(attack.transmission, endsItsHalf: attack.endsItsHalf, port: service.port)
        let isToHead = attack.answers.map(\.isToHead) + [false]
        let found = try #require(exchange.answers(isToHead), "\(attack): \(exchange.text.prefix(300))")
        #expect(!exchange.text.contains("Nothing is served at \(AttackCase.contraband)"), "\(attack): smuggled")
        #expect(exchange.endedOrderly, "\(attack): reset, or no end")
        #expect(found.count >= attack.answers.count, "\(attack): \(found.map(\.status))")
        for (answer, expected) in zip(found, attack.answers) {
            #expect(expected.statuses.contains(answer.status), "\(attack): \(answer.text.prefix(600))")
            for text in expected.says { #expect(answer.text.contains(text), "\(attack): \(answer.text.prefix(600))") }
            for text in expected.never { #expect(!answer.text.contains(text), "\(attack): \(answer.text.prefix(600))") }
        }
        let rest = found.dropFirst(attack.answers.count)
        let isCanaryAnswered = rest.count == 1 && rest.first?.text.contains("Nothing is served at /canary.") == true
        switch attack.answers.last?.afterwards {
        case .keep where !attack.endsItsHalf: #expect(isCanaryAnswered, "\(attack): \(rest.map(\.text))")
        case .any: #expect(isCanaryAnswered || rest.isEmpty, "\(attack): \(rest.map(\.text))")
        default: #expect(rest.isEmpty, "\(attack): \(rest.map(\.text))")
        }
        let canary = try RawExchange(
            Array("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8), endsItsHalf: false,
            port: service.port)
        #expect(canary.answers([false])?.first?.status == 200, "the service is gone after \(attack)")
    }
}

/// One connection: bytes out, bytes back until the server ends it.
private struct RawExchange {
    private let bytes: [UInt8]
    /// Whether the server sent its end, rather than a reset or nothing for ten seconds.
    let endedOrderly: Bool

    var text: String { String(decoding: bytes, as: UTF8.self) }

    init(_ request: [UInt8], endsItsHalf: Bool, port: Int) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var patience = timeval(tv_sec: 10, tv_usec: 0)
        unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        unsafe inet_pton(AF_INET, "127.0.0.1", &address.sin_addr)
        let connected = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(connected == 0)
        var sent = 0
        while sent < request.count {
            let count = unsafe request[sent...].withUnsafeBytes {
                unsafe send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            // A server that refuses early may have ended the connection; what it said is still to be read.
            guard count > 0 else { break }
            sent += count
        }
        if endsItsHalf { shutdown(descriptor, Int32(SHUT_WR)) }
        var received: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        var count = 0
        repeat {
            count = unsafe recv(descriptor, &chunk, chunk.count, 0)
            if count > 0 { received += chunk[..<count] }
        } while count > 0
        bytes = received
        endedOrderly = count == 0
    }

    /// The final answers in order, told by their lengths alone; nil when something else is among them.
    ///
    /// - Parameter isToHead: of each answer; the last value holds for all that follow.
    func answers(_ isToHead: [Bool]) -> [(status: Int, text: String)]? {
        var found: [(status: Int, text: String)] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            guard let end = rest.firstRange(of: [13, 10, 13, 10]) else { return nil }
            let head = String(decoding: rest[..<end.lowerBound], as: UTF8.self)
            let words = head.split(separator: " ", maxSplits: 2)
            guard words.count == 3, words[0] == "HTTP/1.1", let status = Int(words[1]) else { return nil }
            let isBodiless =
                status < 200 || status == 204 || status == 304
                || isToHead[min(found.count, isToHead.count - 1)]
            var length = 0
            if !isBodiless {
                let field = head.split(separator: "\r\n").first { $0.lowercased().hasPrefix("content-length:") }
                guard let stated = field.flatMap({ Int($0.dropFirst(15).trimmingCharacters(in: .whitespaces)) }) else {
                    return nil
                }
                length = stated
            }
            guard rest[end.upperBound...].count >= length else { return nil }
            let body = String(decoding: rest[end.upperBound...].prefix(length), as: UTF8.self)
            if status >= 200 { found.append((status, head + "\r\n\r\n" + body)) }
            rest = rest[end.upperBound...].dropFirst(length)
        }
        return found
    }
}
