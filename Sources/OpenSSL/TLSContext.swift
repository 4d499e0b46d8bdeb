/// The server's certificate, key and policy, shared by its sessions: TLS 1.2 and 1.3, ALPN `http/1.1`.
package final class TLSContext: Sendable {
    /// Reads a PEM certificate chain and its PEM key.
    package init(certificateFile: String, keyFile: String) throws(OpenSSLError) {
    }
}
