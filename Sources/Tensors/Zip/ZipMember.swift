/// One member of an archive as the central directory lists it.
package struct ZipMember: Sendable, Equatable {
    /// The name of the array: the member's name without `.npy`.
    package let name: String
    /// The bytes of the member's name.
    package let nameBytes: Int
    /// Whether the bytes are deflated (method 8) or stored (method 0).
    package let isDeflated: Bool
    /// CRC-32 of the inflated bytes.
    package let checksum: UInt32
    /// Bytes in the archive.
    package let storedBytes: Int
    /// Bytes when inflated.
    package let bytes: Int
    /// From the member's local header to where the next member, or the directory, begins.
    package let extent: Range<Int>
    /// The general purpose flags, which the local header must repeat.
    let flags: UInt16

    /// Bytes of a local header without name and extra fields.
    package static let localBytes = 30
    /// What numpy puts behind an array's name.
    static let suffix = ".npy"

    /// Whether CRC and sizes follow the data.
    private var hasDescriptor: Bool { flags & ZipFlags.descriptor != 0 }

    /// The length of the local header with its name and extra fields.
    ///
    /// - Parameter fixed: the first `localBytes` bytes of `extent`.
    /// - Throws: `npz.local_header`, `npz.overlap`.
    package func localHeaderBytes(fixed: RawSpan) throws(TensorFormatError) -> Int {
        guard fixed.littleEndian(at: 0, width: 4) == 0x0403_4B50 else {
            throw error("local_header", "the directory points at something that is no member")
        }
        let length =
            Self.localBytes + Int(fixed.littleEndian(at: 26, width: 2)) + Int(fixed.littleEndian(at: 28, width: 2))
        guard length <= extent.count - storedBytes else {
            throw error("overlap", "its header and data reach into what follows")
        }
        return length
    }

    /// Holds the local header to the directory; the data begins behind it.
    ///
    /// - Parameter local: the whole local header.
    /// - Throws: `npz.local_header`, `npz.extra_field`, `npz.hole`.
    package func check(local: RawSpan) throws(TensorFormatError) {
        guard local.littleEndian(at: 6, width: 2) == UInt64(flags),
            local.littleEndian(at: 8, width: 2) == (isDeflated ? 8 : 0),
            local.littleEndian(at: 26, width: 2) == UInt64(nameBytes),
            local.string(at: Self.localBytes..<Self.localBytes + nameBytes) == name + Self.suffix
        else { throw disagrees() }
        let extra = try ZipExtra(local, at: Self.localBytes + nameBytes..<local.byteCount, of: self)
        var wide = extra.wideNumbers
        let size = local.littleEndian(at: 22, width: 4)
        let stored = local.littleEndian(at: 18, width: 4)
        let (isWide, isStoredWide) = (size == ZipExtra.sentinel, stored == ZipExtra.sentinel)
        let found = (
            size: isWide ? wide.next() : size, stored: isStoredWide ? wide.next() : stored,
            checksum: local.littleEndian(at: 14, width: 4)
        )
        // Where a descriptor follows, the numbers were not known yet and may be 0.
        func agrees(_ number: UInt64?, _ expected: Int) -> Bool {
            number == UInt64(expected) || hasDescriptor && (number ?? 0) == 0
        }
        guard agrees(found.size, bytes), agrees(found.stored, storedBytes), agrees(found.checksum, Int(checksum)) else {
            throw disagrees()
        }
        let gap = extent.count - local.byteCount - storedBytes
        guard hasDescriptor ? [12, 16, 20, 24].contains(gap) : gap == 0 else {
            throw error("hole", "bytes that belong to no member follow it")
        }
    }

    /// Where the data descriptor lies, behind data that begins after a local header of `localHeaderBytes`; nil when
    /// there is none.
    package func descriptor(localHeaderBytes: Int) -> Range<Int>? {
        let start = extent.lowerBound + localHeaderBytes + storedBytes
        return hasDescriptor ? start..<extent.upperBound : nil
    }

    /// Holds the data descriptor to the directory.
    ///
    /// - Throws: `npz.local_header`.
    package func check(descriptor: RawSpan) throws(TensorFormatError) {
        // With or without its signature, sizes of 4 or 8 bytes.
        let hasSignature = descriptor.byteCount == 16 || descriptor.byteCount == 24
        let width = descriptor.byteCount < 20 ? 4 : 8
        let start = hasSignature ? 4 : 0
        guard [12, 16, 20, 24].contains(descriptor.byteCount),
            !hasSignature || descriptor.littleEndian(at: 0, width: 4) == 0x0807_4B50,
            descriptor.littleEndian(at: start, width: 4) == UInt64(checksum),
            descriptor.littleEndian(at: start + 4, width: width) == UInt64(storedBytes),
            descriptor.littleEndian(at: start + 4 + width, width: width) == UInt64(bytes)
        else { throw disagrees() }
    }

    /// The error of a member whose inflated bytes are not those that the directory promises.
    package var damaged: TensorFormatError {
        error("crc_mismatch", "its bytes are not those that the directory promises")
    }

    /// Describes the array whose npy header stands at the start of the member, as `parseHeader` does.
    ///
    /// - Throws: `npy.*`; `npz.not_an_array` when the member is no npy file.
    package func parseArray(
        _ prefix: RawSpan, limits: ContainerLimits
    ) throws(TensorFormatError) -> HeaderParse {
        let known = min(prefix.byteCount, NumpyParser.magic.count)
        guard bytes >= NumpyParser.magic.count, prefix.starts(with: Array(NumpyParser.magic[..<known])) else {
            throw error("not_an_array", "it is no npy file")
        }
        do throws(TensorFormatError) {
            return try NumpyParser.parse(prefix, totalBytes: bytes, limits: limits)
        } catch {
            throw TensorFormatError(
                code: error.code, detail: "in '\(name)\(Self.suffix)': \(error.detail)", offset: nil, tensor: name)
        }
    }

    func error(_ code: String, _ detail: String) -> TensorFormatError {
        npzError(code, "'\(name)\(Self.suffix)': \(detail)", at: extent.lowerBound, tensor: name)
    }

    private func disagrees() -> TensorFormatError {
        error("local_header", "what stands beside its data is not what the directory says")
    }
}

extension InputDescription {
    /// One description of all arrays of an archive: their data one behind the other, in the order of the directory.
    ///
    /// - Parameter arrays: what the npy header of each member describes.
    /// - Throws: `npz.fortran_rank`: elements of more than two dimensions in Fortran order are not put in order.
    package init(archive arrays: [(member: ZipMember, array: InputDescription)]) throws(TensorFormatError) {
        var entries: [TensorEntry] = []
        entries.reserveCapacity(arrays.count)
        var position = 0
        for (member, array) in arrays {
            for entry in array.entries {
                guard !entry.isFortranOrder || entry.shape.count(where: { $0 > 1 }) == 2 else {
                    let detail = "an array of shape \(entry.shape) in Fortran order; save numpy.ascontiguousarray of it"
                    throw member.error("fortran_rank", detail)
                }
                let end = position + entry.bytes.count
                entries.append(
                    TensorEntry(
                        name: member.name, type: entry.type, shape: entry.shape, elementCount: entry.elementCount,
                        bytes: position..<end, isFortranOrder: entry.isFortranOrder, isBigEndian: entry.isBigEndian))
                position = end
            }
        }
        self.init(container: .npz, entries: entries, metadata: [], dataOffset: 0, dataBytes: position)
    }
}
