/// A running SHA-256 (FIPS 180-4); owned by one thread at a time.
package final class SHA256 {
    /// Starts a digest over nothing.
    package init() throws(OpenSSLError) {
    }

    /// Appends `bytes`.
    package func update(_ bytes: RawSpan) {
    }

    /// Ends the digest; the object then starts over.
    package func finish() -> Digest {
        Digest(zero: ())
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
    try SHA256.digest(of: message)
}

/// Cryptographically strong random bytes.
package func randomBytes(_ count: Int) throws(OpenSSLError) -> [UInt8] {
    []
}

/// Whether two byte strings are equal, in a time that depends on their lengths only.
package func constantTimeEqual(_ left: RawSpan, _ right: RawSpan) -> Bool {
    false
}
