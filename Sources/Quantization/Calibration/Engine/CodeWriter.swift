import Tensors

/// Writes codes and scales into the places that a format has for them.
struct CodeWriter {
    let form: LayerForm
    let placement: PlannedTensor
    /// The first byte of scratch storage for what is written transposed.
    let scratch: Int

    private var rows: Int { form.rows }
    private var columns: Int { form.columns }

    /// Writes the scales, quantized themselves where the format does that: `grids` then holds what a reader restores.
    ///
    /// Returns what NF4's 8-bit scales are offset by.
    func writeScales(_ grids: inout LayerGrids, _ workplace: Workplace) throws(QuantizationError) -> Float? {
        switch placement {
        case .awq(let placement, _):
            guard let offset = placement.inputScales else { return nil }
            let scales = form.columnScales ?? [Float](repeating: 1, count: columns)
            try workplace.write(scales.span, at: offset)
            return nil
        case .nf4(let placement): return try write(&grids, placement, workplace)
        default: return nil
        }
    }

    private func write(
        _ grids: inout LayerGrids, _ placement: NF4Placement, _ workplace: Workplace
    ) throws(QuantizationError) -> Float? {
        try placement.writeMaps(workplace)
        guard let nestedAbsmax = placement.nestedAbsmax else {
            try workplace.write(grids.scales.span, at: placement.absmax.offset)
            return nil
        }
        let offset = NestedQuantizer.offset(of: grids.scales)
        var fit = NestedFit()
        let size = NestedQuantizer.blockSize
        for first in stride(from: 0, to: grids.scales.count, by: size) {
            let count = min(size, grids.scales.count - first)
            fit.fit(
                Array(grids.scales[first..<first + count]), weights: Array(grids.costs[first..<first + count]),
                count: count, offset: offset, tolerance: 0)
            for index in 0..<count { grids.scales[first + index] = fit.restored[index] }
            try workplace.write(fit.codes.span.extracting(first: count), at: placement.absmax.offset + first)
            try workplace.write([fit.nestedAbsmax].span, at: nestedAbsmax.offset + first / size * 4)
        }
        return offset
    }

    /// Writes the codes of a tile, and its scales where they are stored as they are.
    func write(_ tile: CodedTile, _ workplace: Workplace) throws(QuantizationError) {
        switch placement {
        case .awq: try writeWords(tile, workplace)
        case .grouped(let placement): try writePacked(tile, placement, workplace)
        case .nf4(let placement):
            let packed = tile.packed(bits: 4, columns: columns, highFirst: true)
            try workplace.write(packed.span, at: placement.codes.offset + tile.firstRow * columns / 2)
        default: break
        }
    }

    /// Gathers what was staged, after the last tile.
    func finish(_ workplace: Workplace) throws(QuantizationError) {
        for plane in planes { try plane.gather(tileOctets: tileOctets, from: workplace.scratch, to: workplace.output) }
        guard case .grouped(let placement) = placement, let shape = placement.shape else { return }
        let values = [Int64(rows), Int64(columns)]
        try workplace.write(values.span, at: shape.offset)
    }

    private func writePacked(
        _ tile: CodedTile, _ placement: GroupPlacement, _ workplace: Workplace
    ) throws(QuantizationError) {
        guard case .symmetric(let bits) = form.options.code else { return }
        let packed = tile.packed(bits: bits, columns: columns, highFirst: false)
        let rowBytes = packed.count / tile.count
        try workplace.write(packed.span, at: placement.codes.offset + tile.firstRow * rowBytes)
        let scales = tile.scales(groups: form.groups)
        let type = form.coder.type
        let at = placement.scales.offset + tile.firstRow * form.groups * type.width
        try workplace.write(scales, as: type, at: at)
    }
}

// MARK: - AutoAWQ

extension CodeWriter {
    private var tileOctets: Int { WeightTile.rows / 8 }

    /// qweight, qzeros and scales of AutoAWQ, whose rows are our columns.
    private var planes: [TransposedPlane] {
        guard case .awq(let placement, _) = placement else { return [] }
        return TransposedPlane.parts(
            of: placement, rows: rows, columns: columns, groups: form.groups, scratch: scratch)
    }

    private func writeWords(_ tile: CodedTile, _ workplace: Workplace) throws(QuantizationError) {
        let (planes, octets) = (planes, tile.count / 8)
        let range = tile.firstRow / 8..<tile.firstRow / 8 + octets
        var words: [UInt32] = []
        words.reserveCapacity(columns * octets)
        for column in 0..<columns {
            for octet in 0..<octets {
                let codes = tile.codes[column * tile.blocks + octet / 2]
                let half = octet % 2 == 0 ? codes.lowHalf : codes.highHalf
                words.append(AWQWord.pack(nibbles: SIMD8<UInt32>(truncatingIfNeeded: half)))
            }
        }
        try planes[0].stage(words, octets: range, in: workplace.scratch)
        var zeros: [UInt32] = []
        var scales: [UInt16] = []
        for group in 0..<form.groups {
            for octet in 0..<octets {
                let grid = tile.grids.grids[group * tile.blocks + octet / 2]
                let isLow = octet % 2 == 0
                zeros.append(AWQWord.pack(isLow ? grid.zero.lowHalf : grid.zero.highHalf))
                let scale = isLow ? grid.scale.lowHalf : grid.scale.highHalf
                for lane in 0..<8 { scales.append(HalfOctets.bits(scale[lane])) }
            }
        }
        try planes[1].stage(zeros, octets: range, in: workplace.scratch)
        try planes[2].stage(scales, octets: range, in: workplace.scratch)
    }
}

extension CodedTile {
    /// Codes row after row, each row in whole words of 32 bits unless the first code is the high nibble of its byte.
    func packed(bits: Int, columns: Int, highFirst: Bool) -> [UInt8] {
        let rowBytes = highFirst ? columns / 2 : GroupedCode.packed(bits: bits).bytes(of: columns)
        var packed = [UInt8](repeating: 0, count: count * rowBytes)
        for column in 0..<columns {
            let at = bits == 8 ? column : column / 2
            let shift: UInt8 = bits == 8 || (column % 2 == 0) != highFirst ? 0 : 4
            for block in 0..<blocks {
                let codes = self.codes[column * blocks + block] &<< shift
                for lane in 0..<min(16, count - block * 16) {
                    packed[(block * 16 + lane) * rowBytes + at] |= codes[lane]
                }
            }
        }
        return packed
    }

    /// The scales, row after row.
    func scales(groups: Int) -> [Float] {
        (0..<count * groups).map { index in
            let (row, group) = (index / groups, index % groups)
            return grids.grids[group * blocks + row / 16].scale[row % 16]
        }
    }
}
