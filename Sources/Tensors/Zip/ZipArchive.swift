/// A zip archive by its bytes: where its directory lies, and which members that lists.
///
/// Held to the rule of all containers here: local headers, data and descriptors of the members, the directory and the
/// end records cover the archive from its first byte to its last, without hole, overlap or tail. Readers that look at
/// other places can then find nothing else. Source: APPNOTE.TXT 6.3.10 of PKWARE.
package struct ZipArchive {
    /// The first bytes of an archive that has a member.
    package static let magic: [UInt8] = Array("PK".utf8) + [3, 4]
    /// The bytes at the end of an archive that say where its directory is: end record, zip64 locator and end record.
    package static let tailBytes = endBytes + locatorBytes + wideEndBytes

    private static let endBytes = 22
    private static let locatorBytes = 20
    private static let wideEndBytes = 56

    /// Where the central directory lies, in bytes from the start of the archive.
    package let directory: Range<Int>
    /// How many members it lists.
    package let memberCount: Int

    /// Whether an input begins as an archive does.
    package static func begins(_ prefix: RawSpan) -> Bool { prefix.starts(with: magic) }

    /// Reads the end of an archive.
    ///
    /// - Parameters:
    ///   - tail: the last `tailBytes` bytes of the archive, or all of it where it is shorter.
    ///   - totalBytes: the length of the archive.
    /// - Throws: `npz.end_record`, `npz.multi_disk`, `npz.directory_place`, `npz.too_many_members`,
    ///   `npz.directory_too_large`.
    package init(tail: RawSpan, totalBytes: Int, limits: ContainerLimits) throws(TensorFormatError) {
        let start = totalBytes - tail.byteCount
        let end = tail.byteCount - Self.endBytes
        guard end >= 0, tail.littleEndian(at: end, width: 4) == 0x0605_4B50,
            tail.littleEndian(at: end + 20, width: 2) == 0
        else {
            let detail = "the last 22 bytes are no end record: the archive is cut off, or something follows it"
            throw npzError("end_record", detail, at: max(0, start + end))
        }
        let narrow = (
            disks: [tail.littleEndian(at: end + 4, width: 2), tail.littleEndian(at: end + 6, width: 2)],
            counts: [tail.littleEndian(at: end + 8, width: 2), tail.littleEndian(at: end + 10, width: 2)],
            size: tail.littleEndian(at: end + 12, width: 4), offset: tail.littleEndian(at: end + 16, width: 4)
        )
        let fields: EndFields
        let directoryEnd: Int
        let locator = end - Self.locatorBytes
        if locator >= 0, tail.littleEndian(at: locator, width: 4) == 0x0706_4B50 {
            directoryEnd = start + locator - Self.wideEndBytes
            fields = try Self.wideFields(tail, locator: locator, start: start)
            let agrees =
                narrow.disks.allSatisfy { $0 == 0 || $0 == 0xFFFF }
                && narrow.counts.allSatisfy { $0 == fields.count || $0 == 0xFFFF }
                && (narrow.size == fields.size || narrow.size == 0xFFFF_FFFF)
                && (narrow.offset == fields.offset || narrow.offset == 0xFFFF_FFFF)
            guard agrees else {
                throw npzError("end_record", "the two end records disagree", at: start + end)
            }
        } else {
            directoryEnd = start + end
            guard narrow.disks == [0, 0], narrow.counts[0] == narrow.counts[1] else {
                throw npzError("multi_disk", "the archive is a part of several", at: start + end)
            }
            fields = EndFields(count: narrow.counts[1], size: narrow.size, offset: narrow.offset)
        }
        memberCount = try Self.count(fields, limits, at: start + end)
        let (sum, overflow) = fields.offset.addingReportingOverflow(fields.size)
        guard !overflow, directoryEnd >= 0, sum == UInt64(directoryEnd), let offset = Int(exactly: fields.offset) else {
            let detail = "the directory does not end where the end record begins: bytes were put in or taken out"
            throw npzError("directory_place", detail, at: start + end)
        }
        directory = offset..<directoryEnd
    }

    /// What the end record says of the directory.
    private struct EndFields {
        let count: UInt64
        let size: UInt64
        let offset: UInt64
    }

    private static func count(
        _ fields: EndFields, _ limits: ContainerLimits, at offset: Int
    ) throws(TensorFormatError) -> Int {
        guard fields.count <= UInt64(max(0, limits.maxMembers)) else {
            throw npzError("too_many_members", "\(fields.count) members; the limit is \(limits.maxMembers)", at: offset)
        }
        guard fields.size <= UInt64(max(0, limits.maxDirectoryBytes)) else {
            let detail = "a directory of \(fields.size) bytes; the limit is \(limits.maxDirectoryBytes)"
            throw npzError("directory_too_large", detail, at: offset)
        }
        return Int(fields.count)
    }

    /// The fields of the zip64 end record, which must lie directly before its locator.
    private static func wideFields(
        _ tail: RawSpan, locator: Int, start: Int
    ) throws(TensorFormatError) -> EndFields {
        let record = locator - wideEndBytes
        guard record >= 0, tail.littleEndian(at: record, width: 4) == 0x0606_4B50,
            tail.littleEndian(at: record + 4, width: 8) == UInt64(wideEndBytes - 12),
            tail.littleEndian(at: locator + 8, width: 8) == UInt64(start + record)
        else { throw npzError("end_record", "no zip64 end record before its locator", at: start + locator) }
        guard tail.littleEndian(at: locator + 4, width: 4) == 0, tail.littleEndian(at: locator + 16, width: 4) == 1,
            tail.littleEndian(at: record + 16, width: 4) == 0, tail.littleEndian(at: record + 20, width: 4) == 0,
            tail.littleEndian(at: record + 24, width: 8) == tail.littleEndian(at: record + 32, width: 8)
        else { throw npzError("multi_disk", "the archive is a part of several", at: start + locator) }
        return EndFields(
            count: tail.littleEndian(at: record + 32, width: 8), size: tail.littleEndian(at: record + 40, width: 8),
            offset: tail.littleEndian(at: record + 48, width: 8))
    }
}

/// An error of the npz format at an offset of the archive.
func npzError(_ code: String, _ detail: String, at offset: Int?, tensor: String? = nil) -> TensorFormatError {
    TensorFormatError(code: "npz.\(code)", detail: detail, offset: offset, tensor: tensor)
}
