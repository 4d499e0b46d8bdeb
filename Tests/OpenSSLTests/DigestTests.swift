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

    /// The state is taken out after any number of bytes and put into another object; it does not disturb its own.
    @Test func theStateGoesOnElsewhere() throws {
        let message = (0..<300).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ 7) }
        let whole = try sha256(message)
        for cut in 0...300 {
            let first = try SHA256()
            unsafe first.update(Array(message[..<cut]).span.bytes)
            let state = first.state()
            #expect(state.count == 41 + cut % 64)
            let second = try SHA256(state: state)
            #expect(second.state() == state)
            for running in [first, second] {
                unsafe running.update(Array(message[cut...]).span.bytes)
                #expect(running.finish() == whole)
                // It starts over, whatever it began with.
                #expect(running.state() == (try SHA256()).state())
            }
        }
    }

    /// The hash value before the first block as FIPS 180-4 prints it (5.3.3), and a count of bytes beyond 32 bits.
    @Test func theStateIsPortable() throws {
        let start: [UInt8] =
            [1]
            + [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19]
            .flatMap { (word: UInt32) in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * $0)) } }
        #expect(try SHA256().state() == start + [UInt8](repeating: 0, count: 8))
        let far = start + [0, 0, 0x10, 0, 0, 0, 0, 2] + Array("ab".utf8)
        #expect(try SHA256(state: far).state() == far)
    }

    @Test func aStateThatIsNoneIsRefused() throws {
        let running = try SHA256()
        unsafe running.update(Array("abc".utf8).span.bytes)
        let state = running.state()
        for count in 1..<state.count {
            #expect(throws: SHA256StateError.length(count)) { try SHA256(state: Array(state[..<count])) }
        }
        #expect(throws: SHA256StateError.length(45)) { try SHA256(state: state + [0]) }
        #expect(throws: SHA256StateError.version(nil)) { try SHA256(state: []) }
        #expect(throws: SHA256StateError.version(2)) { try SHA256(state: [2] + state.dropFirst()) }
        // More bytes than SHA-256 is defined for, and a count that the held bytes contradict.
        for (place, value) in [(33, UInt8(0x20)), (40, 4), (40, 2), (40, 64)] {
            var other = state
            other[place] = value
            #expect(throws: SHA256StateError.length(state.count)) { try SHA256(state: other) }
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
