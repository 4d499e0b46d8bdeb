import Tensors
import Testing

@testable import Quantization

/// Writes reach the storage joined, and none of their bytes elsewhere than where they belong.
@Suite struct JoinedOutputTests {
    /// Storage that lists the writes that reach it.
    private final class ListedOutput: ArtifactOutput {
        private(set) var writes: [Range<Int>] = []
        let storage = MemoryStorage()

        func write(_ bytes: RawSpan, at offset: Int) throws(StorageFailure) {
            writes.append(offset..<offset + bytes.byteCount)
            try storage.write(bytes, at: offset)
        }
    }

    private func write(_ output: JoinedOutput, _ range: Range<Int>) throws {
        let bytes = range.map { UInt8(truncatingIfNeeded: $0 % 251) }
        try output.write(unsafe bytes.span.bytes, at: range.lowerBound)
    }

    @Test func whatFollowsIsJoinedUpToTheLimit() throws {
        let listed = ListedOutput()
        let output = JoinedOutput(listed)
        let step = JoinedOutput.heldLimit / 4
        for index in 0..<6 { try write(output, index * step..<(index + 1) * step) }
        #expect(listed.writes == [0..<4 * step])
        try output.flush()
        try output.flush()
        #expect(listed.writes == [0..<4 * step, 4 * step..<6 * step])
    }

    @Test func everyOrderOfWritesLeavesTheSameBytes() throws {
        let limit = JoinedOutput.heldLimit
        let cuts = [0, 1, 9, 10, limit, limit + 1, 3 * limit, 3 * limit + 7, 4 * limit]
        let ranges = zip(cuts, cuts.dropFirst()).map { $0..<$1 }
        for order in [ranges, ranges.reversed(), ranges.filter { $0.count > 9 } + ranges.filter { $0.count <= 9 }] {
            let listed = ListedOutput()
            let output = JoinedOutput(listed)
            for range in order { try write(output, range) }
            try output.flush()
            #expect(listed.storage.bytes == (0..<4 * limit).map { UInt8(truncatingIfNeeded: $0 % 251) })
            #expect(listed.storage.overwritten == 0)
        }
    }

    @Test func aFailureOfWhatWasHeldBackIsTold() throws {
        let output = JoinedOutput(FullStorage())
        try write(output, 0..<10)
        #expect(throws: StorageFailure(operation: "write", code: 28)) { try output.flush() }
    }
}
