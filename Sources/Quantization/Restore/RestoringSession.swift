import Tensors

/// Turns an artifact back into a safetensors file of plain weights, piece by piece as it is asked for.
///
/// Reads the header and the small parts that say how weights are coded, and refuses there what is of no known format or
/// contradicts itself; the size of the restored file is known then. Memory stays constant: codes are read in bands.
/// The restored weights are those that the library of the format computes with, bit for bit.
///
/// Not safe for concurrent use. After an error the session is over.
package final class RestoringSession {
    /// Bytes of the restored file.
    package let byteCount: Int
    private let plan: RestorePlan
    private let reader: ArtifactReader
    private let limits: RestoreLimits
    private let memory: MemoryShare?
    /// Bytes of the header that have left.
    private var prefixSent = 0
    /// The item that is under way, and the bytes of it that have left; for a weight also the elements restored.
    private var item = 0
    private var itemSent = 0
    private var elementsRestored = 0
    private var decoder: (any WeightDecoder)?
    private var band: RestoredBand?

    /// Recognises what `source` holds.
    ///
    /// - Parameters:
    ///   - elements: the type in which restored weights leave.
    ///   - bits: the width of codes where shapes leave it open and the file does not say (MLX).
    ///   - memory: what a large header is counted against.
    package convenience init(
        source: any ArtifactSource, elements: RestoredElements, bits: Int? = nil,
        limits: RestoreLimits = RestoreLimits(), memory: MemoryBudget? = nil
    ) throws(QuantizationError) {
        try self.init(
            source: source, elements: elements, bits: bits, limits: limits, memory: memory, kernels: .best)
    }

    init(
        source: any ArtifactSource, elements: RestoredElements, bits: Int?, limits: RestoreLimits,
        memory: MemoryBudget?, kernels: Kernels
    ) throws(QuantizationError) {
        guard source.byteCount <= limits.maximumArtifactBytes else {
            throw .limit(
                name: "artifact_bytes", value: source.byteCount, limit: limits.maximumArtifactBytes, tensor: nil)
        }
        self.limits = limits
        reader = ArtifactReader(source: source, kernels: kernels)
        self.memory = memory.map { MemoryShare($0) }
        let input = try Self.header(reader, limits, self.memory)
        guard input.container == .safetensors else {
            throw .artifact(
                code: "artifact.not_quantized", detail: "An artifact is a safetensors file; this is npy.", tensor: nil)
        }
        let contents = try ArtifactContents(input, bits: bits, reader, limits)
        plan = RestorePlan(contents, input, elements: elements)
        byteCount = plan.byteCount
    }

    /// Fills `bytes` with what comes next; fewer bytes, or none, at the end alone.
    package func read(into bytes: inout MutableRawSpan) throws(QuantizationError) -> Int {
        var filled = 0
        while filled < bytes.byteCount {
            var room = bytes._mutatingExtracting(droppingFirst: filled)
            let count = try step(&room)
            if count == 0 { break }
            filled += count
        }
        return filled
    }

    /// At least one byte of what comes next, none at the end.
    private func step(_ room: inout MutableRawSpan) throws(QuantizationError) -> Int {
        let prefix = plan.prefix
        if prefixSent < prefix.count {
            let end = min(prefix.count, prefixSent + room.byteCount)
            room.copy(unsafe prefix.span.bytes.extracting(prefixSent..<end))
            defer { prefixSent = end }
            return end - prefixSent
        }
        while item < plan.items.count, itemSent == plan.items[item].byteCount { endItem() }
        guard item < plan.items.count else { return 0 }
        let count =
            switch plan.items[item] {
            case .copied(let offset, let bytes):
                try copy(from: offset + itemSent, atMost: bytes - itemSent, into: &room)
            case .restored(let weight, let type): try restore(weight, as: type, into: &room)
            }
        itemSent += count
        return count
    }

    private func endItem() {
        item += 1
        itemSent = 0
        elementsRestored = 0
        decoder = nil
        if let stored = band?.stored, item < plan.items.count, case .restored(_, stored) = plan.items[item] { return }
        band = nil
    }

    private func copy(
        from offset: Int, atMost rest: Int, into room: inout MutableRawSpan
    ) throws(QuantizationError) -> Int {
        let count = min(rest, room.byteCount)
        var wanted = room._mutatingExtracting(first: count)
        try reader.read(into: &wanted, at: offset)
        return count
    }

    private func restore(
        _ weight: QuantizedWeight, as type: RestoredType, into room: inout MutableRawSpan
    ) throws(QuantizationError) -> Int {
        // Allocated when bytes are asked for: a session that waits for its turn holds its header alone.
        var current = band ?? RestoredBand(stored: type)
        band = nil
        if current.isEmpty {
            var working = decoder ?? weight.decoder(limits)
            decoder = nil
            try working.restore(from: elementsRestored, into: &current, reader)
            elementsRestored += current.count
            decoder = working
        }
        let count = current.move(to: &room)
        band = current
        return count
    }

    /// The artifact's header, read in as many steps as the parser asks for.
    private static func header(
        _ reader: ArtifactReader, _ limits: RestoreLimits, _ memory: MemoryShare?
    ) throws(QuantizationError) -> InputDescription {
        let total = reader.source.byteCount
        var wanted = 8
        while true {
            let count = min(wanted, total)
            var bytes: [UInt8] = []
            try reader.read(count, at: 0, into: &bytes)
            let parsed: HeaderParse
            do {
                parsed = try parseHeader(unsafe bytes.span.bytes, totalBytes: total, limits: limits.container)
            } catch {
                throw .container(error)
            }
            switch parsed {
            case .complete(let input): return input
            case .needsMore(let atLeast):
                guard atLeast <= total else { throw .truncated(expected: atLeast, received: total) }
                try memory?.add((atLeast - wanted) * MemoryBudget.bytesForHeaderByte)
                wanted = max(atLeast, wanted + 1)
            }
        }
    }
}

extension QuantizedWeight {
    /// What restores the weight.
    fileprivate func decoder(_ limits: RestoreLimits) -> any WeightDecoder {
        switch coding {
        case .blocks(let coding): BlockDecoder(self, coding)
        case .groups(let coding): GroupDecoder(self, coding)
        case .awq(let coding): AWQDecoder(self, coding, bandBytes: limits.maximumBandBytes)
        }
    }
}
