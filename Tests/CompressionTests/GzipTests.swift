import Compression
import Foundation
import Testing

private let generous = InflateLimits(maxBytes: 1 << 30)

/// Inflates `input` in pieces of `step` bytes into buffers of `room` bytes.
private func inflate(
    _ input: [UInt8], step: Int = 1 << 16, room: Int = 1 << 16, limits: InflateLimits = generous
) throws -> (output: [UInt8], finished: Bool) {
    let inflater = try GzipInflater(limits: limits)
    let all = try inflateAll(input, step: step, room: room, endsAtStream: false) { try inflater.inflate($0, into: &$1) }
    return (all.output, all.finished)
}

private func compress(_ bytes: [UInt8], level: Int = 1) throws -> [UInt8] {
    unsafe try gzip(bytes.span.bytes, level: level)
}

/// Runs a program with `input` as its standard input; the oracle is never our own code.
private func run(_ program: String, _ arguments: [String], input: [UInt8]) throws -> [UInt8] {
    let folder = FileManager.default.temporaryDirectory
    let source = folder.appendingPathComponent(UUID().uuidString)
    try Data(input).write(to: source)
    defer { try? FileManager.default.removeItem(at: source) }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [program] + arguments
    process.standardInput = try FileHandle(forReadingFrom: source)
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
    return Array(output)
}

private func sample(_ count: Int) -> [UInt8] {
    var state: UInt64 = 42
    return (0..<count).map { index in
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return index % 3 == 0 ? UInt8(truncatingIfNeeded: state >> 56) : UInt8(index / 64 % 7)
    }
}

@Suite struct GzipInflaterTests {
    @Test(arguments: [0, 1, 100, 70_000, 3_000_000])
    func readsWhatTheGzipProgramWrites(_ count: Int) throws {
        let bytes = sample(count)
        let packed = try run("gzip", ["-c", "-6"], input: bytes)
        for (step, room) in [(1 << 16, 1 << 16), (4096, 1000), (1 << 20, 1 << 22)] {
            let result = try inflate(packed, step: step, room: room)
            #expect(result.output == bytes)
            #expect(result.finished)
        }
    }

    /// Header fields that the gzip program does not write: FEXTRA, FNAME, FCOMMENT, FHCRC (RFC 1952 section 2.3).
    @Test func readsEveryOptionalHeaderField() throws {
        let program = """
            import sys, zlib, struct
            data = sys.stdin.buffer.read()
            head = b"\\x1f\\x8b\\x08\\x1e\\0\\0\\0\\0\\0\\x03" + b"\\x04\\0abcd" + b"name\\0" + b"comment\\0"
            head += struct.pack("<H", zlib.crc32(head) & 0xffff)
            deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
            body = deflate.compress(data) + deflate.flush()
            sys.stdout.buffer.write(head + body + struct.pack("<II", zlib.crc32(data), len(data)))
            """
        let bytes = sample(5000)
        let packed = try run("python3", ["-c", program], input: bytes)
        #expect(try inflate(packed, step: 1).output == bytes)
    }

    @Test func anySplitGivesTheSameOutput() throws {
        let bytes = sample(300)
        let packed = try run("gzip", ["-c"], input: bytes) + run("gzip", ["-c"], input: bytes)
        for step in 1...packed.count {
            for room in [1, 7, 4096] {
                let result = try inflate(packed, step: step, room: room)
                #expect(result.output == bytes + bytes)
                #expect(result.finished)
            }
        }
    }

    @Test func everyTruncationIsSeen() throws {
        let bytes = sample(300)
        let packed = try run("gzip", ["-c"], input: bytes)
        for end in 0..<packed.count {
            let first = try inflate(Array(packed[..<end]))
            #expect(!first.finished)
            // A second member that is cut is no whole stream either; no byte of it is.
            let second = try inflate(packed + packed[..<end])
            #expect(second.finished == (end == 0))
        }
    }

    @Test func everyDamagedByteOfTheTrailerIsSeen() throws {
        let packed = try run("gzip", ["-c"], input: sample(300))
        for place in packed.count - 8..<packed.count {
            var damaged = packed
            damaged[place] ^= 1
            #expect(throws: CompressionError.self) { try inflate(damaged) }
        }
    }

    @Test func damageNeverTrapsNorPasses() throws {
        let bytes = sample(300)
        let packed = try run("gzip", ["-c"], input: bytes)
        for place in packed.indices {
            for bit in 0..<8 {
                var damaged = packed
                damaged[place] ^= 1 << UInt8(bit)
                // Flags, time and system of the header may differ without harm; content may not.
                guard let result = try? inflate(damaged), result.finished else { continue }
                #expect(result.output == bytes)
            }
        }
    }

    @Test func garbageAfterTheLastMemberIsRefused() throws {
        let packed = try run("gzip", ["-c"], input: sample(300))
        for garbage: [UInt8] in [[0], [0x50], Array("garbage".utf8)] {
            for step in [1, 1 << 16] {
                #expect(throws: CompressionError.trailingGarbage) { try inflate(packed + garbage, step: step) }
            }
        }
        #expect(throws: CompressionError.self) { try inflate(packed + [0x1F, 0x8C]) }
    }

    @Test(arguments: ["", "xy", "\u{1F}x", "plain text, not gzip", "\u{78}\u{9C}zlib"])
    func otherBytesAreNotGzip(_ text: String) throws {
        if text.isEmpty {
            #expect(try inflate([]).finished == false)
        } else {
            #expect(throws: CompressionError.self) { try inflate(Array(text.utf8)) }
        }
    }
}

@Suite struct InflateLimitTests {
    /// 64 MiB of zeros in about 64 KiB, as Python writes them.
    private static func bomb() throws -> [UInt8] {
        let program = "import gzip,sys; sys.stdout.buffer.write(gzip.compress(bytes(64 << 20), 9))"
        return try run("python3", ["-c", program], input: [])
    }

    @Test func bombsStopAtTheRatio() throws {
        let bomb = try Self.bomb()
        #expect(generous.maxRatio == 200)
        #expect(generous.ratioFloor == 1 << 20)
        for step in [100, 1 << 20] {
            do {
                _ = try inflate(bomb, step: step)
                Issue.record("inflated")
            } catch let error as CompressionError {
                guard case .ratio(let limit, let consumed, let produced) = error else {
                    Issue.record("\(error)")
                    continue
                }
                #expect(limit == 200 && produced > 200 * consumed)
                // One buffer beyond the floor at the most.
                #expect(produced <= 200 * consumed + (1 << 20) + (1 << 16))
            }
        }
        let lax = InflateLimits(maxBytes: 1 << 30, maxRatio: 2000)
        #expect(try inflate(bomb, limits: lax).output.count == 64 << 20)
    }

    @Test func bombsStopAtTheLength() throws {
        let limits = InflateLimits(maxBytes: 5 << 20, maxRatio: .max)
        #expect(throws: CompressionError.tooLong(limit: 5 << 20)) { try inflate(Self.bomb(), limits: limits) }
    }

    @Test func theLengthIsExactAndCountsAllMembers() throws {
        let packed = try run("gzip", ["-c"], input: sample(1000))
        #expect(try inflate(packed + packed, limits: InflateLimits(maxBytes: 2000)).output.count == 2000)
        #expect(throws: CompressionError.tooLong(limit: 1999)) {
            try inflate(packed + packed, limits: InflateLimits(maxBytes: 1999))
        }
    }

    @Test func smallBodiesMayBeVeryCompressible() throws {
        let packed = try run("gzip", ["-c", "-9"], input: [UInt8](repeating: 0, count: 1 << 20))
        #expect(packed.count * 200 < 1 << 20)
        #expect(try inflate(packed).output.count == 1 << 20)
    }
}

@Suite struct GzipTests {
    @Test(arguments: [0, 1, 1000, 2_000_000], [1, 6, 9])
    func theGzipProgramReadsIt(_ count: Int, _ level: Int) throws {
        let bytes = sample(count)
        let packed = try compress(bytes, level: level)
        #expect(try run("gzip", ["-dc"], input: packed) == bytes)
    }

    @Test func theSameBytesGiveTheSameMember() throws {
        let bytes = sample(10_000)
        #expect(try compress(bytes) == compress(bytes))
        // MTIME is zero: no time leaks into the member (RFC 1952 section 2.3.1).
        #expect(try compress(bytes)[4..<8].allSatisfy { $0 == 0 })
    }

    @Test func incompressibleBytesFit() throws {
        let bytes = (0..<100_000).map { _ in UInt8.random(in: .min ... .max) }
        #expect(try run("gzip", ["-dc"], input: compress(bytes)) == bytes)
    }

    @Test(arguments: [-2, 0, 10, .max])
    func otherLevelsAreRefused(_ level: Int) {
        #expect(throws: CompressionError.self) { try compress([1], level: level) }
    }
}
