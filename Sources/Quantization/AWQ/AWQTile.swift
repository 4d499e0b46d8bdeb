/// The codes and scales of a tile of rows on their way into words of AWQ's layout.
///
/// Groups come row after row; eight rows are a word. A tile whose rows are not all there can be staged as well, and
/// taken up again: its words lie where the whole tile's will lie.
struct AWQTile {
    private let columns: Int
    /// Columns that share a scale, and how many such groups a row has.
    private let groupSize: Int
    private let groups: Int
    /// All octets of the layer, and those of a tile; the last tile may be narrower.
    private let octets: Int
    private let tileOctets: Int
    private let planes: [TransposedPlane]
    private var codes: [UInt8]
    private var scales: [GroupScale]
    private var words: [UInt32] = []
    private var zeros: [UInt32] = []
    private var halves: [UInt16] = []
    /// The first octet of the tile, and how many groups of it are there.
    private var firstOctet = 0
    private var filled = 0

    /// Tiles of a layer of [rows, columns] that lie in scratch storage from `scratch` on.
    init(placement: AWQPlacement, rows: Int, columns: Int, groupSize: Int, scratch: Int) {
        self.columns = columns
        self.groupSize = groupSize
        groups = columns / groupSize
        octets = rows / 8
        tileOctets = min(octets, AWQTiles.rows(columns: columns, elements: AWQTiles.codeElements) / 8)
        planes = TransposedPlane.parts(
            of: placement, rows: rows, columns: columns, groups: groups, scratch: scratch)
        codes = [UInt8](repeating: 0, count: tileOctets * 8 * columns)
        scales = [GroupScale](repeating: GroupScale(), count: tileOctets * 8 * groups)
    }

    /// Octets of this tile.
    private var width: Int { min(tileOctets, octets - firstOctet) }

    /// Adds `count` groups, and stages each tile that is whole.
    mutating func add(_ made: GroupCoder.Made, _ count: Int, _ workplace: Workplace) throws(QuantizationError) {
        var taken = 0
        while taken < count {
            let part = min(count - taken, width * 8 * groups - filled)
            codes.replaceSubrange(
                filled * groupSize..<(filled + part) * groupSize,
                with: made.codes[taken * groupSize..<(taken + part) * groupSize])
            scales.replaceSubrange(filled..<filled + part, with: made.scales[taken..<taken + part])
            taken += part
            filled += part
            guard filled == width * 8 * groups else { continue }
            try stage(workplace)
            firstOctet += width
            filled = 0
        }
    }

    /// Stages what there is of the tile, zeros for the rest of it.
    mutating func stage(_ workplace: Workplace) throws(QuantizationError) {
        let width = width
        resize(width)
        AWQTileWords.pack(codes, columns: columns, octets: width, into: &words)
        for group in 0..<groups {
            for octet in 0..<width {
                var zero = RowOctet()
                for channel in 0..<8 {
                    let scale = scales[(octet * 8 + channel) * groups + group]
                    zero[channel] = scale.bias
                    halves[(group * width + octet) * 8 + channel] = HalfOctets.bits(scale.value)
                }
                zeros[group * width + octet] = AWQWord.pack(zero)
            }
        }
        let range = firstOctet..<firstOctet + width
        try planes[0].stage(words, octets: range, in: workplace.scratch)
        try planes[1].stage(zeros, octets: range, in: workplace.scratch)
        try planes[2].stage(halves, octets: range, in: workplace.scratch)
    }

    /// Takes up the tile that holds the last of `done` groups, if its rows were not all there.
    mutating func restore(groupsDone done: Int, _ workplace: Workplace) throws(QuantizationError) {
        firstOctet = done / (tileOctets * 8 * groups) * tileOctets
        filled = done % (tileOctets * 8 * groups)
        guard filled > 0 else { return }
        let width = width
        resize(width)
        let range = firstOctet..<firstOctet + width
        try planes[0].unstage(&words, octets: range, from: workplace.scratch)
        try planes[1].unstage(&zeros, octets: range, from: workplace.scratch)
        try planes[2].unstage(&halves, octets: range, from: workplace.scratch)
        AWQTileWords.unpack(words, columns: columns, octets: width, into: &codes)
        for group in 0..<groups {
            for octet in 0..<width {
                for channel in 0..<8 {
                    let zero = zeros[group * width + octet] >> AWQWord.shift(ofChannel: channel) & 15
                    let scale = HalfOctets.value(halves[(group * width + octet) * 8 + channel])
                    scales[(octet * 8 + channel) * groups + group] = GroupScale(scale: scale, zero: Float(zero))
                }
            }
        }
    }

    /// Writes all parts, after the last tile.
    func gather(_ workplace: Workplace) throws(QuantizationError) {
        for plane in planes {
            try plane.gather(tileOctets: tileOctets, from: workplace.scratch, to: workplace.output)
        }
    }

    /// Room for a tile of `width` octets; all but the last have the same.
    private mutating func resize(_ width: Int) {
        guard words.count != columns * width else { return }
        words = [UInt32](repeating: 0, count: columns * width)
        zeros = [UInt32](repeating: 0, count: groups * width)
        halves = [UInt16](repeating: 0, count: groups * width * 8)
    }
}
