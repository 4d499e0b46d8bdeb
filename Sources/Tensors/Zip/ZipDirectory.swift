/// The general purpose flags of a member (APPNOTE 4.4.4).
enum ZipFlags {
    static let encrypted: UInt16 = 1 << 0 | 1 << 6 | 1 << 13
    static let descriptor: UInt16 = 1 << 3
    static let utf8: UInt16 = 1 << 11
    /// The level of deflate, which a reader needs not know.
    static let level: UInt16 = 1 << 1 | 1 << 2
    static let known = descriptor | utf8 | level
}

/// The zip64 numbers among a header's extra fields (APPNOTE 4.5.3).
struct ZipExtra {
    /// What a 32-bit field holds when the number stands in the extra field.
    static let sentinel: UInt64 = 0xFFFF_FFFF

    /// The 64-bit numbers in their order; empty where there is no such field.
    let wideNumbers: Numbers

    /// The numbers of a zip64 field, taken one after the other as fields turn out to need them.
    struct Numbers {
        private var rest: ArraySlice<UInt64>

        init(_ numbers: [UInt64]) { rest = numbers[...] }

        mutating func next() -> UInt64? { rest.popFirst() }
    }

    /// Reads the extra fields in `range`, which they must fill.
    init(_ bytes: RawSpan, at range: Range<Int>, of member: ZipMember) throws(TensorFormatError) {
        guard let numbers = Self.numbers(bytes, at: range) else {
            throw member.error("extra_field", "its extra fields are malformed")
        }
        wideNumbers = Numbers(numbers)
    }

    /// The zip64 numbers, nil when the fields do not fill `range` or zip64 occurs twice.
    static func numbers(_ bytes: RawSpan, at range: Range<Int>) -> [UInt64]? {
        var numbers: [UInt64]?
        var position = range.lowerBound
        while position < range.upperBound {
            guard range.upperBound - position >= 4 else { return nil }
            let (id, length) = (
                bytes.littleEndian(at: position, width: 2), Int(bytes.littleEndian(at: position + 2, width: 2))
            )
            position += 4
            guard length <= range.upperBound - position else { return nil }
            if id == 1 {
                guard numbers == nil else { return nil }
                numbers = stride(from: 0, to: length / 8 * 8, by: 8).map {
                    bytes.littleEndian(at: position + $0, width: 8)
                }
            }
            position += length
        }
        return numbers ?? []
    }
}

extension ZipArchive {
    /// Bytes of a directory entry without name, extra fields and comment.
    private static let entryBytes = 46

    /// Reads the central directory.
    ///
    /// - Parameter directory: the bytes at `self.directory`.
    /// - Returns: the members in the order of the directory.
    /// - Throws: `npz.directory`, `npz.encrypted`, `npz.compression`, `npz.member_name`, `npz.duplicate_name`,
    ///   `npz.size_mismatch`, `npz.hole`, `npz.overlap`, and the limits `npz.name_too_long`, `npz.member_too_large`,
    ///   `npz.inflated_too_large`, `npz.ratio_too_large`.
    package func members(
        in directory: RawSpan, limits: ContainerLimits
    ) throws(TensorFormatError) -> [ZipMember] {
        var listed: [Listed] = []
        listed.reserveCapacity(memberCount)
        var names: Set<ExactName> = []
        var position = 0
        var inflated = 0
        for _ in 0..<memberCount {
            let entry = try listing(directory, at: &position, limits)
            guard names.insert(ExactName(entry.name)).inserted else {
                throw npzError("duplicate_name", "two members are called '\(entry.name)'", at: nil, tensor: entry.name)
            }
            // Each is at most `maxMemberBytes`, which is far from overflow for as many as there may be.
            let (sum, overflow) = inflated.addingReportingOverflow(entry.bytes)
            guard !overflow, sum <= limits.maxInflatedBytes else {
                let detail = "more than \(limits.maxInflatedBytes) bytes when inflated, which is the limit"
                throw npzError("inflated_too_large", detail, at: nil, tensor: entry.name)
            }
            inflated = sum
            listed.append(entry)
        }
        guard position == directory.byteCount else {
            throw npzError("directory", "bytes follow the last entry", at: self.directory.lowerBound + position)
        }
        return try placed(listed)
    }

    /// A directory entry before the extent of its member is known.
    private struct Listed {
        let name: String
        let nameBytes: Int
        let flags: UInt16
        let isDeflated: Bool
        let checksum: UInt32
        let storedBytes: Int
        let bytes: Int
        let offset: Int
    }

    /// Gives each member the bytes up to the next; they must begin at 0 and leave room for header and data.
    private func placed(_ listed: [Listed]) throws(TensorFormatError) -> [ZipMember] {
        let order = listed.indices.sorted { (listed[$0].offset, $0) < (listed[$1].offset, $1) }
        var ends = [Int](repeating: directory.lowerBound, count: listed.count)
        for (index, next) in zip(order, order.dropFirst()) { ends[index] = listed[next].offset }
        guard (order.first.map { listed[$0].offset } ?? directory.lowerBound) == 0 else {
            throw npzError("hole", "bytes that belong to no member stand before the first", at: 0)
        }
        var members: [ZipMember] = []
        members.reserveCapacity(listed.count)
        for (entry, end) in zip(listed, ends) {
            let room = end - entry.offset
            guard room >= ZipMember.localBytes + entry.nameBytes, entry.storedBytes <= room - ZipMember.localBytes
            else {
                let detail = "'\(entry.name)' reaches into what follows"
                throw npzError("overlap", detail, at: entry.offset, tensor: entry.name)
            }
            members.append(
                ZipMember(
                    name: entry.name, nameBytes: entry.nameBytes, isDeflated: entry.isDeflated,
                    checksum: entry.checksum, storedBytes: entry.storedBytes, bytes: entry.bytes,
                    extent: entry.offset..<end, flags: entry.flags))
        }
        return members
    }

    /// Reads one entry of the directory and moves `position` behind it.
    private func listing(
        _ bytes: RawSpan, at position: inout Int, _ limits: ContainerLimits
    ) throws(TensorFormatError) -> Listed {
        let place = directory.lowerBound + position
        let rest = bytes.byteCount - position
        guard rest >= Self.entryBytes, bytes.littleEndian(at: position, width: 4) == 0x0201_4B50 else {
            throw npzError("directory", "an entry of the directory is missing", at: place)
        }
        let start = position
        func number(_ offset: Int, _ width: Int) -> UInt64 { bytes.littleEndian(at: start + offset, width: width) }
        let (nameBytes, extraBytes) = (Int(number(28, 2)), Int(number(30, 2)))
        let length = Self.entryBytes + nameBytes + extraBytes + Int(number(32, 2))
        guard length <= rest else { throw npzError("directory", "an entry of the directory is cut off", at: place) }
        guard nameBytes <= limits.maxNameBytes else {
            throw npzError(
                "name_too_long", "a name of \(nameBytes) bytes; the limit is \(limits.maxNameBytes)", at: place)
        }
        let flags = UInt16(truncatingIfNeeded: number(8, 2))
        let nameStart = start + Self.entryBytes
        let name = try Self.arrayName(
            bytes, at: nameStart..<nameStart + nameBytes, isUTF8: flags & ZipFlags.utf8 != 0, place)
        try Self.check(flags: flags, method: number(10, 2), name, at: place)
        let extra = nameStart + nameBytes..<nameStart + nameBytes + extraBytes
        guard number(34, 2) == 0, var wide = ZipExtra.numbers(bytes, at: extra).map(ZipExtra.Numbers.init) else {
            throw npzError("directory", "extra fields or disk of '\(name)' are malformed", at: place, tensor: name)
        }
        // In this order, and only where the narrow field says so.
        let wanted = [number(24, 4), number(20, 4), number(42, 4)]
        let numbers = wanted.map { $0 == ZipExtra.sentinel ? wide.next() : $0 }.map { $0.flatMap { Int(exactly: $0) } }
        guard let size = numbers[0], let stored = numbers[1], let offset = numbers[2], offset <= directory.lowerBound
        else { throw npzError("directory", "sizes or offset of '\(name)' are malformed", at: place, tensor: name) }
        position += length
        let entry = Listed(
            name: name, nameBytes: nameBytes, flags: flags, isDeflated: number(10, 2) == 8,
            checksum: UInt32(truncatingIfNeeded: number(16, 4)), storedBytes: stored, bytes: size, offset: offset)
        try Self.check(entry, limits, at: place)
        return entry
    }

    /// The name of the array in a member called `name.npy`.
    private static func arrayName(
        _ bytes: RawSpan, at range: Range<Int>, isUTF8: Bool, _ place: Int
    ) throws(TensorFormatError) -> String {
        let text = bytes.string(at: range)
        // Without the flag the bytes are of code page 437, which agrees with UTF-8 in ASCII alone.
        guard let text, isUTF8 || text.utf8.allSatisfy({ $0 < 0x80 }) else {
            throw npzError("member_name", "a member's name is not UTF-8, or is not marked as such", at: place)
        }
        let isPlain = text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "\\") }
        let parts = text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        let isPath = parts.allSatisfy { !$0.isEmpty && !$0.elementsEqual(".".utf8) && !$0.elementsEqual("..".utf8) }
        guard isPlain, isPath, let name = text.before(suffix: ZipMember.suffix), !name.isEmpty,
            ExactName(name) != SafetensorsParser.metadataName
        else {
            let hint = text.hasSuffix("data.pkl") ? " (a PyTorch checkpoint is a pickle, which is never loaded)" : ""
            let detail = "a member is called '\(text.prefix(200))'; members of an npz are arrays 'name.npy'\(hint)"
            throw npzError("member_name", detail, at: place)
        }
        return name
    }

    private static func check(
        flags: UInt16, method: UInt64, _ name: String, at place: Int
    ) throws(TensorFormatError) {
        guard flags & ZipFlags.encrypted == 0 else {
            throw npzError("encrypted", "'\(name)' is encrypted", at: place, tensor: name)
        }
        guard flags & ~ZipFlags.known == 0 else {
            throw npzError("directory", "'\(name)' has flags that are not known", at: place, tensor: name)
        }
        guard method == 0 || method == 8 else {
            let detail = "'\(name)' is packed by method \(method); known are 0 (stored) and 8 (deflate)"
            throw npzError("compression", detail, at: place, tensor: name)
        }
    }

    private static func check(_ entry: Listed, _ limits: ContainerLimits, at place: Int) throws(TensorFormatError) {
        guard entry.isDeflated || entry.storedBytes == entry.bytes else {
            let detail = "'\(entry.name)' is stored, and its two sizes differ"
            throw npzError("size_mismatch", detail, at: place, tensor: entry.name)
        }
        guard entry.bytes <= limits.maxMemberBytes else {
            let detail = "'\(entry.name)' has \(entry.bytes) bytes; the limit is \(limits.maxMemberBytes)"
            throw npzError("member_too_large", detail, at: place, tensor: entry.name)
        }
        let (allowed, isHuge) = entry.storedBytes.multipliedReportingOverflow(by: limits.maxInflateRatio)
        guard entry.bytes <= limits.inflateRatioFloor || isHuge || entry.bytes <= allowed else {
            let detail = "'\(entry.name)' is more than \(limits.maxInflateRatio) times as long as what is stored of it"
            throw npzError("ratio_too_large", detail, at: place, tensor: entry.name)
        }
    }
}
