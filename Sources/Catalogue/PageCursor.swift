/// Counts the bytes of a page while its rows are read.
final class PageMeter {
    private var bytes = 0
    /// Whether the last row was one too many.
    private(set) var isOver = false

    /// Whether no row may follow one of `count` bytes: those before it have filled the page.
    func isFull(with count: Int) -> Bool {
        isOver = bytes > Catalogue.maximumPageBytes
        bytes += count
        return isOver
    }
}

/// Where a page of a list ended: the creation time and identifier of its last row, newest first.
struct PageCursor: Equatable {
    let createdAt: Int64
    let id: String

    /// Before the newest row there can be.
    static let start = PageCursor(createdAt: .max, id: "")

    init(createdAt: Int64, id: String) {
        self.createdAt = createdAt
        self.id = id
    }

    /// Reads what `text` gave out; nil for anything else.
    init?(_ text: String) {
        let digits = [UInt8](text.utf8)
        guard digits.count.isMultiple(of: 2), !digits.isEmpty else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = Self.value(digits[index]), let low = Self.value(digits[index + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        guard let plain = String(validating: bytes, as: UTF8.self) else { return nil }
        let parts = plain.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let createdAt = Int64(parts[0]), String(createdAt) == parts[0], !parts[1].isEmpty else {
            return nil
        }
        self.init(createdAt: createdAt, id: String(parts[1]))
    }

    /// Hexadecimal, so that it needs no escaping in a URL and invites no one to read meaning into it.
    var text: String {
        let digits = [UInt8]("0123456789abcdef".utf8)
        let plain = "\(createdAt):\(id)"
        return String(decoding: plain.utf8.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    private static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        default: nil
        }
    }
}
