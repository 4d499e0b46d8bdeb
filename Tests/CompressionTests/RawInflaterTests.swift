import Compression
import Foundation
import Testing

/// Bare deflate as Python's zlib writes it, and the CRC-32 of its table.
@Suite struct RawInflaterTests {
    /// 3000 bytes that Python made: `bytes(i * i % 251 for i in range(3000))`.
    private static let plain = (0..<3000).map { UInt8($0 * $0 % 251) }

    /// The same deflated: `zlib.compressobj(9, zlib.DEFLATED, -15)`.
    private static let packed: [UInt8] = {
        let program = """
            import sys, zlib
            deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
            data = bytes(i * i % 251 for i in range(3000))
            sys.stdout.buffer.write(deflate.compress(data) + deflate.flush())
            """
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", "-c", program]
        let pipe = Pipe()
        process.standardOutput = pipe
        do {
            try process.run()
            return Array(try pipe.fileHandleForReading.readToEnd() ?? Data())
        } catch {
            Issue.record("python3 does not run: \(error)")
            return []
        }
    }()

    /// Inflates in pieces; `room` bytes come out at a time.
    private func inflate(
        _ input: [UInt8], step: Int, room: Int
    ) throws -> (output: [UInt8], consumed: Int, finished: Bool) {
        let inflater = try RawInflater()
        return try inflateAll(input, step: step, room: room, endsAtStream: true) { try inflater.inflate($0, into: &$1) }
    }

    @Test(arguments: [1, 7, 100_000], [1, 13, 100_000])
    func anySplitGivesTheSameOutput(_ step: Int, _ room: Int) throws {
        let result = try inflate(Self.packed, step: step, room: room)
        #expect(result.output == Self.plain)
        #expect(result.finished && result.consumed == Self.packed.count)
    }

    @Test func whatFollowsTheStreamIsLeft() throws {
        let result = try inflate(Self.packed + [1, 2, 3], step: 100_000, room: 100_000)
        #expect(result.output == Self.plain)
        #expect(result.finished && result.consumed == Self.packed.count)
    }

    @Test func noTruncatedStreamIsFinished() throws {
        for count in stride(from: 0, to: Self.packed.count, by: 17) {
            #expect(try !inflate(Array(Self.packed[..<count]), step: 100, room: 100_000).finished)
        }
    }

    @Test func damageIsRefused() {
        // Block type 3 does not exist; a stored block's length must be followed by its complement (RFC 1951 3.2.4).
        for bytes: [UInt8] in [[0x07], [0x01, 5, 0, 0, 0]] {
            #expect(throws: CompressionError.self) { try inflate(bytes, step: 10, room: 10) }
        }
    }

    @Test func checksums() {
        // The check value of CRC-32/ISO-HDLC.
        let digits = Array("123456789".utf8)
        let whole = unsafe checksum(digits.span.bytes)
        #expect(whole == 0xCBF4_3926)
        let first = unsafe checksum(digits.span.extracting(first: 4).bytes)
        let second = unsafe checksum(digits.span.extracting(droppingFirst: 4).bytes, following: first)
        #expect(second == 0xCBF4_3926)
        let nothing = unsafe checksum(digits.span.extracting(first: 0).bytes, following: 7)
        #expect(nothing == 7)
    }
}
