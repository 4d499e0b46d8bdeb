package import OpenSSL

/// Why a descriptor, a listener or a transport could not do what was asked, with the evidence.
package enum SocketError: Error, Sendable, Equatable {
    /// A system call failed: its name and `errno`.
    case system(call: String, errno: Int32)
    /// The host has no address: `code` is an EAI code of getaddrinfo.
    case lookup(host: String, code: Int32)
    /// The deadline passed, or the peer took no bytes for the stall limit.
    case timedOut
    /// The server stops and ends its waits.
    case interrupted
    /// The peer broke the connection, or the session under it ended while bytes were to be sent.
    case disconnected
    /// The peer speaks HTTP where TLS is spoken: the transport is a plain one from now on, and may answer so.
    case plainHTTP
    /// The TLS session is broken.
    case tls(OpenSSLError)
}
