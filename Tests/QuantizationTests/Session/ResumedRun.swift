import Tensors
import Testing

@testable import Quantization

/// Storage that loses what a disk loses: after a crash each write since the last `sync` is there, gone or torn.
final class CrashingStorage: ScratchStorage {
    private(set) var bytes: [UInt8] = []
    private var written: [Bool] = []
    private var durable: (bytes: [UInt8], written: [Bool]) = ([], [])
    private var recent: [(offset: Int, bytes: [UInt8])] = []

    func write(_ span: RawSpan, at offset: Int) throws(StorageFailure) {
        let piece = unsafe span.withUnsafeBytes { unsafe Array($0) }
        put(piece, at: offset)
        recent.append((offset, piece))
    }

    private func put(_ piece: [UInt8], at offset: Int) {
        let end = offset + piece.count
        if bytes.count < end {
            bytes += [UInt8](repeating: 0xA5, count: end - bytes.count)
            written += [Bool](repeating: false, count: end - written.count)
        }
        bytes.replaceSubrange(offset..<end, with: piece)
        written.replaceSubrange(offset..<end, with: repeatElement(true, count: piece.count))
    }

    func read(into span: inout MutableRawSpan, at offset: Int) throws(StorageFailure) {
        guard offset + span.byteCount <= bytes.count else { throw StorageFailure(operation: "read", code: 5) }
        for index in 0..<span.byteCount {
            span.storeBytes(of: bytes[offset + index], toByteOffset: index, as: UInt8.self)
        }
    }

    func sync() {
        durable = (bytes, written)
        recent = []
    }

    /// A torn write is garbage where nothing was before. What was durable may have been overwritten: with what the
    /// session wrote there.
    func crash(_ generator: inout FuzzGenerator) {
        (bytes, written) = durable
        for (offset, piece) in recent where generator.chance(67) {
            put(piece, at: offset)
            guard generator.chance(50) else { continue }
            for index in offset..<offset + piece.count where index >= durable.written.count || !durable.written[index] {
                bytes[index] = UInt8(truncatingIfNeeded: generator.next())
            }
        }
        recent = []
    }

    /// Bytes that nobody wrote.
    var gaps: Int { written.count { !$0 } }
}

/// An input and a recipe, run without a break and with any number of them.
struct Resumable {
    let input: [UInt8]
    let options: [(String, String)]
    var declaration = InputDeclaration.recognise
    var levels: [KernelLevel] = [.avx2, .avx512]
    var engine = "viva test"

    func session(
        _ output: any ArtifactOutput, _ scratch: any ScratchStorage, threads: Int = 1, level: KernelLevel? = nil
    ) throws -> QuantizingSession {
        var limits = SessionLimits()
        limits.maximumThreads = threads
        return try QuantizingSession(
            recipe: try Recipe(options: options.map { RecipeOption($0.0, $0.1) }), declaration: declaration,
            declaredBytes: input.count, engine: engine, limits: limits, output: output, scratch: scratch,
            level: level)
    }

    func feed(_ session: QuantizingSession, _ range: Range<Int>, pieceBytes: Int = .max) throws {
        var position = range.lowerBound
        while position < range.upperBound {
            let end = position + min(pieceBytes, range.upperBound - position)
            let piece = Array(input[position..<end])
            try unsafe session.consume(piece.span.bytes)
            position = end
        }
    }

    /// A session that has consumed the first `cut` bytes, and its state there.
    func state(at cut: Int, _ output: CrashingStorage, _ scratch: CrashingStorage) throws -> (state: [UInt8], head: Int)
    {
        let session = try session(output, scratch)
        try feed(session, 0..<cut)
        #expect(session.consumedBytes == cut)
        return (try session.snapshot(), session.headBytes)
    }

    /// Runs with snapshots at `cuts`, ascending. Between two of them the session usually dies, after it has worked on
    /// for a while or, with `toTheEnd`, has finished. Another one with other threads and another
    /// instruction set goes on.
    func run(cuts: [Int], seed: UInt64, toTheEnd: Bool = false) throws -> (bytes: [UInt8], result: SessionResult) {
        var generator = FuzzGenerator(state: seed)
        let (output, scratch) = (CrashingStorage(), CrashingStorage())
        func fresh() throws -> QuantizingSession {
            try self.session(output, scratch, threads: generator.pick([1, 2, 3]), level: generator.pick(levels))
        }
        let pieces = [Int.max, 4096, 1 + generator.below(3000)]
        var session = try fresh()
        var position = 0
        for cut in cuts {
            try feed(session, position..<cut, pieceBytes: generator.pick(pieces))
            position = cut
            let (state, head) = (try session.snapshot(), session.headBytes)
            output.sync()
            scratch.sync()
            if !toTheEnd, generator.chance(25) { continue }
            if toTheEnd || generator.chance(70) {
                let end = toTheEnd || generator.chance(30) ? input.count : cut + generator.below(input.count - cut)
                try feed(session, cut..<end, pieceBytes: generator.pick(pieces))
                if end == input.count { _ = try session.finish(inputDigest: "sha256:lost") }
            }
            output.crash(&generator)
            scratch.crash(&generator)
            session = try fresh()
            try feed(session, 0..<head, pieceBytes: generator.pick(pieces))
            try session.resume(state)
            #expect(session.consumedBytes == cut && session.headBytes == head)
        }
        try feed(session, position..<input.count, pieceBytes: generator.pick(pieces))
        let result = try session.finish(inputDigest: SessionRun.digest)
        #expect(output.gaps == 0)
        return (output.bytes, result)
    }

    /// Compares the run with `cuts` with `whole`.
    func expectSame(as whole: SessionRun, cuts: [Int], seed: UInt64, toTheEnd: Bool = false) throws {
        let (bytes, result) = try run(cuts: cuts, seed: seed, toTheEnd: toTheEnd)
        let isSame = bytes == whole.output.bytes
        #expect(isSame, "\(options) \(cuts) \(seed)")
        expectSame(result, as: whole, "\(options) \(cuts) \(seed)")
    }

    /// Compares what was reported with `whole`.
    func expectSame(_ result: SessionResult, as whole: SessionRun, _ place: Comment) {
        let (report, expected) = (result.report, whole.result.report)
        #expect(report.pooled == expected.pooled, place)
        #expect(report.errors == expected.errors, place)
        #expect(report.tensors.map(\.quality) == expected.tensors.map(\.quality), place)
        #expect(report.tensors.map(\.scaleRatio) == expected.tensors.map(\.scaleRatio))
        #expect(report.tensors.map(\.outputError) == expected.tensors.map(\.outputError), place)
        #expect(report.tensors.map(\.calibration) == expected.tensors.map(\.calibration), place)
        #expect(report.tensors.map(\.artifactBytes) == expected.tensors.map(\.artifactBytes))
        #expect(report.warnings == expected.warnings && report.totalWeights == expected.totalWeights)
        #expect(report.bitsPerWeight == expected.bitsPerWeight && report.codeBits == expected.codeBits)
        #expect(result.skippedModules == whole.result.skippedModules)
        #expect(result.variedModules.map(\.name) == whole.result.variedModules.map(\.name))
        #expect(result.artifactBytes == whole.result.artifactBytes && result.input == whole.result.input)
    }

    func whole() throws -> SessionRun { try SessionRun(input, options, declaration: declaration) }

    /// The ends of the header and of each tensor, the bytes beside them, and some in between.
    func places(_ generator: inout FuzzGenerator) throws -> [Int] {
        var places = [0, 1, 8, 9]
        var ends = [0]
        if case .raw(let type, let shape) = declaration {
            ends = [shape.reduce(1, *) * type.bitWidth / 8]
        } else {
            let description = try unsafe parseFile(input.span.bytes)
            ends = [0] + description.entries.map(\.bytes.upperBound)
            ends = ends.map { $0 + description.dataOffset }
        }
        for end in ends { places += [end - 1, end, end + 1] }
        places += (0..<6).map { _ in generator.below(input.count) }
        return places.filter { 0...input.count ~= $0 }
    }
}
