import CPlatform
import Glibc

/// One plain exchange with a server on a numeric address: what a health check needs and no more.
package enum PlainClient {
    /// Connects, sends `request` and returns what comes back until the server closes or `limit` bytes came.
    package static func exchange(
        host: String, port: UInt16, request: [UInt8], limit: Int, patience: Duration
    ) throws(SocketError) -> [UInt8] {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        let numeric = host == "localhost" ? "127.0.0.1" : host
        guard unsafe inet_pton(AF_INET, numeric, &address.sin_addr) == 1 else {
            throw .system(call: "inet_pton", errno: EINVAL)
        }
        let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard number >= 0 else { throw .system(call: "socket", errno: errno) }
        let descriptor = Descriptor(owning: number)
        var wait = timeval(tv_sec: Int(patience.components.seconds), tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            let code = unsafe setsockopt(
                descriptor.number, SOL_SOCKET, option, &wait, socklen_t(MemoryLayout<timeval>.size))
            guard code == 0 else { throw .system(call: "setsockopt", errno: errno) }
        }
        let connected = unsafe withUnsafePointer(to: address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(descriptor.number, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard connected == 0 else { throw .system(call: "connect", errno: errno) }
        let sent = unsafe request.withUnsafeBytes {
            unsafe send(descriptor.number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
        guard sent == request.count else { throw .system(call: "send", errno: errno) }
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while answer.count < limit {
            let count = unsafe buffer.withUnsafeMutableBytes {
                unsafe recv(descriptor.number, $0.baseAddress, $0.count, 0)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .system(call: "recv", errno: errno) }
            if count == 0 { break }
            answer += buffer.prefix(count)
        }
        return answer
    }
}
