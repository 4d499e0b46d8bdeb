/// The passes over a layer's weights, each a tile of rows at a time.
extension AWQLayer {
    /// Reads every tile of rows and gives `body` its first octet and the columns of its octets; `pause` comes before.
    private func forEachTile(
        _ rows: inout StagedRows, _ pause: () throws(QuantizationError) -> Void = AWQLayer.goOn,
        _ body: (Int, [[RowOctet]]) throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        for first in stride(from: 0, to: weight.rows, by: tileRows) {
            try pause()
            let range = first..<min(weight.rows, first + tileRows)
            try body(first / 8, try octets(&rows, range))
        }
    }

    /// The columns of each eight of the given rows.
    private func octets(_ rows: inout StagedRows, _ range: Range<Int>) throws(QuantizationError) -> [[RowOctet]] {
        let columns = weight.columns
        var values = [Float](repeating: 0, count: range.count * columns)
        try rows.read(rows: range, into: &values)
        if let rowDivisors {
            for (row, divisor) in zip(range, rowDivisors[range]) where divisor != 1 {
                let start = (row - range.lowerBound) * columns
                for k in start..<start + columns { values[k] /= divisor }
            }
        }
        let tile = values
        return OrderedWork.map(range.count / 8, threads: options.threads) { index in
            AWQTiles.octet(of: tile, firstRow: index * 8, columns: columns)
        }
    }

    /// The ratio with the least loss, and its scales.
    func searchScales(
        _ rows: inout StagedRows, _ inputs: inout StagedRows?,
        pause: () throws(QuantizationError) -> Void = AWQLayer.goOn
    ) throws(QuantizationError) -> (ratio: Double?, scales: [Float]?) {
        guard var tokens = inputs else { return (nil, nil) }
        let candidates = try scaleCandidates(&rows, &tokens)
        let losses = try scaleLosses(candidates, &rows, &tokens, pause: pause)
        inputs = tokens
        var best: Int?
        for (candidate, loss) in losses.enumerated() where loss < (best.map { losses[$0] } ?? .infinity) {
            best = candidate
        }
        guard let best else {
            throw .calibration(code: "calibration.range", detail: "the outputs of \(name) overflow float32")
        }
        return (AWQScaleSearch.ratio(best), candidates[best])
    }

    /// Sums over all rows of |weight| / (largest magnitude of its group + 1e-6), for each column.
    func magnitudeSums(
        _ rows: inout StagedRows, pause: () throws(QuantizationError) -> Void = AWQLayer.goOn
    ) throws(QuantizationError) -> [Double] {
        var sums = [Double](repeating: 0, count: weight.columns)
        let size = groupSize
        try forEachTile(&rows, pause) { _, octets in
            let parts = OrderedWork.map(octets.count, threads: options.threads) { index in
                AWQScaleSearch.magnitudeSums(octets[index], groupSize: size)
            }
            for part in parts { for k in sums.indices { sums[k] += part[k] } }
        }
        return sums
    }

    /// The scales of every candidate.
    func scaleCandidates(
        _ rows: inout StagedRows, _ tokens: inout StagedRows
    ) throws(QuantizationError) -> [[Float]] {
        let activationMeans = try AWQScaleSearch.activationMeans(&tokens)
        let weightMeans = try magnitudeSums(&rows).map { $0 / Double(weight.rows) }
        return (0..<AWQScaleSearch.gridCount).map { candidate in
            AWQScaleSearch.scales(
                candidate: candidate, activationMeans: activationMeans, weightMeans: weightMeans,
                duo: options.duoScaling)
        }
    }

    /// The mean squared change of the layer's output for every candidate, over all tokens.
    func scaleLosses(
        _ candidates: [[Float]], _ rows: inout StagedRows, _ tokens: inout StagedRows,
        pause: () throws(QuantizationError) -> Void = AWQLayer.goOn
    ) throws(QuantizationError) -> [Double] {
        var losses = [Double](repeating: 0, count: candidates.count)
        let (size, count) = (groupSize, tokens.tensor.rows)
        let step = AWQTiles.tokens(columns: weight.columns)
        for first in stride(from: 0, to: count, by: step) {
            let range = first..<min(count, first + step)
            let block = try TokenBlock(&tokens, tokens: Array(range), dividedBy: nil)
            try forEachTile(&rows, pause) { _, octets in
                let parts = OrderedWork.map(octets.count, threads: options.threads) { [products] index in
                    AWQScaleSearch.losses(
                        octets[index], groupSize: size, candidates: candidates, over: block, products)
                }
                for part in parts { for candidate in losses.indices { losses[candidate] += part[candidate] } }
            }
        }
        return losses.map { $0 / (Double(count) * Double(weight.rows)) }
    }

    /// Clips, quantizes and packs every tile, stages its words, and adds up what was lost.
    func quantize(
        _ rows: inout StagedRows, _ inputs: inout StagedRows?, scratch: any ScratchStorage, result: inout AWQResult,
        pause: () throws(QuantizationError) -> Void
    ) throws(QuantizationError) {
        let scales = result.inputScales
        var outputTokens: TokenBlock?
        if options.calibration == .none { inputs = nil }
        var search = try clipSearch(&inputs, scales: scales, scratch: scratch)
        if var tokens = inputs {
            outputTokens = try outputBlock(&tokens)
            inputs = tokens
        }
        let packer = AWQPacker(
            groupSize: groupSize, inputScales: scales, outputTokens: outputTokens, products: products)
        var (error, signal) = (0.0, 0.0)
        try forEachTile(&rows, pause) { (firstOctet: Int, octets: [[RowOctet]]) throws(QuantizationError) in
            let thresholds = try thresholds(octets, scales: scales, &search, &inputs, scratch: scratch)
            let packed = OrderedWork.map(octets.count, threads: options.threads) { index in
                packer.pack(octets[index], thresholds: thresholds?[index])
            }
            for (index, octet) in packed.enumerated() {
                if let refusal = octet.refusal {
                    let at = ((firstOctet + index) * 8 + refusal.row) * weight.columns + refusal.column
                    throw .outOfRange(tensor: name, index: at, value: refusal.value, limit: refusal.limit)
                }
                result.errors.add(octet.errors)
                for (bin, count) in octet.histogram.enumerated() { result.histogram[bin] += count }
                error += octet.outputError
                signal += octet.outputSignal
            }
            try stage(packed, firstOctet: firstOctet, in: scratch)
        }
        let relative = error / signal
        if let outputTokens, relative.isFinite {
            result.outputError = OutputError(
                relative: relative, roundToNearest: nil, plainAWQ: nil, tokens: outputTokens.count, isHeldOut: false)
        }
    }

    /// The tokens over which the output error is measured: evenly spaced, at most 256, fewer where columns are many.
    private func outputBlock(_ tokens: inout StagedRows) throws(QuantizationError) -> TokenBlock {
        let most = min(AWQTiles.outputTokens, max(1, AWQTiles.tokens(columns: weight.columns) / 2))
        let count = min(most, tokens.tensor.rows)
        let chosen = (0..<count).map { $0 * tokens.tensor.rows / count }
        return try TokenBlock(&tokens, tokens: chosen, dividedBy: nil)
    }

    /// Stages the words, zeros and scales of one tile.
    private func stage(
        _ packed: [PackedOctet], firstOctet: Int, in scratch: any ScratchStorage
    ) throws(QuantizationError) {
        let range = firstOctet..<firstOctet + packed.count
        let (planes, groups) = (planes, weight.columns / groupSize)
        var words: [UInt32] = []
        for k in 0..<weight.columns { for octet in packed { words.append(octet.words[k]) } }
        try planes[0].stage(words, octets: range, in: scratch)
        var zeros: [UInt32] = []
        var scales: [UInt16] = []
        for group in 0..<groups {
            for octet in packed {
                zeros.append(octet.zeros[group])
                scales.append(contentsOf: octet.scales[group * 8..<group * 8 + 8])
            }
        }
        try planes[1].stage(zeros, octets: range, in: scratch)
        try planes[2].stage(scales, octets: range, in: scratch)
    }
}

// MARK: - Clipping

/// How the thresholds of a layer are found.
enum ClipMethod {
    /// Nothing is clipped.
    case off
    case moments(AWQMoments)
    case tokens(AWQClipByTokens)
}

extension AWQLayer {
    /// Prepares the clip search, if there is to be one.
    private func clipSearch(
        _ inputs: inout StagedRows?, scales: [Float]?, scratch: any ScratchStorage
    ) throws(QuantizationError) -> ClipMethod {
        guard options.clip, var rows = inputs else { return .off }
        let tokens = AWQClipSearch.sampledTokens(of: rows.tensor.rows)
        guard AWQClipSearch.usesMoments(groupSize: groupSize) else {
            return .tokens(
                AWQClipByTokens(
                    columns: weight.columns, tokens: tokens, dividedBy: scales, threads: options.threads,
                    products: products))
        }
        let moments = moments
        try moments.write(&rows, tokens: tokens, dividedBy: scales, threads: options.threads, to: scratch)
        inputs = rows
        return .moments(moments)
    }

    /// The thresholds of every group of every octet of a tile; nil if nothing is to be clipped.
    private func thresholds(
        _ octets: [[RowOctet]], scales: [Float]?, _ search: inout ClipMethod, _ inputs: inout StagedRows?,
        scratch: any ScratchStorage
    ) throws(QuantizationError) -> [[RowOctet]]? {
        switch search {
        case .off: return nil
        case .moments(let moments):
            let scaled = OrderedWork.map(octets.count, threads: options.threads) { index in
                Self.scaled(octets[index], by: scales)
            }
            return try thresholds(scaled, moments, scratch: scratch)
        case .tokens(var byTokens):
            guard var rows = inputs else { return nil }
            var found: [[RowOctet]] = []
            for octet in octets { found.append([try byTokens.threshold(Self.scaled(octet, by: scales), &rows)]) }
            inputs = rows
            search = .tokens(byTokens)
            return found
        }
    }

    private func thresholds(
        _ octets: [[RowOctet]], _ moments: AWQMoments, scratch: any ScratchStorage
    ) throws(QuantizationError) -> [[RowOctet]] {
        var found = [[RowOctet]](repeating: [], count: octets.count)
        let size = groupSize
        for band in moments.bands {
            let values = try moments.read(band: band, from: scratch)
            let parts = OrderedWork.map(octets.count, threads: options.threads) { [products] index in
                AWQClipSearch.thresholds(
                    octets[index], firstColumn: band.lowerBound * size, groups: band.count, groupSize: size,
                    moments: values, products)
            }
            for index in found.indices { found[index] += parts[index] }
        }
        return found
    }

    /// The weights as they are quantized: each column multiplied by its scale.
    static func scaled(_ octet: [RowOctet], by scales: [Float]?) -> [RowOctet] {
        guard let scales else { return octet }
        var scaled = octet
        for k in scaled.indices { scaled[k] *= scales[k] }
        return scaled
    }
}
