/// Second moments of the sampled inputs of each group, X_gᵀX_g / T, kept in scratch storage.
///
/// dᵀHd is the mean over tokens of (x · d)², so the clip search need not visit the tokens again for every threshold.
/// Of the symmetric H only k ≤ j is kept, with entries off the diagonal doubled and zeros for k > j within a panel:
/// element [group][panel j / 4][k] holds H[k][j...j + 3].
struct AWQMoments {
    let columns: Int
    let groupSize: Int
    let products: RowProducts
    /// Where the moments start in scratch storage.
    let offset: Int

    /// How many groups one band holds; the last may hold fewer.
    var groupsInBand: Int { max(1, AWQTiles.bandColumns / groupSize) }

    /// The groups of all bands, ascending.
    var bands: [Range<Int>] {
        let groups = columns / groupSize
        return stride(from: 0, to: groups, by: groupsInBand).map { $0..<min(groups, $0 + groupsInBand) }
    }

    /// Bytes of scratch storage that the moments take.
    var byteCount: Int { columns * groupSize * 4 }

    /// Forms the moments of the given tokens, each input divided by its column's scale, and writes them to scratch.
    func write(
        _ rows: inout StagedRows, tokens: [Int], dividedBy scales: [Float]?, threads: Int?,
        to scratch: any ScratchStorage
    ) throws(QuantizationError) {
        for band in bands {
            let columns = band.lowerBound * groupSize..<band.upperBound * groupSize
            var sums = [[SIMD4<Float>]](
                repeating: Array(repeating: SIMD4(), count: groupSize * groupSize / 4), count: band.count)
            for first in stride(from: 0, to: tokens.count, by: AWQTiles.tokens) {
                let part = tokens[first..<min(tokens.count, first + AWQTiles.tokens)]
                let inputs = try inputs(&rows, tokens: part, columns: columns, dividedBy: scales)
                let (size, count, previous, products) = (groupSize, part.count, sums, products)
                sums = OrderedWork.map(band.count, threads: threads) { group in
                    Self.adding(inputs, tokens: count, group: group, groupSize: size, to: previous[group], products)
                }
            }
            let mean = 1 / Float(tokens.count)
            for (index, group) in band.enumerated() {
                for i in sums[index].indices { sums[index][i] *= mean }
                let at = offset + group * groupSize * groupSize * 4
                let finished = sums[index]
                let span = finished.span
                let bytes = unsafe span.bytes
                do { try scratch.write(bytes, at: at) } catch { throw .storage(error) }
            }
        }
    }

    /// Reads the moments of a band of groups.
    func read(band: Range<Int>, from scratch: any ScratchStorage) throws(QuantizationError) -> [SIMD4<Float>] {
        let size = groupSize * groupSize / 4
        var moments = [SIMD4<Float>](repeating: SIMD4(), count: band.count * size)
        var span = moments.mutableSpan
        // Any bytes are valid Float lanes.
        var bytes = unsafe span.mutableBytes
        do { try scratch.read(into: &bytes, at: offset + band.lowerBound * size * 16) } catch { throw .storage(error) }
        return moments
    }

    /// Element [octet of columns · tokens + t]: eight columns of token t.
    private func inputs(
        _ rows: inout StagedRows, tokens: ArraySlice<Int>, columns: Range<Int>, dividedBy scales: [Float]?
    ) throws(QuantizationError) -> [RowOctet] {
        var inputs = [RowOctet](repeating: RowOctet(), count: columns.count / 8 * tokens.count)
        var row = [Float](repeating: 0, count: columns.count)
        for (index, token) in tokens.enumerated() {
            try rows.read(row: token, columns: columns, into: &row, at: 0)
            if let scales { for k in row.indices { row[k] /= scales[columns.lowerBound + k] } }
            for octet in 0..<columns.count / 8 {
                let at = octet * 8
                inputs[octet * tokens.count + index] = RowOctet(
                    row[at], row[at + 1], row[at + 2], row[at + 3], row[at + 4], row[at + 5], row[at + 6], row[at + 7])
            }
        }
        return inputs
    }

    /// The sums of one group with those of more tokens added.
    private static func adding(
        _ inputs: [RowOctet], tokens: Int, group: Int, groupSize: Int, to previous: [SIMD4<Float>],
        _ products: RowProducts
    ) -> [SIMD4<Float>] {
        var sums = previous
        let inputs = inputs.span
        let firstOctet = group * groupSize / 8
        var left = [SIMD4<Float>](repeating: SIMD4(), count: tokens)
        for row in stride(from: 0, to: groupSize, by: 4) {
            let source = (firstOctet + row / 8) * tokens
            for t in 0..<tokens {
                left[t] = row % 8 == 0 ? inputs[source + t].lowHalf : inputs[source + t].highHalf
            }
            let octets = row / 8..<groupSize / 8
            var lines = [RowOctet](repeating: RowOctet(), count: octets.count * 4)
            var span = lines.mutableSpan
            products.add(
                left: left.span, StridedVectors(start: 0, count: 1, stride: 0), right: inputs,
                StridedVectors(start: (firstOctet + octets.lowerBound) * tokens, count: octets.count, stride: tokens),
                steps: tokens, to: &span, stride: 4)
            for octet in octets {
                for i in 0..<4 {
                    let line = lines[(octet - octets.lowerBound) * 4 + i]
                    let weighted = upper(line, row: row + i, firstColumn: octet * 8)
                    sums[octet * 2 * groupSize + row + i] += weighted.lowHalf
                    sums[(octet * 2 + 1) * groupSize + row + i] += weighted.highHalf
                }
            }
        }
        return sums
    }

    /// Eight entries of one row of H: doubled right of the diagonal, zero left of it.
    private static func upper(_ line: RowOctet, row: Int, firstColumn: Int) -> RowOctet {
        var result = line
        for lane in 0..<8 {
            let column = firstColumn + lane
            result[lane] *= column > row ? 2 : column == row ? 1 : 0
        }
        return result
    }
}
