/// What a `Content-Digest` or `Repr-Digest` field says about SHA-256 (RFC 9530).
package enum ContentDigest: Sendable, Equatable {
    /// No field, or none of its algorithms is sha-256.
    case absent
    /// The 32 bytes of the sha-256 digest.
    case sha256([UInt8])
    /// The field is not a dictionary of byte sequences, or the digest is not 32 bytes long.
    case malformed

    /// Reads the field's value, nil when the field is missing.
    package static func parse(_ value: String?) -> ContentDigest {
        .absent
    }
}
