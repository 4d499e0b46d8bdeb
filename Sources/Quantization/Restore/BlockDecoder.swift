/// Restores bitsandbytes' 4-bit weights: map[code] · scale of the block, rounded to the weight's own type.
///
/// Source: bitsandbytes 0.50.2, `dequantize_4bit` and `dequantize_blockwise`; every operation is one in float32.
struct BlockDecoder: WeightDecoder {
    private let weight: QuantizedWeight
    private let coding: BlockCoding
    private var map: [Float] = []
    private var nestedMap: [Float] = []
    private var codes: [UInt8] = []
    private var scales: [Float] = []
    private var scaleCodes: [UInt8] = []
    private var nestedScales: [Float] = []

    init(_ weight: QuantizedWeight, _ coding: BlockCoding) {
        self.weight = weight
        self.coding = coding
    }

    mutating func restore(
        from start: Int, into band: inout RestoredBand, _ reader: ArtifactReader
    ) throws(QuantizationError) {
        if map.isEmpty { try readMaps(reader) }
        let count = min(RestoredBand.capacity, weight.elementCount - start)
        let first = start / coding.blockSize
        let blocks = count / coding.blockSize
        let tail = count % coding.blockSize
        try readScales(first..<first + blocks + (tail > 0 ? 1 : 0), reader)
        try reader.read((count + 1) / 2, at: coding.codes.offset + start / 2, into: &codes)
        let form = NibbleForm(map: map, blockSize: coding.blockSize, restored: weight.returned)
        var isFinite = reader.kernels.restore(form, codes, blocks: blocks, scales, into: &band)
        if tail > 0 {
            let end = Kernels.restoreTail(form, codes, block: blocks, count: tail, scale: scales[blocks], into: &band)
            isFinite = isFinite && end
        }
        guard !isFinite else { return band.hold(count) }
        // Some value of some block's table overflows: whether a code stands for it is seen element by element.
        Kernels.restorePlain(form, codes, count: count, scales, into: &band.singles)
        try band.narrow(count, of: weight, from: start)
    }

    private mutating func readMaps(_ reader: ArtifactReader) throws(QuantizationError) {
        if let nested = coding.nested { try reader.read(0..<256, of: nested.map, into: &nestedMap) }
        try reader.read(0..<16, of: coding.map, into: &map)
    }

    /// The scales of some blocks into the start of `scales`.
    private mutating func readScales(_ blocks: Range<Int>, _ reader: ArtifactReader) throws(QuantizationError) {
        guard let nested = coding.nested else { return try reader.read(blocks, of: coding.absmax, into: &scales) }
        let size = NestedQuantizer.blockSize
        let groups = blocks.lowerBound / size..<(blocks.upperBound + size - 1) / size
        try reader.read(groups, of: nested.absmax, into: &nestedScales)
        try reader.read(blocks.count, at: coding.absmax.offset + blocks.lowerBound, into: &scaleCodes)
        if scales.count < blocks.count { scales = [Float](repeating: 0, count: blocks.count) }
        for index in 0..<blocks.count {
            let block = blocks.lowerBound + index
            let step = nestedMap[Int(scaleCodes[index])] * nestedScales[block / size - groups.lowerBound]
            scales[index] = step + nested.offset
            guard scales[index].isFinite else { throw .nonFinite(tensor: coding.absmax.name, index: block) }
        }
    }
}
