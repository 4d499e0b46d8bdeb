import Tensors

/// Collects the first bytes of a GGUF file, an importance matrix, until its header is whole.
struct GGUFCollector: ~Copyable {
    private let totalBytes: Int?
    private let limits: ContainerLimits
    private let memory: MemoryShare?
    private var held: [UInt8] = []
    /// Bytes that are held before the next look: twice those of the last one, for a header does not say its length.
    private var wanted = 4096

    /// A collector for a file of `totalBytes`, nil where that is not known; the memory of a large header is taken from
    /// `memory`.
    init(totalBytes: Int?, limits: ContainerLimits, memory: MemoryShare?) {
        self.totalBytes = totalBytes
        self.limits = limits
        self.memory = memory
    }

    /// Takes the next bytes of the file; answers the header when it is whole. Not to be called again then.
    mutating func take(_ bytes: RawSpan) throws(QuantizationError) -> GGUFHeader? {
        var rest = bytes
        while rest.byteCount > 0 {
            let piece = min(max(1, wanted - held.count), rest.byteCount)
            held.append(rest.extracting(first: piece))
            rest = rest.extracting(droppingFirst: piece)
            guard held.count >= wanted || held.count == totalBytes else { continue }
            if let header = try parse(totalBytes) { return header }
        }
        return nil
    }

    /// The header of a file that ends here.
    mutating func ended() throws(QuantizationError) -> GGUFHeader {
        guard let header = try parse(held.count) else {
            throw .truncated(expected: held.count + 1, received: held.count)
        }
        return header
    }

    private mutating func parse(_ totalBytes: Int?) throws(QuantizationError) -> GGUFHeader? {
        let parsed: GGUFParse
        do {
            parsed = try GGUFParser.parse(unsafe held.span.bytes, totalBytes: totalBytes, limits: limits)
        } catch {
            throw .container(error)
        }
        switch parsed {
        case .complete(let header):
            guard header.value(of: "general.type") == .string("imatrix") else {
                throw .container(
                    TensorFormatError(
                        code: "gguf.not_imatrix",
                        detail: "a GGUF file, but no importance matrix (general.type = imatrix), which alone is read"))
            }
            return header
        case .needsMore(let count):
            let next = max(count, 2 * held.count)
            try memory?.add((next - wanted) * MemoryBudget.bytesForHeaderByte)
            wanted = next
            return nil
        }
    }
}
