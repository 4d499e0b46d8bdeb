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

/// What one session, or another reader of what clients made, holds of a budget; given back when it is gone.
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

    /// Takes `count` more bytes, unless as many may be used without asking.
    ///
    /// Throws `busy` when others hold them, `limit` when there will never be as many.
    package func add(_ count: Int) throws(QuantizationError) {
        guard count > MemoryBudget.freeBytes else { return }
        try budget.take(count, holding: held.withLock { $0 })
        held.withLock { $0 += count }
    }
}

extension ArtifactLayout {
    /// Bytes of the widest tensor's working set with up to `threads` threads, as far as the input's header decides.
    package func workingBytes(of input: InputDescription, threads: Int) -> Int {
        input.entries.enumerated().map { index, entry in
            guard let knowledge = calibrated(index) else {
                return tensors[index].workingBytes(of: entry.widened, threads: threads)
            }
            return CalibratedLayer.workingBytes(
                rows: entry.shape[0], columns: entry.shape[1], knowledge: knowledge,
                options: CalibratedOptions(recipe(of: index)), threads: threads)
        }.max() ?? 0
    }
}

extension PlannedTensor {
    /// Bytes that encoding a tensor holds, as far as its shape and the number of threads decide.
    func workingBytes(of entry: TensorEntry, threads: Int) -> Int {
        switch self {
        case .copy, .calibration: return 0
        case .nf4(let parts):
            // A nested group of `NF4BestEncoder`.
            let blocks = max(1, parts.absmax.bytes / (parts.nestedAbsmax == nil ? 4 : 1))
            let group = (entry.elementCount / blocks + 1) * min(NestedQuantizer.blockSize, blocks)
            return unitBytes(group, of: entry, threads: threads)
        // The tensor as it came, as float32 and as float16.
        case .folded: return FoldedTensor.workingBytes(of: entry)
        case .castToF16: return entry.bytes.count + entry.elementCount * 6
        case .int8: return unitBytes(entry.shape[1], of: entry, threads: threads)
        case .grouped(let parts):
            // A group is a whole row at most.
            let groups = max(1, parts.scales.bytes / RestoredType(of: entry.type).width)
            return unitBytes(entry.elementCount / groups, of: entry, threads: threads)
        // `AWQTiles`, and what grows with the columns: eight rows, all candidates, a panel of tokens. A layer that is
        // coded as it arrives has a tile in place of these; a group is a whole row at most.
        case .awq: return 16 << 20 + entry.shape[1] * 512 + unitBytes(entry.shape[1], of: entry, threads: threads)
        }
    }

    /// A unit that pieces of the input cut, as it came, and the crew that codes such units.
    private func unitBytes(_ elements: Int, of entry: TensorEntry, threads: Int) -> Int {
        let crew = CrewSize(unitElements: elements, elements: entry.elementCount, threads: threads)
        return elements * (entry.type.bitWidth / 8) + crew.bytes
    }
}
