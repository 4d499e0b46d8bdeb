import CPlatform
import Glibc

/// A host, as numbers, and a port.
package struct SocketAddress: Sendable, Equatable, CustomStringConvertible {
    /// The numeric host: `127.0.0.1`, `::1`.
    package let host: String
    /// The port.
    package let port: UInt16

    /// `127.0.0.1:8080` or `[::1]:8080`.
    package var description: String {
        host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// Asks the kernel for this end's name, or the peer's.
    static func of(_ descriptor: borrowing Descriptor, peer: Bool) throws(SocketError) -> SocketAddress {
        let number = descriptor.number
        var port: Int32 = 0
        // 64 bytes hold the longest numeric IPv6 address with a scope.
        let host = unsafe String(unsafeUninitializedCapacity: 64) { bytes in
            unsafe bytes.withMemoryRebound(to: CChar.self) { text in
                port = unsafe viva_socket_name(number, peer ? 1 : 0, text.baseAddress, 64)
                return port < 0 ? 0 : unsafe text.firstIndex(of: 0) ?? 0
            }
        }
        guard port >= 0 else { throw .system(call: peer ? "getpeername" : "getsockname", errno: -port) }
        return SocketAddress(host: host, port: UInt16(truncatingIfNeeded: port))
    }
}

/// A listening TCP socket, non-blocking, with SO_REUSEADDR.
package struct Listener: ~Copyable, Sendable {
    /// What an attempt to accept brought.
    package enum Arrival: ~Copyable {
        /// A connection, non-blocking and close-on-exec, with TCP_NODELAY.
        case connection(Descriptor)
        /// Nobody waits.
        case none
        /// The process or the system has no descriptor or memory left: pause, or the poller spins.
        case exhausted
    }

    /// What a poller watches.
    package let descriptor: Descriptor
    /// The bound address.
    package let address: SocketAddress

    /// Binds `host` (a name, `127.0.0.1`, `::1`, `0.0.0.0`) and listens; port 0 takes a free one.
    package init(host: String, port: UInt16, backlog: Int32 = 4096) throws(SocketError) {
        let number = unsafe host.withCString { unsafe viva_listen($0, port, backlog) }
        if number <= VIVA_LOOKUP_FAILED { throw .lookup(host: host, code: VIVA_LOOKUP_FAILED - number) }
        guard number >= 0 else { throw .system(call: "bind", errno: -number) }
        let descriptor = Descriptor(owning: number)
        address = try SocketAddress.of(descriptor, peer: false)
        self.descriptor = descriptor
    }

    /// Takes over a listening socket that another process has bound; anything else throws.
    package init(inheriting number: Int32) throws(SocketError) {
        let code = viva_adopt_listener(number)
        guard code >= 0 else { throw .system(call: "adopt listener", errno: -code) }
        let descriptor = Descriptor(owning: number)
        address = try SocketAddress.of(descriptor, peer: false)
        self.descriptor = descriptor
    }

    /// Accepts one connection if one waits; a connection that broke while it waited is skipped.
    package func accept() throws(SocketError) -> Arrival {
        while true {
            let number = viva_accept(descriptor.number)
            if number >= 0 { return .connection(Descriptor(owning: number)) }
            switch -number {
            case EAGAIN: return .none
            case EMFILE, ENFILE, ENOBUFS, ENOMEM: return .exhausted
            // accept(2): pending network errors of the new socket are reported here and concern only it.
            case ECONNABORTED, EPERM, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, EHOSTUNREACH, ENETUNREACH: continue
            default: throw .system(call: "accept4", errno: -number)
            }
        }
    }
}
