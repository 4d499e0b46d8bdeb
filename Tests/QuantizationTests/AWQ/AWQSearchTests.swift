import Testing

@testable import Quantization

@Suite("AWQ searches against AutoAWQ 0.2.9")
struct AWQSearchTests {
    static let multi = ["awq_search_mlp", "awq_search_mlp_noduo", "awq_search_mlp_manytok"]

    /// Checks ratio, scales and losses of a Linear on its own.
    private func checkScaleSearch(_ id: String, weight: String, tokens: String, suffix: String) throws {
        let golden = try AWQGolden(id)
        let shape = try golden[weight].shape
        let options = AWQOptions(
            groupSize: try #require(golden.parameters["group_size"] as? Int), scaling: .keep,
            duoScaling: try #require(golden.parameters["duo_scaling"] as? Bool))
        let run = AWQRun(
            weight: try golden[weight].bytes, rows: shape[0], columns: shape[1], tokens: try golden.floats(tokens),
            options: options)
        var rows = run.layer.weightRows(run.storage)
        let staged = try #require(run.layer.activations)
        var inputs = StagedRows(staged, storage: run.storage, name: "activations")
        let candidates = try run.layer.scaleCandidates(&rows, &inputs)
        let expectedLosses = try golden.values("out.loss_" + suffix)
        let best = try #require(expectedLosses.indices.min { expectedLosses[$0] < expectedLosses[$1] })
        #expect(AWQScaleSearch.ratio(best) == golden.parameters["best_ratio_" + suffix] as? Double)
        // Every candidate is judged alike: the best, those beside it, the ends and the middle stand for all twenty.
        let judged = Set([0, best - 1, best, best + 1, 10, 19]).filter(candidates.indices.contains).sorted()
        let losses = try run.layer.scaleLosses(judged.map { candidates[$0] }, &rows, &inputs)
        for (index, loss) in zip(judged, losses) { #expect(abs(loss / expectedLosses[index] - 1) < 1e-4) }
        #expect(candidates.count == expectedLosses.count)
        #expect(zip(judged, losses).min { $0.1 < $1.1 }?.0 == best)
        for (scale, expected) in zip(candidates[best], try golden.values("out.scale_" + suffix)) {
            #expect(abs(Double(scale) / expected - 1) < 1e-5)
        }
    }

    @Test("the scale search of one Linear behind a norm")
    func single() throws {
        try checkScaleSearch("awq_search_single", weight: "in.up_proj.weight", tokens: "in.X", suffix: "norm")
    }

    @Test("the scale search of the down projection", arguments: multi)
    func down(id: String) throws {
        try checkScaleSearch(id, weight: "in.down_proj.weight", tokens: "in.Xdown", suffix: "down")
    }

    @Test("the scales of gate and up together, at the ratio that the reference chose", arguments: multi)
    func shared(id: String) throws {
        let golden = try AWQGolden(id)
        let ratio = try #require(golden.parameters["best_ratio_norm"] as? Double)
        let size = try #require(golden.parameters["group_size"] as? Int)
        let columns = try golden["in.gate_proj.weight"].shape[1]
        let weights = try golden.floats("in.gate_proj.weight") + golden.floats("in.up_proj.weight")
        var sums = [Double](repeating: 0, count: columns)
        for row in stride(from: 0, to: weights.count / columns, by: 8) {
            let octet = AWQTiles.octet(of: weights, firstRow: row, columns: columns)
            for (k, sum) in AWQScaleSearch.magnitudeSums(octet, groupSize: size).enumerated() { sums[k] += sum }
        }
        let tokens = try golden.values("in.X")
        let means = (0..<columns).map { k in
            let column = stride(from: k, to: tokens.count, by: columns).map { abs(tokens[$0]) }
            return Float(column.reduce(0, +) / Double(column.count))
        }
        let scales = AWQScaleSearch.scales(
            candidate: Int((ratio * 20).rounded()), activationMeans: means,
            weightMeans: sums.map { $0 / Double(weights.count / columns) },
            duo: try #require(golden.parameters["duo_scaling"] as? Bool))
        for (scale, expected) in zip(scales, try golden.values("out.scale_norm")) {
            #expect(abs(Double(scale) / expected - 1) < 1e-5)
        }
    }

    static let layers =
        [("awq_search_single", "up_proj")]
        + multi.flatMap { id in
            ["gate_proj", "up_proj", "down_proj"].map { (id, $0) }
        }

    /// Gate and up differ in their values alone, so one of them is clipped for each of the reference's files.
    static let clipped = layers.filter { $0.0 == "awq_search_single" || $0.1 != "up_proj" }

    @Test("thresholds, and the layer clipped by them, byte for byte", arguments: clipped)
    func clip(id: String, layer: String) throws {
        let golden = try AWQGolden(id)
        let weight = try golden["out.scaled.mlp.\(layer).weight"]
        let (rows, columns) = (weight.shape[0], weight.shape[1])
        let down = layer == "down_proj"
        let scale = try golden.floats(down ? "out.scale_down" : "out.scale_norm")
        let inputs = try golden.floats(down ? "in.Xdown" : "in.X").enumerated().map { $1 / scale[$0 % columns] }
        let size = try #require(golden.parameters["group_size"] as? Int)
        let run = AWQRun(
            weight: weight.bytes, rows: rows, columns: columns, tokens: inputs,
            options: AWQOptions(groupSize: size))
        _ = try run.run()
        #expect(run.qweight == (try golden["out.mlp.\(layer).qweight"].bytes))
        #expect(run.qzeros == (try golden["out.mlp.\(layer).qzeros"].bytes))
        #expect(run.scales == (try golden["out.mlp.\(layer).scales"].bytes))

        let moments = run.layer.moments
        let values = try golden.floats("out.scaled.mlp.\(layer).weight")
        let thresholds = try golden.floats("out.clip.mlp.\(layer)")
        let groups = columns / size
        for band in moments.bands {
            let read = try moments.read(band: band, from: run.storage)
            for row in stride(from: 0, to: rows, by: 8) {
                let octet = AWQTiles.octet(of: values, firstRow: row, columns: columns)
                let found = AWQClipSearch.thresholds(
                    octet, firstColumn: band.lowerBound * size, groups: band.count, groupSize: size, moments: read,
                    RowProducts())
                for lane in 0..<8 {
                    for (index, group) in band.enumerated() {
                        #expect(found[index][lane] == thresholds[(row + lane) * groups + group])
                    }
                }
            }
        }
    }

    @Test("given scaled and clipped weights pack byte for byte", arguments: layers)
    func packGiven(id: String, layer: String) throws {
        let golden = try AWQGolden(id)
        let shape = try golden["out.scaled.mlp.\(layer).weight"].shape
        let size = try #require(golden.parameters["group_size"] as? Int)
        let thresholds = try golden.floats("out.clip.mlp.\(layer)")
        let clipped = try golden.floats("out.scaled.mlp.\(layer).weight").enumerated().map { index, value in
            let threshold = thresholds[index / size]
            return min(max(value, -threshold), threshold)
        }
        let run = AWQRun(
            weight: float32Bytes(clipped), rows: shape[0], columns: shape[1],
            options: AWQOptions(groupSize: size, calibration: .none))
        _ = try run.run()
        #expect(run.qweight == (try golden["out.mlp.\(layer).qweight"].bytes))
        #expect(run.qzeros == (try golden["out.mlp.\(layer).qzeros"].bytes))
        #expect(run.scales == (try golden["out.mlp.\(layer).scales"].bytes))
    }
}
