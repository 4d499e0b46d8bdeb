import Tensors
import Testing

@testable import Quantization

/// What ends a session between two layers in a test.
private let interruption = QuantizationError.limit(name: "test", value: 1, limit: 0, tensor: nil)

/// A session that dies behind the last byte of its input goes on behind the last layer that was finished.
@Suite struct LayerSnapshotTests {
    struct Layers: CustomTestStringConvertible {
        let options: [(String, String)]
        let input: [UInt8]

        var testDescription: String { options.map { "\($0.0)=\($0.1)" }.joined(separator: "&") }

        /// Three layers, the second without data of its own; with `hasFP8` one more that waits for its scales.
        init(_ options: [(String, String)], hasFP8: Bool = false) {
            self.options = options
            let isReference = options.contains { $0.1 == "reference" }
            var tensors: [(name: String, type: ElementType, shape: [Int], bytes: [UInt8])] = []
            for (index, name) in ["a", "b", "c"].enumerated() {
                let seed = UInt64(index) * 10
                tensors.append(
                    ("\(name).weight", .f32, [16, 64], bytes(of: gaussian(16 * 64, seed: seed, scale: 0.05))))
                guard name != "b" || isReference else { continue }
                tensors.append(("\(name).activations", .f32, [24, 64], bytes(of: gaussian(24 * 64, seed: seed + 1))))
            }
            if hasFP8 {
                let codes = (0..<16 * 64).map { UInt8(truncatingIfNeeded: 0x30 + $0 % 16) }
                tensors.append(("d.weight", .f8E4M3, [16, 64], codes))
                tensors.append(("d.weight_scale_inv", .f32, [1, 1], bytes(of: [0.03])))
            }
            tensors.append(("norm", .f32, [3], bytes(of: [1, 2, 3])))
            input = safetensors(tensors)
        }
    }

    static let cases = [
        Layers([("method", "awq"), ("mode", "reference"), ("group_size", "32"), ("scaling", "keep")]),
        Layers([("method", "awq"), ("group_size", "32")], hasFP8: true),
        Layers([("method", "awq"), ("group_size", "32"), ("scaling", "keep")]),
        Layers([("method", "nf4"), ("calibration", "data")], hasFP8: true),
        Layers([("method", "nf4"), ("calibration", "data"), ("double_quant", "false")]),
        Layers([("method", "int4"), ("calibration", "data"), ("group_size", "32")], hasFP8: true),
        Layers([
            ("method", "nf4"), ("calibration", "data"),
            ("overrides", #"[{"match": "c*", "mode": "reference", "calibration": "none"}]"#),
        ]),
    ]

    @Test(arguments: cases)
    func aSessionGoesOnBehindTheLastFinishedLayer(_ layers: Layers) throws {
        let subject = Resumable(input: layers.input, options: layers.options)
        let whole = try subject.whole()
        let total = try progress(of: subject).count
        #expect(total > 0)
        for stop in 0..<total {
            var generator = FuzzGenerator(state: UInt64(stop))
            let (output, scratch) = (CrashingStorage(), CrashingStorage())
            let (state, head) = try interrupted(subject, output, scratch, at: stop)
            output.crash(&generator)
            scratch.crash(&generator)
            let session = try subject.session(output, scratch, threads: 2)
            try subject.feed(session, 0..<head)
            try session.resume(state)
            #expect(session.consumedBytes == layers.input.count)
            var finished: [Int] = []
            let result = try session.finish(inputDigest: SessionRun.digest) { finished.append($0.finished) }
            #expect(finished.allSatisfy { $0 > stop })
            #expect(output.gaps == 0)
            let isSame = output.bytes == whole.output.bytes
            #expect(isSame)
            subject.expectSame(result, as: whole, "stopped behind layer \(stop)")
        }
    }

    /// Every call but those between blocks, at the end of each layer.
    private func progress(of subject: Resumable) throws -> [LayerProgress] {
        var told: [LayerProgress] = []
        let session = try subject.session(MemoryStorage(), MemoryStorage(countsRewrites: false))
        try subject.feed(session, 0..<subject.input.count)
        _ = try session.finish(inputDigest: SessionRun.digest) { progress in
            if progress.finished > told.count { told.append(progress) }
        }
        #expect(told.map(\.finished) == Array(1..<(told.count + 1)))
        #expect(told.allSatisfy { $0.total == told.count })
        return told
    }

    /// The state behind layer `stop`, from a session that went on and died within a later one.
    private func interrupted(
        _ subject: Resumable, _ output: CrashingStorage, _ scratch: CrashingStorage, at stop: Int
    ) throws -> (state: [UInt8], head: Int) {
        let session = try subject.session(output, scratch)
        try subject.feed(session, 0..<subject.input.count)
        var (state, head): ([UInt8]?, Int) = (nil, 0)
        #expect(throws: interruption) {
            _ = try session.finish(inputDigest: SessionRun.digest) { progress throws(QuantizationError) in
                guard progress.finished > stop else { return }
                guard state == nil else { throw interruption }
                (state, head) = (try session.snapshot(), session.headBytes)
                output.sync()
                scratch.sync()
            }
            throw interruption
        }
        return (try #require(state), head)
    }

    @Test func aLayerIsLeftBetweenItsBlocks() throws {
        let layers = Layers([("method", "awq"), ("mode", "reference"), ("group_size", "32"), ("scaling", "keep")])
        let subject = Resumable(input: layers.input, options: layers.options)
        let session = try subject.session(MemoryStorage(), MemoryStorage(countsRewrites: false))
        try subject.feed(session, 0..<layers.input.count)
        var calls = 0
        #expect(throws: interruption) {
            _ = try session.finish(inputDigest: SessionRun.digest) { progress throws(QuantizationError) in
                #expect(progress == LayerProgress(weight: "a.weight", finished: 0, total: 3))
                calls += 1
                if calls == 2 { throw interruption }
            }
        }
        #expect(throws: QuantizationError.snapshot(.over)) { try session.snapshot() }
    }
}
