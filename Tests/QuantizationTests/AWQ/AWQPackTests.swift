import Tensors
import Testing

@testable import Quantization

@Suite("AWQ packing against AutoAWQ 0.2.9")
struct AWQPackTests {
    @Test("golden layers come out byte for byte", arguments: ["a", "b", "c", "d", "e_pos"], [1, 2])
    func golden(suffix: String, threads: Int) throws {
        let golden = try AWQGolden("awq_pack_" + suffix)
        let weight = try golden["in.weight"]
        let size = try #require(golden.parameters["group_size"] as? Int)
        let run = AWQRun(
            weight: weight.bytes, type: try #require(ElementType(rawValue: weight.type)), rows: weight.shape[0],
            columns: weight.shape[1], options: AWQOptions(groupSize: size, calibration: .none, threads: threads))
        let result = try run.run()
        #expect(run.qweight == (try golden["out.qweight"].bytes))
        #expect(run.qzeros == (try golden["out.qzeros"].bytes))
        #expect(run.scales == (try golden["out.scales"].bytes))
        try checkErrors(result.errors, original: golden.values("in.weight"), restored: golden.values("deq.weight"))
    }

    private func checkErrors(_ sums: AWQErrorSums, original: [Double], restored: [Double]) throws {
        var expected = AWQErrorSums()
        for (x, y) in zip(original, restored) {
            expected.signal += x * x
            expected.squaredError += (x - y) * (x - y)
            expected.restoredSquared += y * y
            expected.absoluteError += abs(x - y)
            expected.maximumError = max(expected.maximumError, Float(abs(x - y)))
            expected.maximumSignal = max(expected.maximumSignal, Float(abs(x)))
            expected.histogram[Int(Float(abs(x - y)).bitPattern >> 19)] += 1
        }
        #expect(sums.count == original.count)
        #expect(abs(sums.signal / expected.signal - 1) < 1e-12)
        #expect(abs(sums.squaredError / expected.squaredError - 1) < 1e-12)
        #expect(abs(sums.restoredSquared / expected.restoredSquared - 1) < 1e-12)
        #expect(abs(sums.absoluteError / expected.absoluteError - 1) < 1e-12)
        #expect(sums.maximumError == expected.maximumError)
        #expect(sums.maximumSignal == expected.maximumSignal)
        #expect(sums.histogram == expected.histogram)
    }

    @Test("one word holds the channels 0 2 4 6 1 3 5 7 from its lowest nibble")
    func wordOrder() {
        #expect(AWQWord.pack(RowOctet(0, 1, 2, 3, 4, 5, 6, 7)) == 0x7531_6420)
        #expect(AWQWord.pack(RowOctet(repeating: 15)) == 0xFFFF_FFFF)
    }

    @Test("a layer of several tiles is what its parts are on their own")
    func tiles() throws {
        let columns = 64
        var noise = AWQNoise(7)
        let rows = AWQTiles.rows(columns: columns) + 24
        let values = noise.values(rows * columns)
        let options = AWQOptions(groupSize: 32, calibration: .none)
        let whole = AWQRun(weight: float32Bytes(values), rows: rows, columns: columns, options: options)
        _ = try whole.run()
        let tail = AWQRun(
            weight: float32Bytes(Array(values.suffix(24 * columns))), rows: 24, columns: columns, options: options)
        _ = try tail.run()
        for (part, full, octetBytes) in [
            (tail.qweight, whole.qweight, 4), (tail.qzeros, whole.qzeros, 4), (tail.scales, whole.scales, 16),
        ] {
            let (partRow, fullRow) = (3 * octetBytes, rows / 8 * octetBytes)
            for row in 0..<part.count / partRow {
                let end = (row + 1) * fullRow
                #expect(Array(part[row * partRow..<(row + 1) * partRow]) == Array(full[end - partRow..<end]))
            }
        }
    }

    @Test(
        "shapes that no reader takes are named",
        arguments: [
            (0, 128, 128), (8, 0, 128), (12, 128, 128), (8, 130, 128), (8, 128, 48), (8, Int.max / 4 / 128 * 128, 128),
        ])
    func shapes(rows: Int, columns: Int, groupSize: Int) {
        #expect(AWQLayer.shapeProblem(rows: rows, columns: columns, groupSize: groupSize) != nil)
    }

    @Test("shapes that readers take are let through")
    func goodShapes() {
        #expect(AWQLayer.shapeProblem(rows: 8, columns: 128, groupSize: 128) == nil)
        #expect(AWQLayer.shapeProblem(rows: 8, columns: 100, groupSize: -1) == nil)
    }
}
