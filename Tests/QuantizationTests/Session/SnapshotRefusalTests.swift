import Testing

@testable import Quantization

/// A state that is not whole, not of this session, or contradicts itself is refused: never trusted, never a trap.
@Suite struct SnapshotRefusalTests {
    private let subject = Resumable(input: SnapshotTests.several, options: [("method", "nf4")])

    /// The flaw for which a new session refuses `state`; nil if it goes on with it.
    private func flaw(_ state: [UInt8], _ subject: Resumable, head: Int) throws -> SnapshotFlaw? {
        let session = try subject.session(CrashingStorage(), CrashingStorage())
        try subject.feed(session, 0..<head)
        do throws(QuantizationError) {
            try session.resume(state)
            return nil
        } catch {
            guard case .snapshot(let flaw) = error else { throw error }
            // A session that refused is over.
            #expect(throws: QuantizationError.snapshot(.over)) { try session.snapshot() }
            return flaw
        }
    }

    @Test func everyBitAndEveryByteCounts() throws {
        let (state, head) = try subject.state(at: 9000, CrashingStorage(), CrashingStorage())
        #expect(try flaw(state, subject, head: head) == nil)
        var generator = FuzzGenerator(state: 1)
        for count in [0, 1, 2, 16, 17, 18, state.count / 2, state.count - 8, state.count - 1] {
            #expect(try flaw(Array(state.prefix(count)), subject, head: head) == (count == 0 ? .version : .damaged))
        }
        #expect(try flaw(state + [0], subject, head: head) == .damaged)
        for place in [0, 1, 8, 9, state.count - 1] + (0..<100).map({ _ in generator.below(state.count) }) {
            var other = state
            other[place] ^= 1 << UInt8(generator.below(8))
            #expect(try flaw(other, subject, head: head) == (place == 0 ? .version : .damaged))
        }
    }

    @Test func anotherSessionIsRefused() throws {
        let (state, head) = try subject.state(at: 9000, CrashingStorage(), CrashingStorage())
        var others = [subject, subject, subject]
        others[0] = Resumable(input: subject.input, options: [("method", "nf4"), ("block_size", "32")])
        others[1].engine = "viva of tomorrow"
        var renamed = subject.input
        renamed[renamed.firstRange(of: Array("a.weight".utf8))?.lowerBound ?? 0] = UInt8(ascii: "e")
        others[2] = Resumable(input: renamed, options: subject.options)
        for other in others { #expect(try flaw(state, other, head: head) == .foreign) }
    }

    @Test func theHeadMustBeWhatItWas() throws {
        let (state, head) = try subject.state(at: 9000, CrashingStorage(), CrashingStorage())
        // A header that is not whole has no description yet to compare.
        for other in [0, 8, head - 1] { #expect(try flaw(state, subject, head: other) == .foreign) }
        for other in [head + 1, 9000] { #expect(try flaw(state, subject, head: other) == .contradiction) }
        let (early, held) = try subject.state(at: 20, CrashingStorage(), CrashingStorage())
        #expect(held == 20)
        for other in [0, 19, 21] { #expect(try flaw(early, subject, head: other) == .contradiction) }
        #expect(try flaw(early, subject, head: head) == .foreign)
    }

    @Test func aSessionThatIsOverHasNoState() throws {
        let finished = try subject.session(CrashingStorage(), CrashingStorage())
        try subject.feed(finished, 0..<subject.input.count)
        let last = try finished.snapshot()
        _ = try finished.finish(inputDigest: SessionRun.digest)
        #expect(throws: QuantizationError.snapshot(.over)) { try finished.snapshot() }
        #expect(throws: QuantizationError.snapshot(.over)) { try finished.resume(last) }
        let failed = try subject.session(CrashingStorage(), CrashingStorage())
        #expect(throws: QuantizationError.self) {
            try unsafe failed.consume([UInt8](repeating: 1, count: 99).span.bytes)
        }
        #expect(throws: QuantizationError.snapshot(.over)) { try failed.snapshot() }
        let full = try subject.session(FullStorage(), FullStorage())
        try subject.feed(full, 0..<2000)
        #expect(throws: QuantizationError.self) { try subject.feed(full, 2000..<subject.input.count) }
        #expect(throws: QuantizationError.snapshot(.over)) { try full.snapshot() }
    }

    /// Bytes that are changed and sealed again pass the checksum; what they say is refused, or it leads to an artifact
    /// of other bytes or to an error.
    @Test(arguments: SnapshotTests.recipes.indices)
    func forgedStatesDoNotTrap(_ index: Int) throws {
        let subject = Resumable(input: SnapshotTests.several, options: SnapshotTests.recipes[index])
        var generator = FuzzGenerator(state: 900 + UInt64(index))
        for cut in [3000, subject.input.count - 3000] {
            let (output, scratch) = (CrashingStorage(), CrashingStorage())
            let (state, head) = try subject.state(at: cut, output, scratch)
            for _ in 0..<25 {
                let session = try subject.session(output, scratch)
                try subject.feed(session, 0..<head)
                do throws(QuantizationError) {
                    try session.resume(forged(state, &generator))
                } catch {
                    switch error {
                    // The second: scratch does not hold what the state promises.
                    case .snapshot, .storage: continue
                    default: throw error
                    }
                }
                do {
                    try subject.feed(session, session.consumedBytes..<subject.input.count)
                    let result = try session.finish(inputDigest: SessionRun.digest)
                    #expect(result.report.warnings.count < 100 && result.report.errors.counts.count < 1000)
                } catch is QuantizationError {
                    // Refused later: what scratch holds belongs to other tensors.
                }
            }
        }
    }

    /// Some bytes behind the identity changed, taken out or added, under a checksum that fits.
    private func forged(_ state: [UInt8], _ generator: inout FuzzGenerator) -> [UInt8] {
        var body = Array(state.dropLast(8))
        for _ in 0...generator.below(3) {
            let place = 9 + generator.below(body.count - 9)
            switch generator.below(6) {
            case 0: body.remove(at: place)
            case 1: body.insert(UInt8(truncatingIfNeeded: generator.next()), at: place)
            case 2: body[9 + generator.below(min(12, body.count - 9))] = generator.pick([0, 1, 0x7F, 0x80, 0xFF])
            default:
                body[place] = generator.pick([0, 1, 0x7F, 0x80, 0xFF, UInt8(truncatingIfNeeded: generator.next())])
            }
        }
        var checksum = Fingerprint()
        checksum.add(body)
        return body + (0..<8).map { UInt8(truncatingIfNeeded: checksum.value >> (8 * $0)) }
    }
}
