import Foundation
import OpenSSL
import Testing

private func sha256(_ bytes: [UInt8]) throws -> Digest {
    unsafe try SHA256.digest(of: bytes.span.bytes)
}

@Suite struct SHA256Tests {
    /// FIPS 180-4 examples (NIST CSRC, "SHA256.pdf") and the empty message of the CAVP short-message vectors.
    @Test(arguments: [
        ("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
        (
            "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
                + "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            1, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"
        ),
        ("a", 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ])
    func vectors(_ text: String, _ times: Int, _ hex: String) throws {
        let message = Array(String(repeating: text, count: times).utf8)
        #expect(try sha256(message).hex == hex)
        #expect(try sha256(message) == Digest(hex: hex))
    }

    @Test func anySplitGivesTheSameDigest() throws {
        let message = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let whole = try sha256(message)
        let running = try SHA256()
        for step in [1, 3, 63, 64, 65, 127, 999, 1000] {
            for start in stride(from: 0, to: 1000, by: step) {
                let piece = Array(message[start..<min(start + step, 1000)])
                unsafe running.update(piece.span.bytes)
            }
            // The same object again: `finish` starts over.
            #expect(running.finish() == whole)
        }
    }
}

@Suite struct DigestTests {
    @Test func formsAgreeWithFoundation() throws {
        for seed in 0..<64 {
            let bytes = (0..<32).map { UInt8(truncatingIfNeeded: $0 * 89 + seed * 37) }
            let digest = try #require(Digest(bytes: bytes))
            #expect(digest.bytes == bytes)
            #expect(digest.base64 == Data(bytes).base64EncodedString())
            #expect(digest.hex == bytes.map { String(format: "%02x", $0) }.joined())
            #expect(Digest(hex: digest.hex) == digest)
        }
    }

    @Test func onlySixtyFourSmallDigitsAreHex() {
        let zeros = String(repeating: "0", count: 63)
        #expect(Digest(hex: zeros + "f") != nil)
        for hex in ["", zeros, zeros + "00", zeros + "F", zeros + "g", zeros + " ", "0x" + zeros.dropFirst()] {
            #expect(Digest(hex: hex) == nil)
        }
        #expect(Digest(bytes: [UInt8](repeating: 0, count: 31)) == nil)
        #expect(Digest(bytes: [UInt8](repeating: 0, count: 33)) == nil)
    }
}
