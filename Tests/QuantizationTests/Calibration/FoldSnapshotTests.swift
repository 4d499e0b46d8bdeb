import Tensors
import Testing

@testable import Quantization

/// What ends a session in a test.
private let interruption = QuantizationError.limit(name: "test", value: 1, limit: 0, tensor: nil)

/// A session that dies while it searches or writes folded scales, and one that goes on from what it left.
@Suite struct FoldSnapshotTests {
    private struct Subject {
        let model: FoldModel
        let file: [UInt8]
        let data: [UInt8]
        let options: [(String, String)]

        init(_ type: String, _ form: DataForm, _ options: [(String, String)] = []) {
            model = FoldModel(type).rounded()
            (file, data) = (model.file(), model.data(form))
            let target = type == "mixtral" ? [("target", "vllm")] : []
            self.options = [("method", "awq"), ("group_size", "32"), ("model_type", type)] + target + options
        }

        func session(_ output: any ArtifactOutput, _ scratch: any ScratchStorage, threads: Int) throws
            -> QuantizingSession
        {
            var limits = SessionLimits()
            limits.maximumThreads = threads
            let recipe = try Recipe(options: options.map { RecipeOption($0.0, $0.1) })
            #expect(recipe.coding.scaling == .fold)
            return try QuantizingSession(
                recipe: recipe, declaration: .recognise, declaredBytes: file.count, engine: "viva test",
                limits: limits,
                calibrationFile: try CalibrationFile(source: MemoryArtifact(data), limits: limits, memory: nil),
                output: output, scratch: scratch)
        }
    }

    /// Places are kept and work is lost between any two calls, in searches of scales as in layers: all that is made in
    /// the end are the bytes of a run without a break.
    @Test(arguments: [
        ("llama", DataForm.activations, "reference"), ("qwen2", .gram, "best"),
    ])
    func aSessionGoesOnBehindAnyStep(_ type: String, _ form: DataForm, _ mode: String) throws {
        let subject = Subject(type, form, [("mode", mode)])
        let whole = MemoryStorage()
        let uninterrupted = try subject.session(whole, MemoryStorage(countsRewrites: false), threads: 1)
        try unsafe uninterrupted.consume(subject.file.span.bytes)
        var weights: [String] = []
        let expected = try uninterrupted.finish(inputDigest: SessionRun.digest) { weights.append($0.weight) }
        #expect(whole.gaps == 0 && weights.count > 8)
        let stops = [weights.count / 3, weights.count - 2]
        for (index, stop) in stops.enumerated() {
            var generator = FuzzGenerator(state: UInt64(index))
            let (output, scratch) = (CrashingStorage(), CrashingStorage())
            let state = try interrupted(
                subject, output, scratch, keptAt: stop, lostAt: stop + 1 + generator.below(weights.count - stop - 1))
            output.crash(&generator)
            scratch.crash(&generator)
            let session = try subject.session(output, scratch, threads: 2)
            try unsafe session.consume(Array(subject.file[..<state.head]).span.bytes)
            try session.resume(state.bytes)
            #expect(session.consumedBytes == subject.file.count)
            let result = try session.finish(inputDigest: SessionRun.digest)
            #expect(output.gaps == 0)
            let isSame = output.bytes == whole.bytes
            #expect(isSame, "kept at \(stop): \(weights[stop])")
            #expect(result.report.tensors.map(\.quality) == expected.report.tensors.map(\.quality))
            #expect(result.report.tensors.map(\.scaleRatio) == expected.report.tensors.map(\.scaleRatio))
            #expect(result.report.tensors.map(\.outputError) == expected.report.tensors.map(\.outputError))
        }
    }

    /// The state of a session at one call, which went on to another one and died there.
    private func interrupted(
        _ subject: Subject, _ output: CrashingStorage, _ scratch: CrashingStorage, keptAt: Int, lostAt: Int
    ) throws -> (bytes: [UInt8], head: Int) {
        let session = try subject.session(output, scratch, threads: 3)
        try unsafe session.consume(subject.file.span.bytes)
        var (calls, state) = (0, (bytes: [UInt8](), head: 0))
        #expect(throws: interruption) {
            _ = try session.finish(inputDigest: SessionRun.digest) { _ throws(QuantizationError) in
                defer { calls += 1 }
                if calls == keptAt {
                    state = (try session.snapshot(), session.headBytes)
                    output.sync()
                    scratch.sync()
                }
                if calls == lostAt { throw interruption }
            }
            throw interruption
        }
        return state
    }
}
