/// A SHA-256 digest: 32 bytes.
package struct Digest: Hashable, Sendable {
    private var words: [UInt8]

    /// Reads 64 lower-case hexadecimal digits; nil for anything else.
    package init?(hex: some StringProtocol) {
        return nil
    }

    init(zero: Void) {
        words = [UInt8](repeating: 0, count: 32)
    }

    /// Takes exactly 32 bytes; nil for any other count.
    package init?(bytes: some Collection<UInt8>) {
        return nil
    }

    /// The 64 lower-case hexadecimal digits.
    package var hex: String { "" }

    /// The padded base64 form, as RFC 9530 and RFC 8941 byte sequences hold it.
    package var base64: String { "" }

    /// The 32 bytes.
    package var bytes: [UInt8] { words }
}
