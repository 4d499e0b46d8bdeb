/// A tile of whole rows in words of AWQ's layout, [columns][octets]: packed, taken apart again, and put in its place.
///
/// Unchecked access is fenced in here: the preconditions cover every index that the loops form.
enum AWQTileWords {
    /// Packs rows of codes, a byte each, [octets · 8][columns] from the start of `codes`.
    static func pack(_ codes: [UInt8], columns: Int, octets: Int, into words: inout [UInt32]) {
        precondition(codes.count >= octets * 8 * columns && words.count >= octets * columns)
        let (span, raw) = (codes.span, unsafe codes.span.bytes)
        var words = words.mutableSpan
        // A line of the cache at a time: rows lie so far apart that no cache holds the lines of all of them.
        for line in stride(from: 0, to: columns, by: 64) {
            let end = min(line + 64, columns)
            for octet in 0..<octets {
                for column in stride(from: line, to: end - (end - line) % 8, by: 8) {
                    /// A channel's codes of eight columns.
                    @inline(__always)
                    func channel(_ channel: Int) -> UInt64 {
                        let at = (octet &* 8 &+ channel) &* columns &+ column
                        return unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: at, as: UInt64.self)
                    }
                    // The four bytes of each word, from the lowest: `AWQWord.shift(ofChannel:)`.
                    let (b0, b1) = (channel(0) | channel(2) << 4, channel(4) | channel(6) << 4)
                    let (b2, b3) = (channel(1) | channel(3) << 4, channel(5) | channel(7) << 4)
                    for lane in 0..<8 {
                        let shift = UInt64(truncatingIfNeeded: 8 &* lane)
                        let low = b0 &>> shift & 255 | (b1 &>> shift & 255) &<< 8
                        let high = b2 &>> shift & 255 | (b3 &>> shift & 255) &<< 8
                        unsafe words[unchecked: (column &+ lane) &* octets &+ octet] =
                            UInt32(truncatingIfNeeded: low | high &<< 16)
                    }
                }
                for column in end - (end - line) % 8..<end {
                    words[column * octets + octet] = (0..<8).reduce(0) { word, channel in
                        let code = UInt32(span[(octet * 8 + channel) * columns + column])
                        return word | code << AWQWord.shift(ofChannel: channel)
                    }
                }
            }
        }
    }

    /// The codes of all rows of a tile again.
    static func unpack(_ words: [UInt32], columns: Int, octets: Int, into codes: inout [UInt8]) {
        for column in 0..<columns {
            for octet in 0..<octets {
                let word = words[column * octets + octet]
                for channel in 0..<8 {
                    let code = word >> AWQWord.shift(ofChannel: channel) & 15
                    codes[(octet * 8 + channel) * columns + column] = UInt8(truncatingIfNeeded: code)
                }
            }
        }
    }

    /// Puts `rows` rows of `width` words into the rows of `band`, which are `stride` words apart, from `start` on.
    static func place(
        _ piece: [UInt32], rows: Int, width: Int, in band: inout [UInt32], at start: Int, _ stride: Int
    ) {
        precondition(piece.count >= rows * width && start + width <= stride && band.count >= rows * stride)
        let piece = piece.span
        var band = band.mutableSpan
        for row in 0..<rows {
            for word in 0..<width {
                unsafe band[unchecked: row &* stride &+ start &+ word] = piece[unchecked: row &* width &+ word]
            }
        }
    }
}
