import Foundation
import Glibc

/// One answer as it stood on the wire.
struct Answer {
    let status: Int
    /// Names in lower case.
    let fields: [String: String]
    let body: [UInt8]

    var text: String { String(decoding: body, as: UTF8.self) }

    /// The `code` of a problem.
    var code: String? {
        guard fields["content-type"] == "application/problem+json" else { return nil }
        let object = try? JSONSerialization.jsonObject(with: Data(body)) as? [String: Any]
        guard object?["status"] as? Int == status, object?["trace_id"] is String,
            (object?["title"] as? String)?.isEmpty == false
        else { return nil }
        return object?["code"] as? String
    }
}

struct ClientError: Error {
    let what: String
}

/// A blocking socket that knows nothing of the server's code.
final class Client {
    private let descriptor: Int32
    private var buffer: [UInt8] = []

    init(_ port: UInt16, host: String = "127.0.0.1", from: String? = nil, receiveBuffer: Int32? = nil) throws {
        let isIPv6 = host.contains(":")
        descriptor = socket(isIPv6 ? AF_INET6 : AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw ClientError(what: "socket \(errno)") }
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        unsafe setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        if var size = receiveBuffer {
            unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, 4)
        }
        let result: Int32
        if isIPv6 {
            var address = sockaddr_in6()
            address.sin6_family = sa_family_t(AF_INET6)
            address.sin6_port = port.bigEndian
            unsafe inet_pton(AF_INET6, host, &address.sin6_addr)
            result = unsafe withUnsafePointer(to: &address) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
                }
            }
        } else {
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            unsafe inet_pton(AF_INET, host, &address.sin_addr)
            if let from { try Self.bind(descriptor, from) }
            result = unsafe withUnsafePointer(to: &address) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
        }
        guard result == 0 else { throw ClientError(what: "connect \(errno)") }
    }

    private static func bind(_ descriptor: Int32, _ host: String) throws {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        unsafe inet_pton(AF_INET, host, &address.sin_addr)
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe Glibc.bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw ClientError(what: "bind \(errno)") }
    }

    deinit {
        close(descriptor)
    }

    func send(_ text: String) throws { try send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = unsafe bytes[sent...].withUnsafeBytes { rest in
                unsafe Glibc.send(descriptor, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw ClientError(what: "send \(errno)") }
            sent += count
        }
    }

    /// Reads at most `count` bytes if they are there.
    func take(_ count: Int) {
        var chunk = [UInt8](repeating: 0, count: count)
        let taken = unsafe recv(descriptor, &chunk, count, Int32(MSG_DONTWAIT))
        buffer.append(contentsOf: chunk[..<max(0, taken)])
    }

    func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Whether something arrives that is not read yet, and leaves it.
    func hasBytes(within milliseconds: Int32) -> Bool {
        var interest = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&interest, 1, milliseconds) == 1
    }

    private func more() throws -> Bool {
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        let count = unsafe recv(descriptor, &chunk, chunk.count, 0)
        guard count >= 0 else { throw ClientError(what: "recv \(errno)") }
        buffer.append(contentsOf: chunk[..<count])
        return count > 0
    }

    /// Reads the head of an answer.
    func head() throws -> (status: Int, fields: [String: String]) {
        let end: [UInt8] = [13, 10, 13, 10]
        var headEnd = buffer.firstRange(of: end)
        while headEnd == nil {
            guard try more() else { throw ClientError(what: "closed within a head of \(buffer.count) bytes") }
            headEnd = buffer.firstRange(of: end)
        }
        guard let headEnd else { throw ClientError(what: "no head") }
        let lines = String(decoding: buffer[..<headEnd.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
        buffer.removeFirst(headEnd.upperBound)
        let words = lines[0].split(separator: " ")
        guard words.count >= 2, words[0] == "HTTP/1.1", let status = Int(words[1]) else {
            throw ClientError(what: "status line \(lines[0])")
        }
        var fields = [String: String]()
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { throw ClientError(what: "field \(line)") }
            let name = line[..<colon].lowercased()
            guard fields[name] == nil else { throw ClientError(what: "\(name) twice") }
            fields[name] = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
        }
        return (status, fields)
    }

    /// Reads one chunk of a body; nil at the last one.
    func chunk() throws -> String? {
        let end: [UInt8] = [13, 10]
        var line = buffer.firstRange(of: end)
        while line == nil {
            guard try more() else { throw ClientError(what: "closed before a chunk") }
            line = buffer.firstRange(of: end)
        }
        guard let line, let size = Int(String(decoding: buffer[..<line.lowerBound], as: UTF8.self), radix: 16) else {
            throw ClientError(what: "chunk size")
        }
        while buffer.count < line.upperBound + size + 2 {
            guard try more() else { throw ClientError(what: "closed within a chunk") }
        }
        let bytes = buffer[line.upperBound...].prefix(size)
        guard buffer[bytes.endIndex...].starts(with: end) else { throw ClientError(what: "chunk end") }
        buffer.removeFirst(bytes.endIndex + 2)
        return size == 0 ? nil : String(decoding: bytes, as: UTF8.self)
    }

    /// Reads one answer; `toHead` says that no body follows.
    func answer(toHead: Bool = false) throws -> Answer {
        let (status, fields) = try head()
        let length =
            toHead || status < 200 || status == 204 || status == 304
            ? 0 : Int(fields["content-length"] ?? "") ?? -1
        guard length >= 0 else { throw ClientError(what: "no length") }
        while buffer.count < length {
            guard try more() else { throw ClientError(what: "closed within a body") }
        }
        let body = Array(buffer[..<length])
        buffer.removeFirst(length)
        return Answer(status: status, fields: fields, body: body)
    }

    /// Whether the server ends the connection in an orderly way without another byte.
    func isClosed() -> Bool {
        buffer.isEmpty && (try? more()) == false
    }
}

/// curl, the independent client.
struct Curl {
    let exitCode: Int32
    let output: Data
    let errors: String

    var text: String { String(decoding: output, as: UTF8.self) }

    init(_ arguments: [String]) throws {
        let process = Foundation.Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/curl")
        process.arguments = ["-s", "--max-time", "30"] + arguments
        let output = Pipe()
        let log = FileManager.default.temporaryDirectory.appendingPathComponent("curl-\(UUID().uuidString)")
        try Data().write(to: log)
        defer { try? FileManager.default.removeItem(at: log) }
        process.standardOutput = output
        process.standardError = try FileHandle(forWritingTo: log)
        try process.run()
        self.output = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        exitCode = process.terminationStatus
        errors = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
    }
}

/// A file that is removed with its owner.
final class TemporaryFile {
    let url: URL
    var path: String { url.path }

    init(_ bytes: [UInt8]) throws {
        url = FileManager.default.temporaryDirectory.appendingPathComponent("viva-\(UUID().uuidString)")
        try Data(bytes).write(to: url)
    }

    deinit {
        try? FileManager.default.removeItem(at: url)
    }
}
