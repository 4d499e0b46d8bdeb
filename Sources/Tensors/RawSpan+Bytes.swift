/// The only unsafe code of this module: reading single bytes and strings.
///
/// Invariant: `UInt8` has no invalid bit pattern and no alignment, and both `unsafeLoad(fromByteOffset:as:)` and
/// `extracting(_:)` check their bounds, so no call can read outside the span or make an invalid value.
extension RawSpan {
    /// The byte at an offset, which must lie within the span.
    @inline(__always)
    func byte(at offset: Int) -> UInt8 {
        unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self)
    }

    /// The string that a range of bytes spells, or nil when they are not valid UTF-8.
    func string(at range: Range<Int>) -> String? {
        unsafe extracting(range).withUnsafeBytes { unsafe String(validating: $0, as: UTF8.self) }
    }
}

extension RawSpan {
    /// The unsigned integer in `width` bytes from an offset, least significant byte first.
    func littleEndian(at offset: Int, width: Int) -> UInt64 {
        var value: UInt64 = 0
        for index in 0..<width {
            value |= UInt64(byte(at: offset + index)) << UInt64(8 * index)
        }
        return value
    }

    /// Whether the span begins with these bytes.
    func starts(with magic: [UInt8]) -> Bool {
        guard byteCount >= magic.count else { return false }
        for index in magic.indices where byte(at: index) != magic[index] {
            return false
        }
        return true
    }
}
