/// What the framing of a chunked body may cost.
package struct ChunkLimits: Sendable {
    /// The longest extension of one chunk in bytes; 400 beyond.
    package var maxExtensionBytes: Int
    /// The longest trailer section in bytes, without the empty line that ends it; 431 beyond.
    package var maxTrailerBytes: Int
    /// The most trailer fields; 431 beyond.
    package var maxTrailers: Int
    /// Framing bytes (sizes, extensions, line ends) allowed beyond the bytes of content so far; 400 beyond.
    package var maxOverheadBytes: Int

    /// Sets the limits; the defaults are 256 bytes, 8 KiB, 32 fields and 1 MiB.
    package init(
        maxExtensionBytes: Int = 256, maxTrailerBytes: Int = 8 << 10, maxTrailers: Int = 32,
        maxOverheadBytes: Int = 1 << 20
    ) {
        self.maxExtensionBytes = maxExtensionBytes
        self.maxTrailerBytes = maxTrailerBytes
        self.maxTrailers = maxTrailers
        self.maxOverheadBytes = maxOverheadBytes
    }
}

/// Reads the chunked coding of one body (RFC 9112 section 7.1): bytes in, content out, split anywhere.
///
/// Extensions and trailers are checked, bounded and dropped.
package struct ChunkedDecoder: Sendable {
    /// How far one step came.
    package struct Progress: Sendable, Equatable {
        /// Bytes of the input that were used.
        package var consumed: Int
        /// Bytes of content written to the start of the output.
        package var produced: Int
        /// Whether the body is whole; bytes after `consumed` belong to the next request.
        package var finished: Bool
    }

    private enum State: Equatable {
        /// Before or inside a chunk's size.
        case size(digits: Int)
        /// Blanks after the size, which only an extension may follow.
        case blanks
        case chunkExtension
        case sizeLineFeed
        case content
        case contentCarriageReturn
        case contentLineFeed
        case trailerStart
        case trailerName
        case trailerValue
        case trailerLineFeed
        case lastLineFeed
        case finished
    }

    private let limits: ChunkLimits
    private var state = State.size(digits: 0)
    /// Content bytes of the present chunk that are still to come; while reading a size, its value so far.
    private var remaining = 0
    private var extensionBytes = 0
    private var trailerBytes = 0
    private var trailers = 0
    /// Framing bytes less content bytes, never below zero.
    private var overhead = 0

    /// Starts before the first chunk.
    package init(limits: ChunkLimits = ChunkLimits()) {
        self.limits = limits
    }

    /// Uses as much of `input` as `output` has room for; after a throw the connection must be closed.
    package mutating func decode(
        _ input: RawSpan, into output: inout MutableRawSpan
    ) throws(WireError) -> Progress {
        var consumed = 0
        var produced = 0
        while consumed < input.byteCount, state != .finished {
            guard state == .content else {
                try step(input[octet: consumed])
                consumed += 1
                continue
            }
            let count = min(remaining, input.byteCount - consumed, output.byteCount - produced)
            guard count > 0 else { break }
            output.copy(input.extracting(consumed..<consumed + count), to: produced)
            consumed += count
            produced += count
            pass(count)
        }
        return Progress(consumed: consumed, produced: produced, finished: state == .finished)
    }

    /// Reads over `input` without keeping its content; whether the body ends there. After a throw as for `decode`.
    package mutating func skim(_ input: RawSpan) throws(WireError) -> Bool {
        var offset = 0
        while offset < input.byteCount, state != .finished {
            let count = state == .content ? min(remaining, input.byteCount - offset) : 1
            if state == .content { pass(count) } else { try step(input[octet: offset]) }
            offset += count
        }
        return state == .finished
    }

    /// Content of the present chunk went by.
    private mutating func pass(_ count: Int) {
        remaining -= count
        overhead = max(0, overhead - count)
        if remaining == 0 { state = .contentCarriageReturn }
    }

    /// Takes one octet of framing.
    private mutating func step(_ octet: UInt8) throws(WireError) {
        overhead += 1
        guard overhead <= limits.maxOverheadBytes else {
            throw WireError("chunk_overhead", "The framing of the chunks is larger than their content.")
        }
        switch state {
        case .size(let digits): try readSize(octet, digits: digits)
        case .blanks, .chunkExtension: try readExtension(octet)
        case .sizeLineFeed: try expect(.lineFeed, octet, then: remaining == 0 ? .trailerStart : .content)
        case .contentCarriageReturn: try expect(.carriageReturn, octet, then: .contentLineFeed)
        case .contentLineFeed:
            try expect(.lineFeed, octet, then: .size(digits: 0))
            extensionBytes = 0
        case .trailerStart, .trailerName, .trailerValue, .trailerLineFeed: try readTrailer(octet)
        case .lastLineFeed: try expect(.lineFeed, octet, then: .finished)
        case .content, .finished: break
        }
    }

    private mutating func expect(_ wanted: UInt8, _ octet: UInt8, then next: State) throws(WireError) {
        guard octet == wanted else { throw WireError("chunk_line_end", "A chunk's line does not end with CRLF.") }
        state = next
    }

    private mutating func readSize(_ octet: UInt8, digits: Int) throws(WireError) {
        let malformed = WireError("chunk_size", "A chunk's size is not a hexadecimal number followed by CRLF.")
        if let digit = octet.hexValue {
            // Sixteen digits hold every size; more of them are padding.
            guard digits < 16, remaining <= Int.max >> 4 else {
                throw WireError("chunk_size_overflow", "A chunk's size does not fit 63 bits.")
            }
            remaining = remaining << 4 | Int(digit)
            state = .size(digits: digits + 1)
            return
        }
        guard digits > 0 else { throw malformed }
        switch octet {
        case .carriageReturn: state = .sizeLineFeed
        case UInt8(ascii: ";"): state = .chunkExtension
        case .space, .tab: state = .blanks
        default: throw malformed
        }
        if octet != .carriageReturn { extensionBytes = 1 }
    }

    private mutating func readExtension(_ octet: UInt8) throws(WireError) {
        if octet == .carriageReturn, state == .chunkExtension {
            state = .sizeLineFeed
            return
        }
        extensionBytes += 1
        guard extensionBytes <= limits.maxExtensionBytes else {
            throw WireError(
                "chunk_extension_too_long", "A chunk extension is longer than \(limits.maxExtensionBytes) bytes.")
        }
        if state == .chunkExtension {
            guard !octet.isControl || octet == .tab else {
                throw WireError("chunk_extension", "A control character in a chunk extension.")
            }
        } else if octet == UInt8(ascii: ";") {
            state = .chunkExtension
        } else if !octet.isBlank {
            throw WireError("chunk_size", "White space after a chunk's size.")
        }
    }

    private mutating func readTrailer(_ octet: UInt8) throws(WireError) {
        if octet == .carriageReturn, state == .trailerStart {
            state = .lastLineFeed
            return
        }
        trailerBytes += 1
        guard trailerBytes <= limits.maxTrailerBytes else {
            throw WireError(
                status: 431, code: "http.trailers_too_long",
                detail: "The trailers are longer than \(limits.maxTrailerBytes) bytes.")
        }
        switch state {
        case .trailerStart:
            guard OctetSet.token.contains(octet) else { throw WireError("trailer", "A trailer field is malformed.") }
            trailers += 1
            guard trailers <= limits.maxTrailers else {
                throw WireError(
                    status: 431, code: "http.too_many_trailers",
                    detail: "More than \(limits.maxTrailers) trailer fields.")
            }
            state = .trailerName
        case .trailerName where octet == UInt8(ascii: ":"): state = .trailerValue
        case .trailerName:
            guard OctetSet.token.contains(octet) else { throw WireError("trailer", "A trailer field is malformed.") }
        case .trailerValue where octet == .carriageReturn: state = .trailerLineFeed
        case .trailerValue:
            guard !octet.isControl || octet == .tab else {
                throw WireError("trailer", "A control character in a trailer field.")
            }
        default: try expect(.lineFeed, octet, then: .trailerStart)
        }
    }
}
