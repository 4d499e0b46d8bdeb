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

    @Test func codesAndScalesAreJoinedSideBySide() throws {
        let listed = ListedOutput()
        let output = JoinedOutput(listed)
        let step = JoinedOutput.heldLimit / 8
        for index in 0..<16 {
            for part in 0..<JoinedOutput.runLimit {
                let (start, size) = (part << 20, step >> (2 * part))
                try write(output, start + index * size..<start + (index + 1) * size)
            }
        }
        #expect(listed.writes == [0..<8 * step, 8 * step..<16 * step])
        try output.flush()
        let (scales, beside) = (1 << 20, 2 << 20)
        #expect(Array(listed.writes[2...]) == [scales..<scales + 4 * step, beside..<beside + step])
    }

    /// The opening of a weight may be coded twice.
    @Test func theLaterWriteStands() throws {
        for later in [0..<100, 50..<150, 0..<10, 90..<100, 0..<JoinedOutput.heldLimit] {
            let listed = ListedOutput()
            let output = JoinedOutput(listed)
            try write(output, 0..<100)
            try write(output, 1000..<1100)
            try output.write(unsafe [UInt8](repeating: 255, count: later.count).span.bytes, at: later.lowerBound)
            try write(output, later.upperBound..<later.upperBound + 10)
            try output.flush()
            #expect(listed.storage.bytes[later].allSatisfy { $0 == 255 }, "\(later)")
            let rest = listed.storage.bytes.indices.filter { !later.contains($0) && ($0 < 100 || $0 >= 1000) }
            #expect(rest.allSatisfy { listed.storage.bytes[$0] == UInt8(truncatingIfNeeded: $0 % 251) })
        }
    }

    @Test func aFailureOfWhatWasHeldBackIsTold() throws {
        let output = JoinedOutput(FullStorage())
        try write(output, 0..<10)
        #expect(throws: StorageFailure(operation: "write", code: 28)) { try output.flush() }
    }
}
