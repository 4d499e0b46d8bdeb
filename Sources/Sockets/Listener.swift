import CPlatform
import Glibc

/// Where a server can be reached.
package enum SocketPlace: Sendable, Equatable, CustomStringConvertible {
    /// A name, with all its addresses, or an address in numbers (`127.0.0.1`, `::1`, `0.0.0.0`), and a port; 0 takes a
    /// free one.
    case network(host: String, port: UInt16)
    /// A local socket's file (unix(7)).
    case local(path: String)

    /// `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/viva.sock`.
    package var description: String {
        switch self {
        case .network(let host, let port): SocketAddress(host: host, port: port).description
        case .local(let path): "unix:\(path)"
        }
    }
}

/// A host, as numbers, and a port; of a local socket `unix:`, its path, and no port.
package struct SocketAddress: Sendable, Equatable, CustomStringConvertible {
    /// The numeric host: `127.0.0.1`, `::1`.
    package let host: String
    /// The port; 0 of a local socket.
    package let port: UInt16

    /// An address by its parts.
    package init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// Whether it is a local socket, whose clients have no address.
    package var isLocal: Bool { host.hasPrefix("unix:") }
    /// Whether only this machine reaches it.
    package var isLoopback: Bool { isLocal || host == "::1" || host.hasPrefix("127.") }

    /// `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/viva.sock`.
    package var description: String {
        isLocal ? host : host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// Asks the kernel for this end's name, or the peer's.
    static func of(_ descriptor: borrowing Descriptor, peer: Bool) throws(SocketError) -> SocketAddress {
        let number = descriptor.number
        var port: Int32 = 0
        // Enough for the longest numeric IPv6 address with a scope, and for the longest path of a local socket.
        let host = unsafe String(unsafeUninitializedCapacity: 128) { bytes in
            unsafe bytes.withMemoryRebound(to: CChar.self) { text in
                port = unsafe viva_socket_name(number, peer ? 1 : 0, text.baseAddress, text.count)
                return port < 0 ? 0 : unsafe text.firstIndex(of: 0) ?? 0
            }
        }
        guard port >= 0 else { throw .system(call: peer ? "getpeername" : "getsockname", errno: -port) }
        return SocketAddress(host: host, port: UInt16(truncatingIfNeeded: port))
    }
}

/// A listening socket, non-blocking, with SO_REUSEADDR.
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
    /// The file that this listener has made, and removes when it ends.
    private let path: String?

    /// How often a free port is looked for that all addresses of a name have.
    private static let attempts = 16
    private static let backlog: Int32 = 4096

    /// Binds every address of a place, and listens: a name may have several, which get the same port, whether one was
    /// asked for or any. An address that this machine does not have is left out, unless there is no other.
    ///
    /// - Parameter places: all that are asked for: `[::]` takes IPv4 too, unless one of them has it at that port.
    package static func bind<Bound>(
        _ place: SocketPlace, of places: [SocketPlace], _ make: (consuming Listener) -> Bound
    ) throws(SocketError) -> [Bound] {
        guard case .network(let host, let port) = place else { return [make(try Listener(at: place))] }
        let isAlone = places.contains { other in
            if case .network(let name, port) = other { port != 0 && !name.contains(":") } else { false }
        }
        let hosts = try addresses(of: host)
        for _ in 1..<(port == 0 && hosts.count > 1 ? attempts : 1) {
            do throws(SocketError) {
                return try bind(hosts, port, isAlone, make)
            } catch {
                // The port that one address got is another's at the next.
                guard error == .system(call: "bind", errno: EADDRINUSE) else { throw error }
            }
        }
        return try bind(hosts, port, isAlone, make)
    }

    static func bind<Bound>(
        _ hosts: [String], _ port: UInt16, _ isAlone: Bool = false, _ make: (consuming Listener) -> Bound
    ) throws(SocketError) -> [Bound] {
        var port = port
        var bound: [Bound] = []
        var missing = SocketError.system(call: "bind", errno: EADDRNOTAVAIL)
        for host in hosts {
            do throws(SocketError) {
                let listener = try Listener(at: .network(host: host, port: port), isAlone: isAlone)
                port = listener.address.port
                bound.append(make(listener))
            } catch .system(let call, let number) where number == EADDRNOTAVAIL || number == EAFNOSUPPORT {
                missing = .system(call: call, errno: number)
            }
        }
        guard !bound.isEmpty else { throw missing }
        return bound
    }

    /// The addresses of a host in numbers, in the order of the system's preference.
    private static func addresses(of host: String) throws(SocketError) -> [String] {
        var code: Int32 = 0
        let text = unsafe String(unsafeUninitializedCapacity: 4096) { bytes in
            unsafe bytes.withMemoryRebound(to: CChar.self) { text in
                code = unsafe host.withCString { unsafe viva_look_up($0, text.baseAddress, text.count) }
                return code < 0 ? 0 : unsafe text.firstIndex(of: 0) ?? 0
            }
        }
        if code < 0 { throw .lookup(host: host, code: VIVA_LOOKUP_FAILED - code) }
        // A file of hosts may say the same twice.
        return text.split(separator: " ").map(String.init).reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }

    /// Binds the first address of a place, and listens; on `::` without IPv4 where `isAlone`.
    package init(at place: SocketPlace, isAlone: Bool = false) throws(SocketError) {
        let number: Int32
        let file: String?
        switch place {
        case .network(let host, let port):
            number = unsafe host.withCString { unsafe viva_listen($0, port, isAlone ? 1 : 0, Self.backlog) }
            if number <= VIVA_LOOKUP_FAILED { throw .lookup(host: host, code: VIVA_LOOKUP_FAILED - number) }
            file = nil
        case .local(let path):
            number = unsafe path.withCString { unsafe viva_listen_local($0, Self.backlog) }
            file = path
        }
        guard number >= 0 else { throw .system(call: "bind", errno: -number) }
        let descriptor = Descriptor(owning: number)
        let address = try SocketAddress.of(descriptor, peer: false)
        self.init(descriptor, address, path: file)
    }

    private init(_ descriptor: consuming Descriptor, _ address: SocketAddress, path: String?) {
        self.descriptor = descriptor
        self.address = address
        self.path = path
    }

    /// Takes over a listening socket that another process has bound; anything else throws.
    package init(inheriting number: Int32) throws(SocketError) {
        let code = viva_adopt_listener(number)
        guard code >= 0 else { throw .system(call: "adopt listener", errno: -code) }
        let descriptor = Descriptor(owning: number)
        let address = try SocketAddress.of(descriptor, peer: false)
        self.init(descriptor, address, path: nil)
    }

    deinit {
        // ENOENT: somebody was faster, and it is gone.
        if let path { _ = unsafe unlink(path) }
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
