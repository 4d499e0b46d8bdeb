import Tensors
import Testing

@testable import Quantization

@Suite("What AWQ refuses")
struct AWQRefusalTests {
    /// The error of running a [16, 64] layer.
    private func failure(
        _ weight: [Float], tokens: [Float]? = nil, options: AWQOptions = AWQOptions(groupSize: 32, calibration: .none)
    ) -> QuantizationError? {
        let run = AWQRun(weight: float32Bytes(weight), rows: 16, columns: 64, tokens: tokens, options: options)
        do { _ = try run.run() } catch { return error as? QuantizationError }
        return nil
    }

    private func weights(_ changes: [(Int, Float)] = []) -> [Float] {
        var noise = AWQNoise(5)
        var values = noise.values(16 * 64)
        for (index, value) in changes { values[index] = value }
        return values
    }

    @Test("NaN and infinities", arguments: [.nan, .infinity, -.infinity] as [Float])
    func nonFinite(value: Float) {
        #expect(failure(weights([(700, value)])) == .nonFinite(tensor: "layer.weight", index: 700))
        var tokens = [Float](repeating: 1, count: 128)
        tokens[65] = value
        let options = AWQOptions(groupSize: 32)
        #expect(
            failure(weights(), tokens: tokens, options: options) == .nonFinite(tensor: "layer.activations", index: 65))
    }

    @Test("magnitudes above float16, the first one named")
    func tooLarge() {
        let expected = QuantizationError.outOfRange(tensor: "layer.weight", index: 3, value: -65505, limit: 65504)
        #expect(failure(weights([(3, -65505), (9, 1e9)])) == expected)
        #expect(failure([Float](repeating: -65504, count: 16 * 64)) == nil)
        #expect(failure(weights([(3, -65472)])) == nil)
    }

    @Test("a group whose range float16 does not hold, and the widest that it does")
    func range() {
        let weight = weights([(130, 40000), (131, -40000)])
        #expect(failure(weight) == .outOfRange(tensor: "layer.weight", index: 130, value: 80000, limit: 65472))
        let widest = [Float](repeating: 0, count: 16 * 64).enumerated().map { $0.offset % 32 == 0 ? Float(65472) : 0 }
        let run = AWQRun(
            weight: float32Bytes(widest), rows: 16, columns: 64, options: AWQOptions(groupSize: 32, calibration: .none))
        let result = try? run.run()
        #expect(result?.errors.maximumError.isFinite == true)
        #expect((result?.errors.maximumError ?? .infinity) <= 32)
    }

    @Test("a weight that overflows once it is scaled")
    func scaledOverflow() {
        var weight = weights()
        for row in 0..<16 { weight[row * 64 + 5] = 60000 * (row % 2 == 0 ? 1 : 0.9) }
        let tokens = (0..<640).map { Float($0 % 64 == 5 ? 1000 : 0.01) * ($0 % 3 == 0 ? -1 : 1) }
        let options = AWQOptions(groupSize: 32, scaling: .keep, clip: false)
        guard case .outOfRange(_, let index, let value, let limit)? = failure(weight, tokens: tokens, options: options)
        else {
            Issue.record("not refused")
            return
        }
        #expect(index == 5)
        #expect(value > 65504 && value.isFinite)
        #expect(limit == 65504)
    }

    @Test("activations that do not fit")
    func calibration() throws {
        func code(_ error: QuantizationError?) -> String? {
            if case .calibration(let code, _)? = error { return code }
            return nil
        }
        let options = AWQOptions(groupSize: 32)
        #expect(code(failure(weights(), options: options)) == "calibration.missing")
        #expect(code(failure(weights(), tokens: [], options: options)) == "calibration.empty")
        let keep = AWQOptions(groupSize: 32, scaling: .keep, calibration: .none)
        #expect(code(failure(weights(), options: keep)) == "calibration.missing")
        let huge = [Float](repeating: 3e38, count: 128)
        let search = AWQOptions(groupSize: 32, scaling: .keep)
        #expect(code(failure(weights().map { $0 * 1000 }, tokens: huge, options: search)) == "calibration.range")

        let narrow = AWQLayer(
            name: "layer.weight", weight: StagedTensor(type: .f32, rows: 16, columns: 64, offset: 0),
            activations: StagedTensor(type: .f32, rows: 2, columns: 63, offset: 4096), options: options,
            placement: AWQPlacement(qweight: 0, qzeros: 512, scales: 528, inputScales: nil), scratchBase: 8192)
        let storage = AWQMemory([UInt8](repeating: 0, count: 8192))
        do {
            _ = try narrow.run(scratch: storage, output: AWQMemory())
            Issue.record("not refused")
        } catch {
            #expect(code(error) == "calibration.width")
        }
    }

    @Test("every element type that weights come in")
    func types() throws {
        let halves = weights().map { Float(Float16($0)) }
        let expected = AWQRun(
            weight: float32Bytes(halves), rows: 16, columns: 64, options: AWQOptions(groupSize: 32, calibration: .none))
        _ = try expected.run()
        let f16 = halves.flatMap { value -> [UInt8] in
            let bits = Float16(value).bitPattern
            return [UInt8(truncatingIfNeeded: bits), UInt8(bits >> 8)]
        }
        let f64 = halves.flatMap { value in
            (0..<8).map { UInt8(truncatingIfNeeded: Double(value).bitPattern >> (8 * UInt64($0))) }
        }
        for (type, weight) in [(ElementType.f16, f16), (.f64, f64)] {
            let run = AWQRun(
                weight: weight, type: type, rows: 16, columns: 64,
                options: AWQOptions(groupSize: 32, calibration: .none))
            _ = try run.run()
            #expect(run.output.bytes == expected.output.bytes)
        }
        let wide = [UInt8](repeating: 0, count: 1023 * 8) + [0, 0, 0, 0, 0, 0, 0xF0, 0x7E]
        let run = AWQRun(
            weight: wide, type: .f64, rows: 16, columns: 64, options: AWQOptions(groupSize: 32, calibration: .none))
        let refusal = QuantizationError.outOfRange(
            tensor: "layer.weight", index: 1023, value: .greatestFiniteMagnitude, limit: 65504)
        #expect(throws: refusal) { _ = try run.run() }
    }

    @Test("failed reads and writes are passed on")
    func storage() {
        let run = AWQRun(
            weight: float32Bytes(weights()), rows: 16, columns: 64,
            options: AWQOptions(groupSize: 32, calibration: .none))
        run.output.failsFromWrite = 1
        #expect(throws: QuantizationError.storage(StorageFailure(operation: "write", code: 28))) { _ = try run.run() }
        let short = AWQRun(weight: [0], rows: 16, columns: 64, options: AWQOptions(groupSize: 32, calibration: .none))
        #expect(throws: QuantizationError.storage(StorageFailure(operation: "read", code: 5))) { _ = try short.run() }
    }
}
