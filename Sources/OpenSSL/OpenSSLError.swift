/// A call into OpenSSL that failed.
package struct OpenSSLError: Error, Sendable, Equatable {
    /// The call that failed, for instance `SSL_CTX_use_certificate_chain_file`.
    package let operation: String
    /// The reason strings of OpenSSL's error queue, oldest first; empty when it gave none.
    package let reasons: [String]
}
