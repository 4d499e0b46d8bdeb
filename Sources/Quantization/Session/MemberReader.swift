import Tensors

/// Reads one member of a staged archive from its first byte to its last, inflated.
///
/// The local header is held to the directory before the first byte, length and CRC-32 with the last.
struct MemberReader {
    private let member: ZipMember
    private let archive: any StoredBytes
    private let codec: any ArchiveCodec
    private let inflater: (any MemberInflater)?
    /// Where the member's stored bytes lie in the archive.
    private let stored: Range<Int>
    /// Stored bytes read from the archive, and the part of them that is not inflated yet.
    private var taken = 0
    private var held: [UInt8] = []
    private var used = 0
    private var produced = 0
    private var checksum: UInt32 = 0

    /// Stored bytes are read this many at a time.
    private static let pieceBytes = 64 << 10

    /// Opens a member of the archive that lies at the start of `archive`.
    init(
        _ member: ZipMember, in archive: any StoredBytes, codec: any ArchiveCodec
    ) throws(QuantizationError) {
        self.member = member
        self.archive = archive
        self.codec = codec
        let start = member.extent.lowerBound
        let fixed = try archive.bytes(at: start..<start + ZipMember.localBytes)
        do throws(TensorFormatError) {
            stored = try Self.stored(member, headerBytes: member.localHeaderBytes(fixed: unsafe fixed.span.bytes))
        } catch {
            throw .container(error)
        }
        let local = try archive.bytes(at: start..<stored.lowerBound)
        let descriptor = try member.descriptor(localHeaderBytes: local.count).map {
            (range) throws(QuantizationError) in try archive.bytes(at: range)
        }
        do throws(TensorFormatError) {
            try member.check(local: unsafe local.span.bytes)
            if let descriptor { try member.check(descriptor: unsafe descriptor.span.bytes) }
        } catch {
            throw .container(error)
        }
        do throws(InflateFailure) {
            inflater = member.isDeflated ? try codec.inflater() : nil
        } catch {
            throw Self.explain(error, member)
        }
    }

    private static func stored(_ member: ZipMember, headerBytes: Int) -> Range<Int> {
        let start = member.extent.lowerBound + headerBytes
        return start..<start + member.storedBytes
    }

    /// Fills `output` with the next bytes of the member, fewer at its end; returns how many.
    mutating func read(into output: inout [UInt8]) throws(QuantizationError) -> Int {
        let count = min(output.count, member.bytes - produced)
        guard count > 0 else { return 0 }
        if inflater == nil {
            try archive.unstage(into: &output, count: count, at: stored.lowerBound + produced)
        } else if try inflate(into: &output, count: count) < count {
            throw .container(member.damaged)
        }
        checksum = codec.checksum(unsafe output.span.extracting(first: count).bytes, following: checksum)
        produced += count
        if produced == member.bytes { try checkEnd() }
        return count
    }

    /// Inflates up to `count` bytes; fewer come when the stream ends.
    private mutating func inflate(into output: inout [UInt8], count: Int) throws(QuantizationError) -> Int {
        var done = 0
        while done < count {
            if used == held.count, taken < stored.count {
                let next = stored.lowerBound + taken
                held = try archive.bytes(at: next..<min(next + Self.pieceBytes, stored.upperBound))
                taken += held.count
                used = 0
            }
            var span = output.mutableSpan
            var bytes = unsafe span.mutableBytes
            var room = bytes._mutatingExtracting(done..<count)
            let step = try step(into: &room)
            used += step.consumed
            done += step.produced
            if step.isFinished || step.consumed == 0 && step.produced == 0 && taken == stored.count { break }
        }
        return done
    }

    private func step(
        into room: inout MutableRawSpan
    ) throws(QuantizationError) -> (consumed: Int, produced: Int, isFinished: Bool) {
        guard let inflater else { return (0, 0, true) }
        do throws(InflateFailure) {
            return try inflater.inflate(unsafe held.span.extracting(droppingFirst: used).bytes, into: &room)
        } catch {
            throw Self.explain(error, member)
        }
    }

    /// All bytes are there: the stream must end here, with nothing stored behind it, and the CRC must fit.
    private mutating func checkEnd() throws(QuantizationError) {
        var beyond: [UInt8] = [0]
        let excess = inflater == nil ? 0 : try inflate(into: &beyond, count: 1)
        let isUsedUp = inflater == nil || taken == stored.count && used == held.count
        guard excess == 0, isUsedUp, checksum == member.checksum else { throw .container(member.damaged) }
    }

    private static func explain(_ failure: InflateFailure, _ member: ZipMember) -> QuantizationError {
        switch failure {
        case .malformed: .container(member.damaged)
        // The window of inflate, 32 KiB, and its tables.
        case .noMemory: .busy(wantedBytes: 48 << 10)
        }
    }
}

extension StoredBytes {
    /// Reads the first `count` of `values` back.
    ///
    /// Every bit pattern is a valid number, which is what makes reading them raw safe.
    func unstage<Value: BitwiseCopyable>(
        into values: inout [Value], count: Int, at offset: Int
    ) throws(QuantizationError) {
        var span = values.mutableSpan
        var bytes = unsafe span.mutableBytes
        var wanted = bytes._mutatingExtracting(first: count * MemoryLayout<Value>.stride)
        do { try read(into: &wanted, at: offset) } catch { throw .storage(error) }
    }

    /// The bytes of a range, which must be small.
    func bytes(at range: Range<Int>) throws(QuantizationError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: range.count)
        try unstage(into: &bytes, count: range.count, at: range.lowerBound)
        return bytes
    }
}
