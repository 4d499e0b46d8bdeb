package import Tensors

/// Collects the first bytes of an input, cut into pieces of any size, until its header is whole.
///
/// A file's plan needs no more of it, and a session begins with it.
package struct HeaderCollector: ~Copyable {
    private let declaredBytes: Int?
    private let limits: ContainerLimits
    private let memory: MemoryShare?
    private var held: [UInt8] = []
    /// Bytes from the input's start that are needed before the next look at them.
    private var wanted = 8
    private var input: InputDescription?

    /// A collector for an input of `declaredBytes`, nil where the length is unknown or only the first bytes will come;
    /// the memory of a large header is taken from `memory`.
    package init(declaredBytes: Int?, limits: ContainerLimits, memory: MemoryShare?) {
        self.declaredBytes = declaredBytes
        self.limits = limits
        self.memory = memory
    }

    /// Takes what is missing of the header from the start of `bytes`; returns how many bytes were taken.
    package mutating func take(_ bytes: RawSpan) throws(QuantizationError) -> Int {
        var rest = bytes
        while input == nil, rest.byteCount > 0 {
            let taken = min(max(wanted - held.count, 1), rest.byteCount)
            held.append(rest.extracting(first: taken))
            rest = rest.extracting(droppingFirst: taken)
            if held.count >= wanted { try parse() }
        }
        return bytes.byteCount - rest.byteCount
    }

    /// The description of a whole header, and the bytes behind it that were taken with it; nil before. Once only.
    package mutating func finished() -> (input: InputDescription, overshoot: [UInt8])? {
        guard let input else { return nil }
        let overshoot = Array(held.dropFirst(input.dataOffset))
        held = []
        return (input, overshoot)
    }

    /// Bytes taken of a header that is not whole.
    var heldBytes: Int { held.count }

    /// What an end of the input before the end of its header means.
    package var endedEarly: QuantizationError {
        .truncated(expected: max(wanted, held.count + 1), received: held.count)
    }

    private mutating func parse() throws(QuantizationError) {
        let parsed: HeaderParse
        do {
            parsed = try parseHeader(unsafe held.span.bytes, totalBytes: declaredBytes, limits: limits)
        } catch {
            throw .container(error)
        }
        switch parsed {
        case .needsMore(let atLeast):
            // Asked once, for the whole header, before it is collected.
            try memory?.add((atLeast - wanted) * MemoryBudget.bytesForHeaderByte)
            wanted = max(atLeast, held.count + 1)
        case .complete(let input): self.input = input
        }
    }
}

extension InputDescription {
    /// Reads an input only until its header is whole: `receive` fills the start of a buffer and returns 0 at the end.
    ///
    /// Nothing is compared with the input's length, so that its first bytes are enough.
    package static func reading<Failure: Error>(
        limits: ContainerLimits, memory: MemoryShare?, _ receive: (inout MutableRawSpan) throws(Failure) -> Int
    ) throws(TransferError<Failure>) -> InputDescription {
        try reading(headers: 1, limits: limits, memory: memory, receive)[0]
    }

    /// Reads so many headers that lie one directly behind the other: those of a model's shards. At least one; refused
    /// where their inputs have more bytes together than 63 bits count.
    package static func reading<Failure: Error>(
        headers count: Int, limits: ContainerLimits, memory: MemoryShare?,
        _ receive: (inout MutableRawSpan) throws(Failure) -> Int
    ) throws(TransferError<Failure>) -> [InputDescription] {
        var found: [InputDescription] = []
        var total = 0
        var header = HeaderCollector(declaredBytes: nil, limits: limits, memory: memory)
        try transfer(receive) { (bytes) throws(QuantizationError) in
            var rest = bytes
            while rest.byteCount > 0 {
                rest = rest.extracting(droppingFirst: try header.take(rest))
                guard let (input, overshoot) = header.finished() else { return true }
                let (sum, overflow) = total.addingReportingOverflow(input.totalBytes)
                guard !overflow else {
                    let detail = "the bytes of \(found.count + 1) shards together do not fit 64 bits"
                    throw .container(TensorFormatError(code: "\(input.container).data_too_large", detail: detail))
                }
                total = sum
                found.append(input)
                guard found.count < count else { return false }
                header = HeaderCollector(declaredBytes: nil, limits: limits, memory: memory)
                _ = try header.take(unsafe overshoot.span.bytes)
            }
            return true
        }
        guard found.count >= count else { throw .session(header.endedEarly) }
        return found
    }
}

/// Gives what `receive` fills the start of a buffer with to `take`, until `receive` returns 0 or `take` wants no more.
package func transfer<Failure: Error>(
    _ receive: (inout MutableRawSpan) throws(Failure) -> Int, to take: (RawSpan) throws(QuantizationError) -> Bool
) throws(TransferError<Failure>) {
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    while true {
        let count: Int
        do throws(Failure) {
            var span = buffer.mutableSpan
            var bytes = unsafe span.mutableBytes
            count = try receive(&bytes)
        } catch {
            throw .receive(error)
        }
        do throws(QuantizationError) {
            guard count > 0, try take(unsafe buffer.span.bytes.extracting(first: count)) else { return }
        } catch {
            throw .session(error)
        }
    }
}
