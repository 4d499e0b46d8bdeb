internal import COpenSSL

/// A running SHA-256 (FIPS 180-4); used by one thread at a time.
@safe package final class SHA256 {
    /// Invariant: valid and initialized for SHA-256 from `init` to `deinit`.
    private let state: OpaquePointer

    /// Starts a digest over nothing; fails when OpenSSL has no memory or no SHA-256.
    package init() throws(OpenSSLError) {
        ERR_clear_error()
        guard let state = unsafe EVP_MD_CTX_new() else { throw OpenSSLError(operation: "EVP_MD_CTX_new") }
        guard unsafe EVP_DigestInit_ex(state, EVP_sha256(), nil) == 1 else {
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

    /// The digest of all bytes so far; the object then starts over.
    package func finish() -> Digest {
        var octets = SIMD32<UInt8>()
        let done = unsafe withUnsafeMutableBytes(of: &octets) {
            unsafe EVP_DigestFinal_ex(state, $0.bindMemory(to: UInt8.self).baseAddress, nil)
        }
        // As above; a second initialization with the same algorithm allocates nothing.
        precondition(unsafe done == 1 && EVP_DigestInit_ex(state, nil, nil) == 1)
        return Digest(octets: octets)
    }

    /// The digest of bytes that are held already.
    package static func digest(of bytes: [UInt8]) throws(OpenSSLError) -> Digest {
        try digest(of: unsafe bytes.span.bytes)
    }

    /// The digest of `bytes`.
    package static func digest(of bytes: RawSpan) throws(OpenSSLError) -> Digest {
        let running = try SHA256()
        running.update(bytes)
        return running.finish()
    }
}
