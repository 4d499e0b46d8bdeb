/// The identity of a caller's trace (W3C Trace Context, section 3.2).
package struct TraceContext: Sendable, Equatable {
    /// 32 lower-case hexadecimal digits, not all zero.
    package let traceID: String
    /// 16 lower-case hexadecimal digits, not all zero.
    package let parentID: String
    /// The trace flags; bit 0 is `sampled`.
    package let flags: UInt8

    /// Reads a `traceparent` value; nil when it is invalid, which starts a new trace.
    ///
    /// A version above 00 may be longer; what follows the flags is then ignored (section 3.2.4).
    package static func parse(_ traceparent: String) -> TraceContext? {
        let octets = Array(traceparent.utf8)
        guard octets.count >= 55, octets[2] == dash, octets[35] == dash, octets[52] == dash,
            let version = hexByte(octets, at: 0), version != 0xFF,
            octets.count == 55 || (version > 0 && octets[55] == dash),
            let traceID = identifier(octets[3..<35]), let parentID = identifier(octets[36..<52]),
            let flags = hexByte(octets, at: 53)
        else { return nil }
        return TraceContext(traceID: traceID, parentID: parentID, flags: flags)
    }

    private static let dash = UInt8(ascii: "-")

    private static func isSmallHex(_ octet: UInt8) -> Bool {
        octet.hexValue != nil && octet.lowercased == octet
    }

    private static func hexByte(_ octets: [UInt8], at index: Int) -> UInt8? {
        guard isSmallHex(octets[index]), isSmallHex(octets[index + 1]),
            let high = octets[index].hexValue, let low = octets[index + 1].hexValue
        else { return nil }
        return high << 4 | low
    }

    private static func identifier(_ octets: ArraySlice<UInt8>) -> String? {
        guard octets.allSatisfy(isSmallHex), octets.contains(where: { $0 != UInt8(ascii: "0") }) else { return nil }
        return String(decoding: octets, as: UTF8.self)
    }
}
