import OpenSSL

/// Where a quantization stood when all before it was durable: what another process needs to go on, as bytes.
///
/// ```
/// version | head bytes, 8, little-endian | length of the hash | state of the hash | state of the session | SHA-256
/// ```
struct QuantizationCheckpoint: Equatable {
    /// Bytes from the start of the input that lie in `head` and are given to the new session first.
    var headBytes: Int
    /// The state of the running SHA-256 of the input.
    var hash: [UInt8]
    /// The state of the session.
    var session: [UInt8]

    private static let version: UInt8 = 1

    init(headBytes: Int, hash: [UInt8], session: [UInt8]) {
        self.headBytes = headBytes
        self.hash = hash
        self.session = session
    }

    /// Reads what `bytes()` gave; nil for anything else, so that nothing goes on from what is not whole.
    init?(_ bytes: [UInt8]) throws(OpenSSLError) {
        guard bytes.count >= 42, bytes[0] == Self.version else { return nil }
        let body = Array(bytes.dropLast(32))
        guard try SHA256.digest(of: body).bytes == Array(bytes.suffix(32)) else { return nil }
        let head = body[1..<9].reversed().reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
        let hashEnd = 10 + Int(body[9])
        guard let headBytes = Int(exactly: head), hashEnd <= body.count else { return nil }
        self.init(headBytes: headBytes, hash: Array(body[10..<hashEnd]), session: Array(body[hashEnd...]))
    }

    func bytes() throws(OpenSSLError) -> [UInt8] {
        var bytes = [Self.version]
        bytes += (0..<8).map { UInt8(truncatingIfNeeded: headBytes >> (8 * $0)) }
        bytes.append(UInt8(truncatingIfNeeded: hash.count))
        bytes += hash + session
        return bytes + (try SHA256.digest(of: bytes)).bytes
    }
}
