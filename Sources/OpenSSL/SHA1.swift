internal import COpenSSL

/// A running SHA-1 (FIPS 180-4), for protocols that compare transfers with it; used by one thread at a time.
@safe package final class SHA1 {
    /// Invariant: valid and initialized for SHA-1 from `init` to `deinit`.
    private let state: OpaquePointer

    /// Starts a digest over nothing; fails when OpenSSL has no memory or no SHA-1.
    package init() throws(OpenSSLError) {
        ERR_clear_error()
        guard let state = unsafe EVP_MD_CTX_new() else { throw OpenSSLError(operation: "EVP_MD_CTX_new") }
        guard unsafe EVP_DigestInit_ex(state, EVP_sha1(), nil) == 1 else {
            unsafe EVP_MD_CTX_free(state)
            throw OpenSSLError(operation: "EVP_DigestInit_ex")
        }
        unsafe self.state = state
    }

    deinit {
        unsafe EVP_MD_CTX_free(state)
    }

    /// Appends `bytes`.
    package func update(_ bytes: RawSpan) {
        let done = unsafe bytes.withUnsafeBytes { unsafe EVP_DigestUpdate(state, $0.baseAddress, $0.count) }
        // No content makes this fail, only a context that was never initialized.
        precondition(done == 1)
    }

    /// The 20 bytes of the digest of all bytes so far. Once only.
    package func finish() -> [UInt8] {
        var octets = [UInt8](repeating: 0, count: 20)
        let done = unsafe octets.withUnsafeMutableBufferPointer {
            unsafe EVP_DigestFinal_ex(state, $0.baseAddress, nil)
        }
        // As above.
        precondition(done == 1)
        return octets
    }
}
