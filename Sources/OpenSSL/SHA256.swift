internal import COpenSSL

/// A running SHA-256 (FIPS 180-4) that can be put aside and taken up again; used by one thread at a time.
///
/// It calls what OpenSSL 3 deprecates, for only that gives its state away: docs/decisions/0011.
@safe package final class SHA256 {
    /// Invariant: initialized from `init` to `deinit`; its `num` bytes of `data` are those of an unfinished block.
    private var context = SHA256_CTX()

    /// Starts a digest over nothing; fails when OpenSSL has no SHA-256.
    package init() throws(OpenSSLError) {
        try start()
    }

    /// Goes on where the digest stood whose `state` this is.
    package init(state: [UInt8]) throws(SHA256StateError) {
        let blockStart = 1 + 8 * 4 + 8
        guard let version = state.first, version == Self.stateVersion else { throw .version(state.first) }
        guard state.count >= blockStart else { throw .length(state.count) }
        // The count of FIPS 180-4 is one of bits below 2^64.
        let count = Self.integer(state[(blockStart - 8)...].prefix(8))
        let held = Int(count % 64)
        guard count < 1 << 61, state.count == blockStart + held else { throw .length(state.count) }
        do throws(OpenSSLError) {
            try start()
        } catch {
            throw .library(error)
        }
        unsafe withUnsafeMutableBytes(of: &context.h) { words in
            for index in 0..<8 {
                let word = UInt32(Self.integer(state[(1 + 4 * index)...].prefix(4)))
                unsafe words.storeBytes(of: word, toByteOffset: 4 * index, as: UInt32.self)
            }
        }
        (context.Nh, context.Nl) = (UInt32(count >> 29), UInt32(truncatingIfNeeded: count << 3))
        context.num = UInt32(held)
        unsafe withUnsafeMutableBytes(of: &context.data) { unsafe $0.copyBytes(from: state[blockStart...]) }
    }

    /// Where the digest stands, for `init(state:)` in any process on any machine, 41 to 104 bytes: a version, the eight
    /// words of the hash value and the count of bytes, most significant byte first, and the bytes of the unfinished
    /// block.
    package func state() -> [UInt8] {
        var state = [Self.stateVersion]
        let words = unsafe withUnsafeBytes(of: context.h) { unsafe Array($0.bindMemory(to: UInt32.self)) }
        for word in words { state += (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * $0)) } }
        let count = UInt64(context.Nh) << 29 | UInt64(context.Nl) >> 3
        state += (0..<8).map { UInt8(truncatingIfNeeded: count >> (56 - 8 * $0)) }
        unsafe withUnsafeBytes(of: context.data) { unsafe state.append(contentsOf: $0.prefix(Int(count % 64))) }
        return state
    }

    /// Appends `bytes`.
    package func update(_ bytes: RawSpan) {
        let done = unsafe bytes.withUnsafeBytes { unsafe viva_sha256_update(&context, $0.baseAddress, $0.count) }
        // No content makes this fail.
        precondition(done == 1)
    }

    /// The digest of all bytes so far; the object then starts over.
    package func finish() -> Digest {
        var octets = SIMD32<UInt8>()
        let done = unsafe withUnsafeMutableBytes(of: &octets) {
            unsafe viva_sha256_final($0.bindMemory(to: UInt8.self).baseAddress, &context)
        }
        // As above: both only compute, and the library had the algorithm before.
        precondition(unsafe done == 1 && viva_sha256_init(&context) == 1)
        return Digest(octets: octets)
    }

    private func start() throws(OpenSSLError) {
        ERR_clear_error()
        guard unsafe viva_sha256_init(&context) == 1 else { throw OpenSSLError(operation: "SHA256_Init") }
    }

    private static let stateVersion: UInt8 = 1

    private static func integer(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }

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

/// Why bytes are no state of a SHA-256.
package enum SHA256StateError: Error, Sendable, Equatable {
    /// The version, nil of no bytes at all, is not the one that this code writes.
    case version(UInt8?)
    /// So many bytes are too many or too few for the count of bytes that they tell.
    case length(Int)
    /// OpenSSL has no SHA-256.
    case library(OpenSSLError)
}
