import Tensors

/// Stands between an input and its sessions: passes it on as it comes, and keeps an archive on scratch storage until it
/// is whole, for the directory stands at its end.
///
/// An archive is staged once, however many sessions want it, and its members are inflated once.
package final class ArchiveIntake {
    private let codec: any ArchiveCodec
    private let declaredBytes: Int?
    private let limits: SessionLimits
    private let memory: MemoryShare?
    private let openScratch: () throws(StorageFailure) -> any ScratchStorage
    private let reserve: (Int) throws(QuantizationError) -> Void
    private var opening = InputOpening()
    private var archive: (any ScratchStorage)?
    private var staged = 0
    private var reserved = 0

    /// Room is reserved in steps of this many bytes where the length is unknown.
    private static let step = 64 << 20

    /// An intake for an input of `declaredBytes` (nil when unknown) that describes itself.
    ///
    /// - Parameters:
    ///   - memory: what the directory of an archive needs of memory is taken from it.
    ///   - openScratch: called once, when an archive begins; what it returns is the intake's alone.
    ///   - reserve: called with a number of bytes before they are staged; throws when there is no room for them.
    package init(
        codec: any ArchiveCodec, declaredBytes: Int?, limits: SessionLimits = SessionLimits(),
        memory: MemoryBudget? = nil, openScratch: @escaping () throws(StorageFailure) -> any ScratchStorage,
        reserve: @escaping (Int) throws(QuantizationError) -> Void = { (_) throws(QuantizationError) in }
    ) {
        self.codec = codec
        self.declaredBytes = declaredBytes
        self.limits = limits
        self.memory = memory.map { MemoryShare($0) }
        self.openScratch = openScratch
        self.reserve = reserve
    }

    /// Whether the input is an archive: the sessions see nothing of it before it is whole.
    package var holdsArchive: Bool { archive != nil }

    /// Takes the next bytes of the input for `sessions`, which see nothing else.
    package func consume(_ bytes: RawSpan, for sessions: [QuantizingSession]) throws(QuantizationError) {
        let (taken, told) = opening.take(bytes)
        if let told {
            if told == ZipArchive.magic { try begin() }
            try take(unsafe told.span.bytes, sessions)
        }
        let rest = bytes.extracting(droppingFirst: taken)
        if rest.byteCount > 0 { try take(rest, sessions) }
    }

    /// Ends the input: the members of an archive go to `sessions`, which then are to finish as for every other input.
    package func finish(for sessions: [QuantizingSession]) throws(QuantizationError) {
        if let held = opening.end() { try take(unsafe held.span.bytes, sessions) }
        guard let archive else { return }
        let reader = try NpzReader(archive, count: staged, codec: codec, limits: limits.container, memory: memory)
        for session in sessions { try session.begin(reader.input) }
        try reader.forEachPiece { (piece) throws(QuantizationError) in
            try sessions.consume(piece)
        }
    }

    private func begin() throws(QuantizationError) {
        if let declaredBytes {
            try check(declaredBytes)
            try grow(to: declaredBytes)
        }
        do throws(StorageFailure) { archive = try openScratch() } catch { throw .storage(error) }
    }

    private func take(_ bytes: RawSpan, _ sessions: [QuantizingSession]) throws(QuantizationError) {
        guard let archive else { return try sessions.consume(bytes) }
        let end = staged + bytes.byteCount
        try check(end)
        if end > reserved { try grow(to: max(end, reserved + Self.step)) }
        do throws(StorageFailure) { try archive.write(bytes, at: staged) } catch { throw .storage(error) }
        staged = end
    }

    private func check(_ count: Int) throws(QuantizationError) {
        let limit = limits.maximumArchiveBytes
        guard count <= limit else { throw .limit(name: "archive_bytes", value: count, limit: limit, tensor: nil) }
    }

    /// Reserves room for `count` bytes in all.
    private func grow(to count: Int) throws(QuantizationError) {
        try reserve(count - reserved)
        reserved = count
    }
}
