import OpenSSL

/// A key as its holder sends it: `viva_<id>_<secret>`.
///
/// The identifier, 64 random bits, is public: it names the owner. The secret is 256 random bits, of which only the
/// SHA-256 is kept: nobody can look for them in a dictionary, so a slow hash would protect nothing.
struct AccessKey: Sendable {
    /// 16 hexadecimal digits.
    let id: String
    /// 64 hexadecimal digits.
    private let secret: String

    private static let prefix = "viva"
    private static let idBytes = 8
    private static let secretBytes = 32

    /// A new key that nobody else has.
    init() throws(OpenSSLError) {
        id = hexadecimal(try RandomBytes.fresh(Self.idBytes))
        secret = hexadecimal(try RandomBytes.fresh(Self.secretBytes))
    }

    /// Reads a key; nil for text that is none.
    init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "_", maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == Self.prefix,
            Self.isHexadecimal(parts[1], digits: 2 * Self.idBytes),
            Self.isHexadecimal(parts[2], digits: 2 * Self.secretBytes)
        else { return nil }
        id = String(parts[1])
        secret = String(parts[2])
    }

    /// What the holder keeps.
    var text: String { "\(Self.prefix)_\(id)_\(secret)" }

    /// SHA-256 of the secret's digits: what the service keeps.
    func hash() throws(OpenSSLError) -> Digest { try SHA256.digest(of: Array(secret.utf8)) }

    private static func isHexadecimal(_ text: some StringProtocol, digits: Int) -> Bool {
        text.utf8.count == digits
            && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }
}
