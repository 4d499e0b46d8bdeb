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

/// The HMAC-SHA-256 of `message` under `key` (RFC 2104).
package func hmacSHA256(key: RawSpan, message: RawSpan) throws(OpenSSLError) -> Digest {
    ERR_clear_error()
    var octets = SIMD32<UInt8>()
    var length = 0
    // An empty key is legal, but OpenSSL reads a null pointer as "no key set".
    var empty: UInt8 = 0
    let result = unsafe withUnsafeMutableBytes(of: &octets) { output in
        unsafe key.withUnsafeBytes { key in
            unsafe message.withUnsafeBytes { message in
                unsafe withUnsafePointer(to: &empty) { empty in
                    unsafe EVP_Q_mac(
                        nil, "HMAC", nil, "SHA256", nil, key.baseAddress ?? UnsafeRawPointer(empty), key.count,
                        message.bindMemory(to: UInt8.self).baseAddress, message.count,
                        output.bindMemory(to: UInt8.self).baseAddress, output.count, &length)
                }
            }
        }
    }
    guard unsafe result != nil, length == 32 else { throw OpenSSLError(operation: "EVP_Q_mac") }
    return Digest(octets: octets)
}

/// `count` bytes that no one can guess (`RAND_bytes`).
package func randomBytes(_ count: Int) throws(OpenSSLError) -> [UInt8] {
    ERR_clear_error()
    guard let length = Int32(exactly: count), length >= 0 else { throw OpenSSLError(operation: "RAND_bytes") }
    var bytes = [UInt8](repeating: 0, count: count)
    guard unsafe RAND_bytes(&bytes, length) == 1 else { throw OpenSSLError(operation: "RAND_bytes") }
    return bytes
}

/// Whether two byte strings are equal, in a time that depends on their lengths only.
package func constantTimeEqual(_ left: RawSpan, _ right: RawSpan) -> Bool {
    guard left.byteCount == right.byteCount else { return false }
    return unsafe left.withUnsafeBytes { left in
        unsafe right.withUnsafeBytes { right in
            unsafe CRYPTO_memcmp(left.baseAddress, right.baseAddress, left.count) == 0
        }
    }
}
