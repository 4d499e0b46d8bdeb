package import Tensors

/// Looks at the bytes of an input while they pass, and refuses what its header, or its length, shows to be malformed.
///
/// Nothing of the data is held. An archive says only at its end what it holds: `InputDescription.of` reads that.
package struct InputInspection: ~Copyable {
    /// What the first bytes have told.
    package struct Finding: Sendable, Equatable {
        /// What the bytes are.
        package let container: Container
        /// How many there will be; nil for an archive.
        package let totalBytes: Int?

        /// A finding of an earlier inspection.
        package init(container: Container, totalBytes: Int?) {
            self.container = container
            self.totalBytes = totalBytes
        }
    }

    /// Nil until enough bytes have come.
    package private(set) var finding: Finding?
    private let declaredBytes: Int?
    private let limits: SessionLimits
    private let memory: MemoryShare
    /// Nil, and its memory given back, when the header is whole.
    private var header: HeaderCollector?
    /// The header of a GGUF file, until it is whole.
    private var gguf: GGUFCollector?
    private var opening = InputOpening()
    private var received = 0

    /// An inspection of an input of `declaredBytes`, nil when unknown; a large header takes room from `memory`.
    package init(
        declaration: InputDeclaration, declaredBytes: Int?, limits: SessionLimits, memory: MemoryBudget
    ) throws(QuantizationError) {
        self.declaredBytes = declaredBytes
        self.limits = limits
        self.memory = MemoryShare(memory)
        header = HeaderCollector(
            declaredBytes: declaredBytes, limits: limits.container, memory: self.memory)
        if let declaredBytes { try Self.check(declaredBytes, limits.maximumInputBytes, "input_bytes") }
        if let input = try declaration.described(totalBytes: declaredBytes, limits: limits) {
            finding = Finding(container: input.container, totalBytes: input.totalBytes)
        }
    }

    /// Goes on where an inspection stood that had this `finding` and had seen so many bytes.
    package mutating func resume(_ finding: Finding, received: Int) throws(QuantizationError) {
        self.finding = finding
        self.received = received
        try checkLength()
    }

    /// Takes the next bytes.
    package mutating func take(_ bytes: RawSpan) throws(QuantizationError) {
        received += bytes.byteCount
        if finding == nil { try look(at: bytes) }
        try checkLength()
    }

    /// Ends the input; throws when bytes are missing. Once only.
    package mutating func ended() throws(QuantizationError) -> Finding {
        if finding == nil, let held = opening.end() { _ = try header?.take(unsafe held.span.bytes) }
        if finding == nil, let header = try gguf?.ended() { try found(header) }
        guard let finding else {
            throw header?.endedEarly ?? .truncated(expected: ZipArchive.magic.count, received: received)
        }
        if let total = finding.totalBytes, received < total { throw .truncated(expected: total, received: received) }
        return finding
    }

    private mutating func look(at bytes: RawSpan) throws(QuantizationError) {
        let (taken, told) = opening.take(bytes)
        if let told {
            if told == ZipArchive.magic {
                finding = Finding(container: .npz, totalBytes: nil)
                if let declaredBytes { try Self.check(declaredBytes, limits.maximumArchiveBytes, "archive_bytes") }
                return
            }
            if told == GGUFParser.magic {
                header = nil
                gguf = GGUFCollector(totalBytes: declaredBytes, limits: limits.container, memory: memory)
            }
            _ = try header?.take(unsafe told.span.bytes)
            _ = try gguf?.take(unsafe told.span.bytes)
        }
        let rest = bytes.extracting(droppingFirst: taken)
        if let whole = try gguf?.take(rest) { return try found(whole) }
        _ = try header?.take(rest)
        guard let (input, _) = header?.finished() else { return }
        header = nil
        finding = Finding(container: input.container, totalBytes: input.totalBytes)
    }

    private mutating func found(_ header: GGUFHeader) throws(QuantizationError) {
        gguf = nil
        finding = Finding(container: .gguf, totalBytes: header.totalBytes)
        try checkLength()
    }

    private func checkLength() throws(QuantizationError) {
        try Self.check(received, limits.maximumInputBytes, "input_bytes")
        guard let finding else { return }
        guard let total = finding.totalBytes else {
            return try Self.check(received, limits.maximumArchiveBytes, "archive_bytes")
        }
        try Self.check(total, limits.maximumInputBytes, "input_bytes")
        guard received <= total else { throw .trailingBytes(expected: total) }
    }

    private static func check(_ value: Int, _ limit: Int, _ name: String) throws(QuantizationError) {
        guard value <= limit else { throw .limit(name: name, value: value, limit: limit, tensor: nil) }
    }
}

extension InputDescription {
    /// Reads what a whole input holds: its header, or the directory and the headers of an archive's members.
    ///
    /// What a large header needs of memory is taken from `memory` for as long as this runs. Throws what a session would
    /// refuse in the same input.
    package static func of(
        _ input: any ArtifactSource, declaration: InputDeclaration, codec: any ArchiveCodec, limits: SessionLimits,
        memory: MemoryBudget
    ) throws(QuantizationError) -> InputDescription {
        let count = input.byteCount
        if let described = try declaration.described(totalBytes: count, limits: limits) { return described }
        let share = MemoryShare(memory)
        let first = try input.bytes(at: 0..<min(count, ZipArchive.magic.count))
        if first == GGUFParser.magic { return try GGUFHeader.of(input, limits: limits, memory: share).input }
        if first == ZipArchive.magic {
            return try NpzReader(input, count: count, codec: codec, limits: limits.container, memory: share).input
        }
        return try header(of: input, limits: limits, memory: share)
    }

    /// Reads the header of a whole safetensors or npy file; what a large one needs of memory is taken from `memory`.
    static func header(
        of input: any ArtifactSource, limits: SessionLimits, memory: MemoryShare?
    ) throws(QuantizationError) -> InputDescription {
        let count = input.byteCount
        var collector = HeaderCollector(declaredBytes: count, limits: limits.container, memory: memory)
        var position = 0
        while position < count {
            let piece = try input.piece(at: &position)
            _ = try collector.take(unsafe piece.span.bytes)
            if let (description, _) = collector.finished() { return description }
        }
        throw collector.endedEarly
    }
}

extension GGUFHeader {
    /// Reads the header of a whole importance matrix; what a large one needs of memory is taken from `memory`.
    static func of(
        _ input: any ArtifactSource, limits: SessionLimits, memory: MemoryShare?
    ) throws(QuantizationError) -> GGUFHeader {
        let count = input.byteCount
        var collector = GGUFCollector(totalBytes: count, limits: limits.container, memory: memory)
        var position = 0
        while position < count {
            let piece = try input.piece(at: &position)
            if let header = try collector.take(unsafe piece.span.bytes) { return header }
        }
        return try collector.ended()
    }
}

extension ArtifactSource {
    /// The next 64 KiB of a stored header, and the position moved behind them.
    fileprivate func piece(at position: inout Int) throws(QuantizationError) -> [UInt8] {
        let piece = try bytes(at: position..<min(byteCount, position + (64 << 10)))
        position += piece.count
        return piece
    }
}
