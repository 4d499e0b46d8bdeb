import Foundation
import Tensors
import Testing

@testable import Quantization

@Suite("One AWQ layer from scratch storage to artifact")
struct AWQLayerTests {
    /// Correlated activations with loud columns, and weights that differ by column.
    private func example(rows: Int, columns: Int, tokens: Int) -> (weight: [Float], tokens: [Float]) {
        var noise = AWQNoise(UInt64(rows + columns))
        let loud = (0..<columns).map { $0 % 17 == 3 ? Float(12) : 1 }
        let weight = (0..<rows * columns).map { noise.next() * 0.05 * (1 + Float($0 % columns % 5)) }
        var inputs: [Float] = []
        for _ in 0..<tokens {
            let shared = noise.next()
            inputs += (0..<columns).map { (shared + noise.next()) * loud[$0] }
        }
        return (weight, inputs)
    }

    /// The weights that a reader restores from qweight, qzeros and scales, [rows, columns].
    private func restored(_ run: AWQRun, groupSize: Int) -> [Float] {
        let (rows, columns) = (run.layer.weight.rows, run.layer.weight.columns)
        let position = [0, 4, 1, 5, 2, 6, 3, 7]
        func nibble(_ bytes: [UInt8], row: Int, channel: Int) -> Int {
            let at = position[channel % 8]
            let byte = bytes[row * rows / 2 + channel / 8 * 4 + at / 2]
            return Int(at % 2 == 0 ? byte & 15 : byte >> 4)
        }
        let (words, zeros, scales) = (run.qweight, run.qzeros, run.scales)
        var values = [Float](repeating: 0, count: rows * columns)
        for channel in 0..<rows {
            for k in 0..<columns {
                let group = k / groupSize
                let at = (group * rows + channel) * 2
                let scale = Float16(bitPattern: UInt16(scales[at]) | UInt16(scales[at + 1]) << 8)
                let code = nibble(words, row: k, channel: channel) - nibble(zeros, row: group, channel: channel)
                values[channel * columns + k] = Float(Float16(code) * scale)
            }
        }
        return values
    }

    private func outputs(_ weight: [Float], _ tokens: [Float], columns: Int) -> [Double] {
        var result: [Double] = []
        for token in stride(from: 0, to: tokens.count, by: columns) {
            for row in stride(from: 0, to: weight.count, by: columns) {
                result.append((0..<columns).reduce(0.0) { $0 + Double(tokens[token + $1]) * Double(weight[row + $1]) })
            }
        }
        return result
    }

    @Test(
        "a kept scale is the same as scaling weights and inputs beforehand, and the report measures what a reader gets")
    func keepsScales() throws {
        let (rows, columns) = (16, 96)
        let (weight, tokens) = example(rows: rows, columns: columns, tokens: 37)
        var options = AWQOptions(groupSize: 32, scaling: .keep)
        let kept = AWQRun(weight: float32Bytes(weight), rows: rows, columns: columns, tokens: tokens, options: options)
        let result = try kept.run()
        let scales = try #require(result.inputScales)
        #expect(Array(kept.output.bytes.suffix(columns * 4)) == float32Bytes(scales))
        #expect(Set(scales).count > 10)

        options.scaling = .none
        let scaled = AWQRun(
            weight: float32Bytes(weight.enumerated().map { $1 * scales[$0 % columns] }), rows: rows, columns: columns,
            tokens: tokens.enumerated().map { $1 / scales[$0 % columns] }, options: options)
        _ = try scaled.run()
        #expect(scaled.qweight == kept.qweight)
        #expect(scaled.qzeros == kept.qzeros)
        #expect(scaled.scales == kept.scales)
        #expect(Array(scaled.output.bytes.suffix(columns * 4)) == float32Bytes(Array(repeating: 1, count: columns)))

        let read = restored(kept, groupSize: 32).enumerated().map { $1 / scales[$0 % columns] }
        let errors = zip(weight, read).map { Double($0) - Double($1) }
        #expect(abs(result.errors.squaredError / errors.reduce(0) { $0 + $1 * $1 } - 1) < 1e-12)
        #expect(result.errors.maximumError == zip(weight, read).map { Double(abs($0 - $1)) }.max())
        let change = outputs(zip(weight, read).map { $0 - $1 }, tokens, columns: columns)
        let signal = outputs(weight, tokens, columns: columns)
        let expected = change.reduce(0) { $0 + $1 * $1 } / signal.reduce(0) { $0 + $1 * $1 }
        #expect(abs(try #require(result.outputError).relative / expected - 1) < 1e-4)
    }

    @Test("calibration lowers the output error: scales and clipping below clipping, clipping below rounding")
    func calibrationPays() throws {
        let (weight, tokens) = example(rows: 16, columns: 128, tokens: 64)
        func error(_ scaling: Scaling, clip: Bool) throws -> Double {
            let options = AWQOptions(groupSize: 64, scaling: scaling, clip: clip)
            let run = AWQRun(weight: float32Bytes(weight), rows: 16, columns: 128, tokens: tokens, options: options)
            return try #require(try run.run().outputError).relative
        }
        let (rounded, clipped, both) = (
            try error(.none, clip: false), try error(.none, clip: true), try error(.keep, clip: true)
        )
        #expect(clipped < rounded)
        #expect(both < clipped)
    }

    @Test("the same bytes and sums at any number of threads", arguments: [-1, 32], [Scaling.none, .keep])
    func threads(groupSize: Int, scaling: Scaling) throws {
        let columns = groupSize == -1 ? 160 : 64
        let (weight, tokens) = example(rows: 40, columns: columns, tokens: 21)
        let runs = [1, 2, 3, nil].map { threads in
            AWQRun(
                weight: float32Bytes(weight), rows: 40, columns: columns, tokens: tokens,
                options: AWQOptions(groupSize: groupSize, scaling: scaling, threads: threads))
        }
        let results = try runs.map { try $0.run() }
        for (run, result) in zip(runs, results).dropFirst() {
            #expect(run.output.bytes == runs[0].output.bytes)
            #expect(result == results[0])
        }
    }

    @Test("thresholds are the least of errors formed token by token, over several bands and with odd tokens")
    func bands() throws {
        let columns = AWQTiles.bandColumns + 128
        let (weight, tokens) = example(rows: 8, columns: columns, tokens: 5)
        let run = AWQRun(
            weight: float32Bytes(weight), rows: 8, columns: columns, tokens: tokens, options: AWQOptions(groupSize: 128)
        )
        _ = try run.run()
        let moments = run.layer.moments
        #expect(moments.bands.count == 2)
        let octet = AWQTiles.octet(of: weight, firstRow: 0, columns: columns)
        var worst = 0.0
        for band in moments.bands {
            let found = AWQClipSearch.thresholds(
                octet, firstColumn: band.lowerBound * 128, groups: band.count, groupSize: 128,
                moments: try moments.read(band: band, from: run.storage), RowProducts())
            for (index, group) in band.enumerated() {
                for row in [0, 7] {
                    let part = (0..<128).map { weight[row * columns + group * 128 + $0] }
                    let inputs = (0..<5).map { token in (0..<128).map { tokens[token * columns + group * 128 + $0] } }
                    let errors = clipErrors(part, inputs)
                    let largest = part.map { abs($0) }.max() ?? 0
                    let chosen = (0..<10).firstIndex { largest * Float(1 - Double($0) / 20) == found[index][row] }
                    let least = try #require(errors.min())
                    worst = max(worst, errors[try #require(chosen)] / least - 1)
                }
            }
        }
        #expect(worst < 1e-4)
    }

    /// The mean squared change of a group's outputs for each of ten thresholds, the plain way.
    private func clipErrors(_ weights: [Float], _ tokens: [[Float]]) -> [Double] {
        let largest = weights.map { abs($0) }.max() ?? 0
        return (0..<10).map { candidate in
            let threshold = largest * Float(1 - Double(candidate) / 20)
            let clipped = weights.map { min(max($0, -threshold), threshold) }
            let (low, high) = (clipped.min() ?? 0, clipped.max() ?? 0)
            let scale = max(high - low, 1e-5) / 15
            let zero = min(max(-(low / scale).rounded(.toNearestOrEven), 0), 15)
            let change = zip(clipped, weights).map { clip, weight in
                (min(max((clip / scale).rounded(.toNearestOrEven) + zero, 0), 15) - zero) * scale - weight
            }
            return tokens.reduce(0.0) { sum, token in
                let output = zip(token, change).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
                return sum + output * output
            } / Double(tokens.count)
        }
    }

    @Test("a row as one group, with the tokens in memory or not, finds what second moments find")
    func clipByTokens() throws {
        let columns = 128
        let (weight, tokens) = example(rows: 8, columns: columns, tokens: 30)
        let run = AWQRun(
            weight: float32Bytes(weight), rows: 8, columns: columns, tokens: tokens, options: AWQOptions(groupSize: -1))
        _ = try run.run()
        let moments = run.layer.moments
        let octet = AWQTiles.octet(of: weight, firstRow: 0, columns: columns)
        let expected = AWQClipSearch.thresholds(
            octet, firstColumn: 0, groups: 1, groupSize: columns,
            moments: try moments.read(band: 0..<1, from: run.storage), RowProducts())
        var inputs = StagedRows(try #require(run.layer.activations), storage: run.storage, name: "activations")
        var search = AWQClipByTokens(
            columns: columns, tokens: AWQClipSearch.sampledTokens(of: 30), dividedBy: nil, threads: 2,
            products: RowProducts())
        for _ in 0..<2 { #expect(try search.threshold(octet, &inputs) == expected[0]) }
    }

    @Test(
        "tokens are sampled as the reference samples them",
        arguments: [
            (1, 1, 0), (512, 512, 511), (1023, 1023, 1022), (1024, 512, 1022), (1100, 550, 1098), (5120, 512, 5110),
        ])
    func sampling(count: Int, sampled: Int, last: Int) {
        let tokens = AWQClipSearch.sampledTokens(of: count)
        #expect(tokens.count == sampled)
        #expect(tokens.last == last)
    }

    @Test("tiles stay within their limits however wide a layer is", arguments: [8, 4096, 16384, 53248])
    func tiles(columns: Int) {
        #expect(AWQTiles.rows(columns: columns) % 8 == 0)
        #expect(AWQTiles.rows(columns: columns) * columns <= AWQTiles.rowElements)
        #expect(AWQTiles.tokens(columns: columns) % 4 == 0)
        #expect(AWQTiles.tokens(columns: columns) * columns <= AWQTiles.tokenElements)
    }

    @Test("storage is asked for pieces, never for a whole tensor")
    func pieces() throws {
        let (weight, tokens) = example(rows: 1024, columns: 256, tokens: 4)
        let run = AWQRun(
            weight: float32Bytes(weight), rows: 1024, columns: 256, tokens: tokens,
            options: AWQOptions(groupSize: 32, clip: false))
        _ = try run.run()
        #expect(run.storage.largestTransfer <= AWQTiles.rows(columns: 256) * 256 / 2)
        #expect(run.output.bytes.count == 1024 * 128 + 8 * 512 + 8 * 2048 + 1024)
        #expect(
            run.storage.bytes.count == run.layer.scratchBase + run.layer.scratchByteCount - run.layer.moments.byteCount)
    }

    @Test("powers in twentieths agree with the C library")
    func powers() {
        for x in [0, 1e-300, 4.9e-10, 0.001, 0.5, 1, 1.7, 2, 63.9, 1e5, 3.3e38, 1e300] {
            for n in 0...20 {
                let (found, expected) = (Powers.power(x, twentieths: n), pow(x, Double(n) / 20))
                #expect(found == expected || abs(found / expected - 1) < 1e-13)
            }
        }
    }
}
