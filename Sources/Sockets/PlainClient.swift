import CPlatform
import Glibc

/// One plain exchange with a server: what a health check needs and no more.
package enum PlainClient {
    /// Connects, sends `request` and returns what comes back until the server closes or `limit` bytes came.
    package static func exchange(
        at place: SocketPlace, request: [UInt8], limit: Int, patience: Duration
    ) throws(SocketError) -> [UInt8] {
        let milliseconds = wholeMilliseconds(patience)
        let number: Int32
        switch place {
        case .network(let host, let port):
            number = unsafe host.withCString { unsafe viva_connect($0, port, milliseconds) }
            if number <= VIVA_LOOKUP_FAILED { throw .lookup(host: host, code: VIVA_LOOKUP_FAILED - number) }
        case .local(let path):
            number = unsafe path.withCString { unsafe viva_connect_local($0, milliseconds) }
        }
        guard number >= 0 else { throw .system(call: "connect", errno: -number) }
        let descriptor = Descriptor(owning: number)
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
