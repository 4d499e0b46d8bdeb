internal import Synchronization
package import Tensors

/// Memory that all sessions of a process share, so that no number of clients can ask for more than there is.
///
/// It counts what a client's numbers decide: the header and what is made of it, the widest row, AWQ's working set. A
/// session that needs little is not counted, so that those with large needs cannot keep it out.
package final class MemoryBudget: Sendable {
    /// Bytes that a session may use without asking.
    package static let freeBytes = 4 << 20
    /// Memory that a byte of a safetensors header costs at most, the report included: 47 were measured.
    package static let bytesForHeaderByte = 56

    /// Bytes of all sessions together.
    package let bytes: Int
    private let taken = Mutex(0)

    /// A budget of `bytes` for all sessions together.
    package init(bytes: Int) {
        self.bytes = bytes
    }

    /// Takes `count` bytes, or throws `busy` when others hold them, `limit` when there will never be as many.
    fileprivate func take(_ count: Int, holding held: Int) throws(QuantizationError) {
        guard count <= bytes - held else {
            throw .limit(name: "working_bytes", value: count + held, limit: bytes, tensor: nil)
        }
        let hasRoom = taken.withLock { taken in
            guard count <= bytes - taken else { return false }
            taken += count
            return true
        }
        guard hasRoom else { throw .busy(wantedBytes: count) }
    }

    fileprivate func giveBack(_ count: Int) {
        taken.withLock { $0 -= count }
    }

    /// Bytes that sessions hold.
    package var takenBytes: Int { taken.withLock { $0 } }
}

/// What one session holds of a budget; given back when the session and its result are gone.
package final class MemoryShare: Sendable {
    private let budget: MemoryBudget
    private let held = Mutex(0)

    /// Nothing yet, of `budget`.
    package init(_ budget: MemoryBudget) {
        self.budget = budget
    }

    deinit {
        budget.giveBack(held.withLock { $0 })
    }

    /// Takes `count` more bytes, unless a session may use as many without asking.
    func add(_ count: Int) throws(QuantizationError) {
        guard count > MemoryBudget.freeBytes else { return }
        try budget.take(count, holding: held.withLock { $0 })
        held.withLock { $0 += count }
    }
}

extension ArtifactLayout {
    /// Bytes of the widest tensor's working set, as far as the input's header decides.
    package func workingBytes(of input: InputDescription) -> Int {
        zip(tensors, input.entries).map { $0.workingBytes(of: $1.widened) }.max() ?? 0
    }
}

extension PlannedTensor {
    /// Bytes that encoding a tensor holds, as far as its shape decides.
    func workingBytes(of entry: TensorEntry) -> Int {
        switch self {
        case .copy, .calibration: 0
        // A nested group of `NF4BestEncoder`: what the offset is chosen from, what is carried over, float32, codes.
        case .nf4(let parts):
            (entry.elementCount / max(1, parts.absmax.bytes / (parts.nestedAbsmax == nil ? 4 : 1)) + 1)
                * min(NestedQuantizer.blockSize, parts.absmax.bytes) * (2 * entry.type.bitWidth / 8 + 5)
        // The tensor as it came, as float32 and as float16.
        case .castToF16: entry.bytes.count + entry.elementCount * 6
        // A row as it came, as float32, and its codes.
        case .int8: entry.shape[1] * (entry.type.bitWidth / 8 + 5)
        // The same for a group, which is a whole row at most.
        case .grouped(let parts):
            entry.elementCount / max(1, parts.scales.bytes / RestoredType(of: entry.type).width)
                * (entry.type.bitWidth / 8 + 5)
        // `AWQTiles`, and what grows with the columns: eight rows, all candidates, a panel of tokens.
        case .awq: 16 << 20 + entry.shape[1] * 512
        }
    }
}
