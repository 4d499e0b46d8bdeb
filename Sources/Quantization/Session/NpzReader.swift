import Tensors

/// A whole npz archive on scratch storage: what its arrays are, and their data in the order of the directory.
struct NpzReader {
    /// All arrays in one description.
    let input: InputDescription
    private let archive: any StoredBytes
    private let codec: any ArchiveCodec
    /// The members, and the length of the npy header in each.
    private let members: [(member: ZipMember, headerBytes: Int)]

    /// Memory that a member costs until its report has been written: the least entry of a safetensors header has 70
    /// bytes, and each of these costs `MemoryBudget.bytesForHeaderByte`.
    private static let bytesForMember = 70 * MemoryBudget.bytesForHeaderByte
    /// The data is handed out in pieces of at most this many bytes.
    private static let pieceBytes = 256 << 10

    /// Reads the directory, the local headers and the npy headers of the archive in the first `count` bytes of
    /// `archive`.
    init(
        _ archive: any StoredBytes, count: Int, codec: any ArchiveCodec, limits: ContainerLimits,
        memory: MemoryShare?
    ) throws(QuantizationError) {
        let tail = try archive.bytes(at: max(0, count - ZipArchive.tailBytes)..<count)
        let zip = try refusing { () throws(TensorFormatError) in
            try ZipArchive(tail: unsafe tail.span.bytes, totalBytes: count, limits: limits)
        }
        try memory?.add(zip.directory.count + zip.memberCount * Self.bytesForMember)
        let directory = try archive.bytes(at: zip.directory)
        let members = try refusing { () throws(TensorFormatError) in
            try zip.members(in: unsafe directory.span.bytes, limits: limits)
        }
        var arrays: [(member: ZipMember, array: InputDescription)] = []
        arrays.reserveCapacity(members.count)
        for member in members {
            var reader = try MemberReader(member, in: archive, codec: codec)
            arrays.append((member, try Self.header(of: member, &reader, limits)))
        }
        self.members = arrays.map { ($0.member, $0.array.dataOffset) }
        self.archive = archive
        self.codec = codec
        let described = arrays
        input = try refusing { () throws(TensorFormatError) in try InputDescription(archive: described) }
    }

    /// Reads as much of a member as its npy header takes.
    private static func header(
        of member: ZipMember, _ reader: inout MemberReader, _ limits: ContainerLimits
    ) throws(QuantizationError) -> InputDescription {
        var prefix: [UInt8] = []
        while true {
            let held = prefix
            let parsed = try refusing { () throws(TensorFormatError) in
                try member.parseArray(unsafe held.span.bytes, limits: limits)
            }
            switch parsed {
            case .complete(let array): return array
            case .needsMore(let wanted):
                var next = [UInt8](repeating: 0, count: wanted - prefix.count)
                let count = try reader.read(into: &next)
                guard count == next.count else { throw .container(member.damaged) }
                prefix += next
            }
        }
    }

    /// Hands out the data of all arrays, in pieces; every member is checked to its end.
    func forEachPiece(
        _ body: (RawSpan) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        var piece = [UInt8](repeating: 0, count: Self.pieceBytes)
        for (member, headerBytes) in members {
            var reader = try MemberReader(member, in: archive, codec: codec)
            var position = 0
            while true {
                let count = try reader.read(into: &piece)
                if count == 0 { break }
                let skipped = min(count, max(0, headerBytes - position))
                position += count
                if skipped < count { try body(unsafe piece.span.extracting(skipped..<count).bytes) }
            }
        }
    }
}

/// Runs a parser and tells its refusal as one of the input.
private func refusing<Value>(
    _ parse: () throws(TensorFormatError) -> Value
) throws(QuantizationError) -> Value {
    do { return try parse() } catch { throw .container(error) }
}
