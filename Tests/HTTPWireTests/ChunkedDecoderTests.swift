import Testing

@testable import HTTPWire

/// Decodes `raw` in pieces of `step` bytes into buffers of `room` bytes; returns the content and the bytes used.
private func decode(
    _ raw: [UInt8], step: Int = .max, room: Int = 64, limits: ChunkLimits = ChunkLimits()
) throws -> (content: [UInt8], consumed: Int, finished: Bool) {
    var decoder = ChunkedDecoder(limits: limits)
    var content: [UInt8] = []
    var buffer = [UInt8](repeating: 0xA5, count: room)
    var offset = 0
    while offset < raw.count {
        let piece = Array(raw[offset..<offset + min(step, raw.count - offset)])
        var span = buffer.mutableSpan
        var output = unsafe span.mutableBytes
        let progress = unsafe try decoder.decode(piece.span.bytes, into: &output)
        content += buffer[..<progress.produced]
        offset += progress.consumed
        if progress.finished { return (content, offset, true) }
        #expect(progress.consumed > 0)
    }
    return (content, offset, false)
}

/// Whether a look at `raw` in pieces of `step` bytes finds the end.
private func skim(_ raw: [UInt8], step: Int) throws -> Bool {
    var decoder = ChunkedDecoder()
    var isOver = false
    for offset in stride(from: 0, to: raw.count, by: step) {
        let piece = Array(raw[offset..<min(offset + step, raw.count)])
        isOver = unsafe try decoder.skim(piece.span.bytes)
    }
    return isOver
}

private func raw(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite struct ChunkedDecoderTests {
    @Test(arguments: [
        ("9112 7.1 the RFC's shape", "4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n", "Wikipedia"),
        ("9112 7.1 empty body", "0\r\n\r\n", ""),
        ("9112 7.1 several zeros end it", "000\r\n\r\n", ""),
        ("9112 7.1 both cases of digits", "a\r\n0123456789\r\nA\r\nabcdefghij\r\n0\r\n\r\n", "0123456789abcdefghij"),
        ("9112 7.1 leading zeros", "0003\r\nabc\r\n0\r\n\r\n", "abc"),
        ("9112 7.1.1 extensions", "3;a;b=c;d=\"e;f\"\r\nabc\r\n0;last\r\n\r\n", "abc"),
        ("9112 7.1.1 white space before an extension", "3 \t;a = b\r\nabc\r\n0\r\n\r\n", "abc"),
        ("9112 7.1.2 trailers are dropped", "1\r\na\r\n0\r\nX: y\r\nContent-Length: 7\r\n\r\n", "a"),
        ("9112 7.1 CRLF inside content", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
    ])
    func decodes(_ section: String, _ text: String, _ content: String) throws {
        let bytes = raw(text)
        for step in 1...bytes.count {
            for room in [1, 2, 3, 64] {
                let result = try decode(bytes + raw("GET / HTTP/1.1"), step: step, room: room)
                #expect(result.content == raw(content))
                #expect(result.consumed == bytes.count)
                #expect(result.finished)
            }
        }
        for step in 1...bytes.count { #expect(try skim(bytes + raw("GET / HTTP/1.1"), step: step)) }
        for end in 0..<bytes.count {
            #expect(try decode(Array(bytes[..<end])).finished == false)
            #expect(try !skim(Array(bytes[..<end]), step: 2))
        }
    }

    @Test(arguments: [
        ("9112 7.1 empty size", "\r\nabc", "chunk_size"),
        ("9112 7.1 size alone is an extension", ";a\r\n", "chunk_size"),
        ("9112 7.1 plus sign", "+3\r\nabc\r\n", "chunk_size"),
        ("9112 7.1 minus sign", "-3\r\nabc\r\n", "chunk_size"),
        ("9112 7.1 0x prefix", "0x3\r\nabc\r\n", "chunk_size"),
        ("9112 7.1 no digit", "g\r\n", "chunk_size"),
        ("9112 7.1 leading space", " 3\r\nabc\r\n", "chunk_size"),
        ("9112 7.1 trailing space", "3 \r\nabc\r\n", "chunk_size"),
        ("9112 7.1 space inside", "3 0\r\n", "chunk_size"),
        ("9112 7.1 underscore", "1_0\r\n", "chunk_size"),
        ("9112 7.1 bare LF after the size", "3\nabc\r\n", "chunk_size"),
        ("9112 7.1 bare CR after the size", "3\rabc\r\n", "chunk_line_end"),
        ("9112 7.1 2^63", "8000000000000000\r\n", "chunk_size_overflow"),
        ("9112 7.1 2^64 + 3", "10000000000000003\r\nabc\r\n", "chunk_size_overflow"),
        ("9112 7.1 seventeen digits", "00000000000000003\r\nabc\r\n", "chunk_size_overflow"),
        ("9112 7.1 content too long", "3\r\nabcd\r\n", "chunk_line_end"),
        ("9112 7.1 content too short", "4\r\nabc\r\n0\r\n\r\n", "chunk_line_end"),
        ("9112 7.1 bare LF after content", "3\r\nabc\n0\r\n\r\n", "chunk_line_end"),
        ("9112 7.1 bare CR after content", "3\r\nabc\r0\r\n\r\n", "chunk_line_end"),
        ("9112 7.1.1 bare LF ends an extension", "3;a\nabc\r\n0\r\n\r\n", "chunk_extension"),
        ("9112 7.1.1 bare CR in an extension", "3;a\rb\r\nabc\r\n", "chunk_line_end"),
        ("9112 7.1.1 NUL in an extension", "3;\u{0}\r\nabc\r\n", "chunk_extension"),
        ("9112 7.1.2 bare LF ends the body", "0\r\n\n", "trailer"),
        ("9112 7.1.2 bare CR ends the body", "0\r\n\rX", "chunk_line_end"),
        ("9112 7.1.2 trailer without a colon", "0\r\nX\r\n\r\n", "trailer"),
        ("9112 7.1.2 space before the colon", "0\r\nX : y\r\n\r\n", "trailer"),
        ("9112 7.1.2 folded trailer", "0\r\nX: y\r\n z\r\n\r\n", "trailer"),
        ("9112 7.1.2 empty trailer name", "0\r\n: y\r\n\r\n", "trailer"),
        ("9112 7.1.2 NUL in a trailer", "0\r\nX: \u{0}\r\n\r\n", "trailer"),
        ("9112 7.1.2 bare LF ends a trailer", "0\r\nX: y\n\r\n", "trailer"),
        ("9112 7.1.2 the next request as a trailer", "0\r\nGET / HTTP/1.1\r\n", "trailer"),
    ])
    func refuses(_ section: String, _ text: String, _ code: String) {
        for step in 1...text.utf8.count {
            #expect(throws: WireError.self) {
                do { _ = try decode(raw(text), step: step) } catch let error as WireError {
                    #expect(error.code == "http.\(code)")
                    #expect(error.status == 400)
                    throw error
                }
            }
        }
    }

    @Test func extensionsAreLimited() throws {
        #expect(ChunkLimits().maxExtensionBytes == 256)
        let fits = "1;" + String(repeating: "x", count: 255) + "\r\na\r\n1;b\r\na\r\n0\r\n\r\n"
        #expect(try decode(raw(fits)).finished)
        expect("chunk_extension_too_long", 400, "1;" + String(repeating: "x", count: 256) + "\r\na\r\n0\r\n\r\n")
        expect("chunk_extension_too_long", 400, "1" + String(repeating: " ", count: 300) + ";x\r\na\r\n0\r\n\r\n")
    }

    @Test func trailersAreLimited() throws {
        #expect(ChunkLimits().maxTrailers == 32)
        #expect(ChunkLimits().maxTrailerBytes == 8192)
        let line = "X: y\r\n"
        #expect(try decode(raw("0\r\n" + String(repeating: line, count: 32) + "\r\n")).finished)
        expect("too_many_trailers", 431, "0\r\n" + String(repeating: line, count: 33) + "\r\n")
        #expect(try decode(raw("0\r\nX:" + String(repeating: "y", count: 8192 - 4) + "\r\n\r\n")).finished)
        expect("trailers_too_long", 431, "0\r\nX:" + String(repeating: "y", count: 8192 - 3) + "\r\n\r\n")
    }

    @Test func framingMayNotOutweighContent() throws {
        #expect(ChunkLimits().maxOverheadBytes == 1 << 20)
        let limits = ChunkLimits(maxOverheadBytes: 1000)
        // Five bytes of framing for one of content: four to the bad with each chunk.
        let tiny = String(repeating: "1\r\na\r\n", count: 300)
        #expect(throws: WireError.self) { try decode(raw(tiny), limits: limits) }
        let even = String(repeating: "8\r\n12345678\r\n", count: 10_000) + "0\r\n\r\n"
        #expect(try decode(raw(even), limits: limits).content.count == 80_000)
        expect("chunk_overhead", 400, String(repeating: "1\r\na\r\n", count: (1 << 18) + 1))
    }

    /// A full output stops the decoder without losing its place, and takes no byte of content.
    @Test func waitsForRoom() throws {
        var decoder = ChunkedDecoder()
        let bytes = raw("3\r\nabc\r\n0\r\n\r\n")
        var none: [UInt8] = []
        var span = none.mutableSpan
        var output = unsafe span.mutableBytes
        let progress = unsafe try decoder.decode(bytes.span.bytes, into: &output)
        #expect(progress == ChunkedDecoder.Progress(consumed: 3, produced: 0, finished: false))
    }

    private func expect(_ code: String, _ status: Int, _ text: String) {
        do {
            _ = try decode(raw(text))
            Issue.record("accepted")
        } catch let error as WireError {
            #expect(error.code == "http.\(code)")
            #expect(error.status == status)
        } catch {
            Issue.record("\(error)")
        }
    }
}
