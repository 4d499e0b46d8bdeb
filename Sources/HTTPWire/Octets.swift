/// A set of ASCII octets, for the character classes of the RFCs.
struct OctetSet: Sendable {
    private let low: UInt64
    private let high: UInt64

    /// Collects letters and digits, and the ASCII characters of `others`.
    init(alphanumericsAnd others: String) {
        var low: UInt64 = 0
        var high: UInt64 = 0
        for octet in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz\(others)".utf8 {
            if octet < 64 { low |= 1 << UInt64(octet) } else { high |= 1 << UInt64(octet & 63) }
        }
        self.low = low
        self.high = high
    }

    func contains(_ octet: UInt8) -> Bool {
        if octet < 64 { return low >> UInt64(octet) & 1 == 1 }
        return octet < 128 && high >> UInt64(octet & 63) & 1 == 1
    }

    /// `tchar` of RFC 9110 section 5.6.2: what methods and field names are made of.
    static let token = OctetSet(alphanumericsAnd: "!#$%&'*+-.^_`|~")
    /// `pchar` and `/` of RFC 3986 section 3.3; a `%` must begin an escape.
    static let path = OctetSet(alphanumericsAnd: "-._~!$&'()*+,;=:@/%")
    /// `query` of RFC 3986 section 3.4, and what browsers leave as it is there (WHATWG URL, query percent-encode set).
    static let query = OctetSet(alphanumericsAnd: "-._~!$&'()*+,;=:@/?%[]{}|\\^`")
    /// `reg-name` of RFC 3986 section 3.2.2.
    static let registeredName = OctetSet(alphanumericsAnd: "-._~!$&'()*+,;=%")
}

extension UInt8 {
    static let tab = UInt8(ascii: "\t")
    static let lineFeed = UInt8(ascii: "\n")
    static let carriageReturn = UInt8(ascii: "\r")
    static let space = UInt8(ascii: " ")

    /// Space or tab: optional whitespace.
    var isBlank: Bool { self == .space || self == .tab }

    /// A control character, the tab included.
    var isControl: Bool { self < 0x20 || self == 0x7F }

    var isDigit: Bool { self >= 0x30 && self <= 0x39 }

    /// The value of a hexadecimal digit of either case.
    var hexValue: UInt8? {
        switch self {
        case 0x30...0x39: self - 0x30
        case 0x41...0x46: self - 0x37
        case 0x61...0x66: self - 0x57
        default: nil
        }
    }

    /// The octet with an ASCII capital made small.
    var lowercased: UInt8 { self >= 0x41 && self <= 0x5A ? self | 0x20 : self }
}

extension RawSpan {
    /// The octet at `offset`; bounds are checked.
    subscript(octet offset: Int) -> UInt8 {
        unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self)
    }

    /// The offset of the first control character other than the tab in `start..<end`, else `end`.
    ///
    /// Eight octets a step: a borrow can only spoil lanes above the first hit, so the lowest lane found is exact.
    func firstControl(from start: Int, before end: Int) -> Int {
        let ones: UInt64 = 0x0101_0101_0101_0101
        var offset = start
        while offset < end {
            if end - offset >= 8 {
                let word = UInt64(littleEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
                let deletes = word ^ (0x7F &* ones)
                let hits = ((word &- 0x20 &* ones) & ~word) | ((deletes &- ones) & ~deletes)
                let lanes = hits & (0x80 &* ones)
                if lanes == 0 {
                    offset += 8
                    continue
                }
                offset += lanes.trailingZeroBitCount >> 3
            }
            let octet = self[octet: offset]
            if octet.isControl && octet != .tab { return offset }
            offset += 1
        }
        return end
    }

    /// The offset of the first `octet` in `range`.
    func firstOffset(of octet: UInt8, in range: Range<Int>) -> Int? {
        for offset in range where self[octet: offset] == octet { return offset }
        return nil
    }

    /// The offset of the first octet in `range` that `set` does not hold.
    func firstOffset(outside set: OctetSet, in range: Range<Int>) -> Int? {
        for offset in range where !set.contains(self[octet: offset]) { return offset }
        return nil
    }

    /// `range` without the spaces and tabs at its ends.
    func trimmingBlanks(_ range: Range<Int>) -> Range<Int> {
        var lower = range.lowerBound
        var upper = range.upperBound
        while lower < upper, self[octet: lower].isBlank { lower += 1 }
        while lower < upper, self[octet: upper - 1].isBlank { upper -= 1 }
        return lower..<upper
    }

    /// The text of `range`; nil when it is not UTF-8.
    func text(_ range: Range<Int>) -> String? {
        let octets = unsafe extracting(range)._unsafeView(as: UInt8.self)
        guard let text = try? UTF8Span(validating: octets) else { return nil }
        return String(copying: text)
    }

    /// A copy of the octets of `range`.
    func array(_ range: Range<Int>) -> [UInt8] {
        var copy: [UInt8] = []
        copy.reserveCapacity(range.count)
        for offset in range { copy.append(self[octet: offset]) }
        return copy
    }

    /// Whether `range` spells `name` (ASCII, small letters), in any case of letters.
    func spells(_ name: String, in range: Range<Int>) -> Bool {
        guard name.utf8.count == range.count else { return false }
        var offset = range.lowerBound
        for octet in name.utf8 {
            if self[octet: offset].lowercased != octet { return false }
            offset += 1
        }
        return true
    }
}

extension MutableRawSpan {
    /// Copies the octets of `source` to `offset`; the bounds of both spans are checked.
    mutating func copy(_ source: RawSpan, to offset: Int) {
        precondition(offset >= 0 && source.byteCount <= byteCount - offset)
        unsafe withUnsafeMutableBytes { destination in
            unsafe source.withUnsafeBytes { octets in
                unsafe UnsafeMutableRawBufferPointer(rebasing: destination[offset...]).copyMemory(from: octets)
            }
        }
    }
}
