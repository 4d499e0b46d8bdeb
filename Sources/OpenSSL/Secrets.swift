internal import COpenSSL

/// Bytes that nobody can guess.
package enum RandomBytes {
    /// Fresh bytes of OpenSSL's private generator, which the system seeds (RAND_priv_bytes(3)).
    package static func fresh(_ count: Int) throws(OpenSSLError) -> [UInt8] {
        ERR_clear_error()
        var bytes = [UInt8](repeating: 0, count: count)
        let done = unsafe bytes.withUnsafeMutableBufferPointer { buffer in
            // Invariant: `count` is the buffer's own, and the call writes no further.
            unsafe RAND_priv_bytes(buffer.baseAddress, Int32(clamping: buffer.count))
        }
        guard done == 1 else { throw OpenSSLError(operation: "RAND_priv_bytes") }
        return bytes
    }
}

extension Digest {
    /// Whether two digests are the same, in a time that does not depend on where they differ (CRYPTO_memcmp(3)).
    package func matches(_ other: Digest) -> Bool {
        let (mine, its) = (bytes, other.bytes)
        // Invariant: both have 32 bytes, whatever the digests are.
        return unsafe mine.withUnsafeBytes { mine in
            unsafe its.withUnsafeBytes { its in unsafe CRYPTO_memcmp(mine.baseAddress, its.baseAddress, 32) == 0 }
        }
    }
}
