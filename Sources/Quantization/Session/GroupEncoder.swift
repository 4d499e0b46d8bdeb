import Tensors

/// Writes one weight as compressed-tensors or MLX hold it: codes, and a scale for each group or each row.
///
/// Groups lie one behind the other in codes and scales alike, so a group is the unit and rows do not matter; where a
/// row shares a scale, the row is the group.
struct GroupEncoder: TensorEncoder {
    private let entry: TensorEntry
    private let code: GroupedCode
    private let restored: RestoredType
    private let placement: GroupPlacement
    /// Weights and bytes of one group.
    private let elements: Int
    private let groupBytes: Int
    private let feed: ElementFeed
    private var codes: [UInt8]
    private var ranges: [GroupRange]
    private var scales: [GroupScale]
    private var search: GroupSearch?
    private var pending: [GroupScale] = []
    private var pieces: [ErrorSums]
    private var histogram = ErrorCounts()
    private var sums = QualitySums()
    private var groupsDone = 0

    /// Error sums are taken over pieces of at most this many elements; whole words in every format.
    static let pieceElements = 4096
    /// Scales are written this many at a time.
    private static let pendingLimit = 1 << 14

    init(entry: TensorEntry, recipe: Recipe, code: GroupedCode, placement: GroupPlacement) {
        self.entry = entry
        self.code = code
        self.placement = placement
        restored = RestoredType(of: entry.type)
        elements = recipe.groupSize == -1 ? entry.shape[1] : recipe.groupSize
        groupBytes = code.bytes(of: elements)
        feed = ElementFeed(type: entry.type, unitElements: elements, elements: entry.elementCount)
        codes = [UInt8](repeating: 0, count: feed.batchUnits * groupBytes)
        ranges = [GroupRange](repeating: GroupRange(), count: feed.batchUnits)
        scales = [GroupScale](repeating: GroupScale(), count: feed.batchUnits)
        pieces = [ErrorSums](repeating: ErrorSums(), count: feed.batchUnits)
        guard recipe.mode == .best else { return }
        search = GroupSearch(code: code, restored: restored, elements: elements, groups: feed.batchUnits)
    }

    mutating func consume(_ bytes: RawSpan, _ workplace: Workplace) throws(QuantizationError) {
        try feed.feed(bytes, workplace.kernels) { (x, groups) throws(QuantizationError) in
            histogram.willCount(groups * elements)
            workplace.kernels.ranges(x, groups: groups, elements: elements, into: &ranges)
            for group in 0..<groups {
                let range = ranges[group]
                guard range.absmax.isFinite else {
                    // The first refusal of the tensor is told, however its bytes were cut.
                    if group > 0 { try encode(x, group, workplace.kernels) }
                    throw nonFinite(x, group, workplace.kernels)
                }
                sums.maximumSignal = max(sums.maximumSignal, Double(range.absmax))
                scales[group] = GroupScale(code, range, type: restored)
            }
            try encode(x, groups, workplace.kernels)
            try workplace.write(
                codes.span.extracting(first: groups * groupBytes),
                at: placement.codes.offset + groupsDone * groupBytes)
            groupsDone += groups
            pending.append(contentsOf: scales[..<groups])
            if pending.count >= Self.pendingLimit { try flushScales(workplace) }
        }
    }

    mutating func finish(_ workplace: Workplace) throws(QuantizationError) -> EncodedTensor {
        try flushScales(workplace)
        if let shape = placement.shape {
            let extents = entry.shape.map { Int64($0) }
            try workplace.write(extents.span, at: shape.offset)
        }
        return EncodedTensor(quality: TensorQuality(sums: sums, counts: histogram), counts: histogram)
    }

    private func nonFinite(_ x: RawSpan, _ group: Int, _ kernels: Kernels) -> QuantizationError {
        let part = x.extracting(group * elements * 4..<(group + 1) * elements * 4)
        let first = kernels.firstNonFinite(part, count: elements) ?? 0
        return .nonFinite(tensor: entry.name, index: (groupsDone + group) * elements + first)
    }

    /// Codes the groups of a batch: all at once, or a large one in pieces.
    private mutating func encode(_ x: RawSpan, _ groups: Int, _ kernels: Kernels) throws(QuantizationError) {
        search?.improve(&scales, x, groups: groups, ranges: ranges, codes: &codes, kernels)
        let together = elements <= Self.pieceElements ? groups : 1
        for group in stride(from: 0, to: groups, by: together) {
            for start in stride(from: 0, to: elements, by: Self.pieceElements) {
                let length = min(Self.pieceElements, elements - start)
                let first = group * elements + start
                kernels.groups(
                    x.extracting(first * 4..<(first + together * length) * 4), groups: together, elements: length,
                    code: code, scales: scales, firstScale: group, restored: restored, codes: &codes,
                    at: group * groupBytes + code.bytes(of: start), groupBytes: code.bytes(of: length),
                    sums: &pieces, histogram: &histogram.recent)
                for index in 0..<together {
                    // A finite weight can have a restored value that is not.
                    if !pieces[index].maximumError.isFinite {
                        throw overflow(x, first: first + index * length, count: length, kernels)
                    }
                    sums.add(pieces[index], count: length)
                }
            }
        }
    }

    private func overflow(_ x: RawSpan, first: Int, count: Int, _ kernels: Kernels) -> QuantizationError {
        let part = x.extracting(first * 4..<(first + count) * 4)
        let (index, value) = kernels.firstBeyond(part, count: count, limit: code.largest(of: restored))
        return .outOfRange(
            tensor: entry.name, index: groupsDone * elements + first + index, value: value,
            limit: code.largest(of: restored))
    }

    private mutating func flushScales(_ workplace: Workplace) throws(QuantizationError) {
        guard !pending.isEmpty else { return }
        let offset = (groupsDone - pending.count) * restored.width
        let values = pending.map { $0.storedValue }
        try write(values, at: placement.scales.offset + offset, workplace)
        if let place = placement.biases {
            let biases = pending.map { $0.storedBias }
            try write(biases, at: place.offset + offset, workplace)
        }
        pending.removeAll(keepingCapacity: true)
    }

    /// Writes values that the weight's type holds exactly.
    private func write(_ values: [Float], at offset: Int, _ workplace: Workplace) throws(QuantizationError) {
        guard restored != .f32 else { return try workplace.write(values.span, at: offset) }
        let halves = values.map { value in
            restored == .f16 ? HalfOctets.bits(value) : UInt16(truncatingIfNeeded: value.bitPattern >> 16)
        }
        try workplace.write(halves.span, at: offset)
    }
}
