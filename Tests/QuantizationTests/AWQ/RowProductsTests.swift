import Testing

@testable import Quantization

@Suite("inner products of weight rows with tokens")
struct RowProductsTests {
    private static let levels = KernelLevel.allCases.compactMap { Kernels(level: $0) }

    /// Vectors of lanes with values of very different size, so that another order of additions shows.
    private func vectors<Lane: SIMD<Float>>(_ count: Int, seed: UInt64, of: Lane.Type) -> [Lane] {
        var noise = AWQNoise(seed)
        return (0..<count).map { index in
            var lanes = Lane()
            for lane in lanes.indices { lanes[lane] = noise.next() * (index % 7 == 0 ? 1000 : 0.01) }
            return lanes
        }
    }

    @Test(
        "every level adds what one multiplication and one addition a step give, in ascending order",
        arguments: [(1, 1, 1), (3, 1, 64), (1, 2, 33), (2, 5, 7), (4, 20, 40)])
    func levels(fours: Int, eights: Int, steps: Int) {
        let (left, right) = (steps + 3, steps + 5)
        let a = vectors(2 + fours * left, seed: 1, of: SIMD4<Float>.self)
        let b = vectors(1 + eights * right, seed: 2, of: RowOctet.self)
        let stride = fours * 4 + 1
        let start = vectors(eights * stride, seed: 3, of: RowOctet.self)
        var expected = start
        for eight in 0..<eights {
            for token in 0..<fours * 4 {
                for row in 0..<8 {
                    var sum: Float = 0
                    for k in 0..<steps {
                        let product = a[2 + token / 4 * left + k][token % 4] * b[1 + eight * right + k][row]
                        sum += product
                    }
                    expected[eight * stride + token][row] += sum
                }
            }
        }
        for kernels in Self.levels {
            var sums = start
            var span = sums.mutableSpan
            RowProducts(kernels).add(
                left: a.span, StridedVectors(start: 2, count: fours, stride: left),
                right: b.span, StridedVectors(start: 1, count: eights, stride: right), steps: steps, to: &span,
                stride: stride)
            #expect(sums == expected, "\(kernels.level)")
        }
    }

    @Test("vectors of no elements, or none at all, change nothing")
    func nothing() {
        let four = [SIMD4<Float>](repeating: SIMD4(repeating: 1), count: 4)
        let eight = [RowOctet](repeating: RowOctet(repeating: 1), count: 4)
        for (fours, eights, steps) in [(0, 1, 4), (1, 0, 4), (1, 1, 0)] {
            for kernels in Self.levels {
                var sums = [RowOctet](repeating: RowOctet(repeating: 2), count: 4)
                var span = sums.mutableSpan
                RowProducts(kernels).add(
                    left: four.span, StridedVectors(start: 0, count: fours, stride: 4),
                    right: eight.span, StridedVectors(start: 0, count: eights, stride: 4), steps: steps, to: &span,
                    stride: 4)
                #expect(sums == [RowOctet](repeating: RowOctet(repeating: 2), count: 4))
            }
        }
    }

    @Test(
        "a layer has the same bytes and sums at every level", arguments: [-1, 32], [Scaling.none, .keep])
    func layers(groupSize: Int, scaling: Scaling) throws {
        let columns = groupSize == -1 ? 160 : 96
        var noise = AWQNoise(9)
        let weight = (0..<24 * columns).map { _ in noise.next() }
        let tokens = (0..<13 * columns).map { index in noise.next() * (index % 11 == 0 ? 20 : 1) }
        let made = try Self.levels.map { kernels in
            var run = AWQRun(
                weight: float32Bytes(weight), rows: 24, columns: columns, tokens: tokens,
                options: AWQOptions(groupSize: groupSize, scaling: scaling))
            run.layer.products = RowProducts(kernels)
            let result = try run.run()
            return (bytes: run.output.bytes, result: result)
        }
        for other in made.dropFirst() {
            #expect(other.bytes == made[0].bytes)
            #expect(other.result == made[0].result)
        }
    }
}
