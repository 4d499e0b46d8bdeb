package import Sockets

/// One `--listen`: where, and with TLS or without.
package struct ListenAddress: Sendable, Equatable {
    /// Where it is reached.
    package var place: SocketPlace
    /// Whether it speaks TLS; nil: as soon as there is a certificate.
    package var isSecure: Bool?

    /// An address by its parts.
    package init(_ place: SocketPlace, isSecure: Bool? = nil) {
        self.place = place
        self.isSecure = isSecure
    }

    /// Reads `HOST:PORT`, `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`, hosts of IPv6 in brackets; nil for
    /// anything else.
    package init?(_ text: String) {
        if text.hasPrefix("unix:") {
            let path = text.dropFirst("unix:".count)
            guard !path.isEmpty else { return nil }
            self.init(.local(path: String(path)), isSecure: false)
            return
        }
        var rest = text[...]
        var isSecure: Bool?
        for (scheme, secure) in [("http://", false), ("https://", true)] where text.hasPrefix(scheme) {
            rest = rest.dropFirst(scheme.count)
            isSecure = secure
        }
        guard let colon = rest.lastIndex(of: ":"), let port = UInt16(rest[rest.index(after: colon)...]) else {
            return nil
        }
        var host = rest[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            return nil
        }
        guard !host.isEmpty, !host.contains("/") else { return nil }
        self.init(.network(host: String(host), port: port), isSecure: isSecure)
    }

    /// Whether only this machine reaches it.
    var isLoopback: Bool {
        switch place {
        case .local: true
        case .network(let host, _): host == "localhost" || host == "::1" || host.hasPrefix("127.")
        }
    }

    /// Whether it speaks TLS where a certificate is there, or is not.
    func isSecure(certificate: Bool) -> Bool { isSecure ?? certificate }

    /// The URL at which a bound address is reached.
    static func url(_ address: SocketAddress, isSecure: Bool) -> String {
        address.isLocal ? address.description : "\(isSecure ? "https" : "http")://\(address)"
    }
}
