internal import CZlib

/// The memory of one zlib stream and its steps over spans; all unsafe code of this module is here.
@safe final class ZlibStream {
    enum Direction {
        /// Members in the gzip wrapper (RFC 1952).
        case inflating
        /// Bare deflate (RFC 1951).
        case inflatingRaw
        case deflating(level: Int)
    }

    /// Bytes used and made by one step, and what zlib returned.
    struct Step {
        var consumed: Int
        var produced: Int
        var result: Int32
    }

    /// Invariant: allocated and initialized for `direction` from `init` to `deinit`; zlib keeps its address.
    private let stream: UnsafeMutablePointer<z_stream>
    private let direction: Direction

    init(_ direction: Direction) throws(CompressionError) {
        let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        unsafe self.stream = stream
        self.direction = direction
        // 15 bits of window, plus 16 for the gzip wrapper.
        let size = unsafe Int32(MemoryLayout<z_stream>.size)
        let result =
            switch direction {
            case .inflating: unsafe inflateInit2_(stream, 15 + 16, ZLIB_VERSION, size)
            // A negative width of the window means no wrapper.
            case .inflatingRaw: unsafe inflateInit2_(stream, -15, ZLIB_VERSION, size)
            case .deflating(let level):
                unsafe deflateInit2_(
                    stream, Int32(clamping: level), Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, size)
            }
        guard result == Z_OK else { throw .zlib(code: result) }
    }

    deinit {
        // Both calls only return an error for a stream whose initialization failed.
        switch direction {
        case .inflating, .inflatingRaw: unsafe inflateEnd(stream)
        case .deflating: unsafe deflateEnd(stream)
        }
        unsafe stream.deallocate()
    }

    /// Runs one step from `input` to `output` at and after `start`, which must be inside it; at most 1 GiB of each.
    func step(_ input: RawSpan, into output: inout MutableRawSpan, at start: Int, finish: Bool = false) -> Step {
        let most = 1 << 30
        return unsafe input.withUnsafeBytes { input in
            unsafe output.withUnsafeMutableBytes { whole in
                let output = unsafe UnsafeMutableRawBufferPointer(rebasing: whole[start...])
                let available = (input: min(input.count, most), output: min(output.count, most))
                unsafe stream.pointee.next_in = UnsafeMutablePointer(
                    mutating: input.bindMemory(to: UInt8.self).baseAddress)
                unsafe stream.pointee.avail_in = UInt32(available.input)
                unsafe stream.pointee.next_out = output.bindMemory(to: UInt8.self).baseAddress
                unsafe stream.pointee.avail_out = UInt32(available.output)
                let isLast = finish && available.input == input.count
                let result =
                    switch direction {
                    case .inflating, .inflatingRaw: unsafe CZlib.inflate(stream, Z_NO_FLUSH)
                    case .deflating: unsafe CZlib.deflate(stream, isLast ? Z_FINISH : Z_NO_FLUSH)
                    }
                // The spans end here: zlib must not see them again.
                defer {
                    unsafe stream.pointee.next_in = nil
                    unsafe stream.pointee.next_out = nil
                }
                return Step(
                    consumed: available.input - Int(unsafe stream.pointee.avail_in),
                    produced: available.output - Int(unsafe stream.pointee.avail_out), result: result)
            }
        }
    }

    /// Makes an inflating stream ready for the next member.
    func reset() -> Int32 {
        unsafe inflateReset(stream)
    }

    /// The longest deflated form of `count` bytes.
    func bound(_ count: Int) -> Int {
        Int(clamping: unsafe deflateBound(stream, UInt(count)))
    }

    /// What zlib says about its last error.
    var message: String {
        unsafe stream.pointee.msg.map { unsafe String(cString: $0) } ?? "malformed data"
    }
}

/// The CRC-32 of bytes that follow those whose CRC-32 is `previous`; 0 before the first.
///
/// Source: `crc32_z` of zlib, the checksum of gzip and zip (ITU-T V.42).
package func checksum(_ bytes: RawSpan, following previous: UInt32 = 0) -> UInt32 {
    unsafe bytes.withUnsafeBytes { bytes in
        let first = unsafe bytes.bindMemory(to: UInt8.self).baseAddress
        // zlib takes a missing pointer for the wish to start anew.
        guard let first = unsafe first else { return previous }
        return UInt32(truncatingIfNeeded: unsafe crc32_z(UInt(previous), first, bytes.count))
    }
}
