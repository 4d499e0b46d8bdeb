import Tensors

/// Codes some groups of a weight into memory of its own: what one core does for a `GroupEncoder`.
final class GroupCoder: UnitCoder, @unchecked Sendable {
    // Invariant: a `CoderCrew` gives each coder to one thread at a time, and all have ended when the encoder reads.

    /// Some groups' codes, one behind the other, their scales, and the error sums of pieces of at most `pieceElements`.
    struct Made {
        fileprivate(set) var codes: [UInt8]
        fileprivate(set) var scales: [GroupScale]
        fileprivate(set) var pieces: [ErrorSums] = []

        /// Room for up to `groups` groups of `elements` weights.
        init(code: GroupedCode, elements: Int, groups: Int) {
            codes = [UInt8](repeating: 0, count: groups * code.bytes(of: elements))
            scales = [GroupScale](repeating: GroupScale(), count: groups)
        }
    }

    private let name: String
    private let code: GroupedCode
    private let restored: RestoredType
    /// Weights and bytes of one group.
    private let elements: Int
    private let groupBytes: Int
    private var widened: WidenedElements
    private var ranges: [GroupRange]
    private var search: GroupSearch?
    private var sums: [ErrorSums]
    /// The errors of all calls.
    var histogram = ErrorCounts()
    /// max |x| of all calls.
    private(set) var maximumSignal = 0.0

    /// Error sums are taken over pieces of at most this many elements; whole words in every format.
    static let pieceElements = 4096

    /// A coder for up to `groups` groups of `elements` weights of `entry` at a time.
    init(entry: TensorEntry, recipe: Recipe, code: GroupedCode, elements: Int, groups: Int) {
        name = entry.name
        self.code = code
        self.elements = elements
        restored = code == .zeroPoint ? .f16 : RestoredType(of: entry.type)
        groupBytes = code.bytes(of: elements)
        widened = WidenedElements(of: entry.type)
        ranges = [GroupRange](repeating: GroupRange(), count: groups)
        sums = [ErrorSums](repeating: ErrorSums(), count: groups)
        guard recipe.mode == .best else { return }
        search = GroupSearch(code: code, restored: restored, elements: elements, groups: groups)
    }

    func code(
        _ stored: RawSpan, units groups: Int, from first: Int, into made: inout Made, _ kernels: Kernels
    ) throws(QuantizationError) {
        made.pieces.removeAll(keepingCapacity: true)
        histogram.willCount(groups * elements)
        try widened.read(stored, kernels) { (x) throws(QuantizationError) in
            try choose(x, groups, first, &made, kernels)
            try encode(x, groups, first, &made, kernels)
        }
    }

    /// The reference's scales, which hold until the search finds better ones.
    private func choose(
        _ x: RawSpan, _ groups: Int, _ first: Int, _ made: inout Made, _ kernels: Kernels
    ) throws(QuantizationError) {
        kernels.ranges(x, groups: groups, elements: elements, into: &ranges)
        for group in 0..<groups {
            let range = ranges[group]
            if let refusal = refusal(of: range, x, group, first, kernels) {
                // The first refusal of the tensor is told, however its bytes were cut; codes with a zero point have no
                // other.
                if group > 0, code != .zeroPoint { try encode(x, group, first, &made, kernels) }
                throw refusal
            }
            maximumSignal = max(maximumSignal, Double(range.absmax))
            if code != .zeroPoint { made.scales[group] = GroupScale(code, range, type: restored) }
        }
        if code == .zeroPoint { GroupScale.zeroPoints(ranges, count: groups, into: &made.scales) }
    }

    /// Why no scale goes with the group, if none does: a weight is no number, or float16 does not hold a weight or the
    /// range where the library works in it.
    private func refusal(
        of range: GroupRange, _ x: RawSpan, _ group: Int, _ first: Int, _ kernels: Kernels
    ) -> QuantizationError? {
        let isHalf = code == .zeroPoint
        if range.absmax <= (isHalf ? AWQGrid.rangeLimit / 2 : .greatestFiniteMagnitude) { return nil }
        let part = x.extracting(group * elements * 4..<(group + 1) * elements * 4)
        let start = (first + group) * elements
        if !range.absmax.isFinite {
            return .nonFinite(tensor: name, index: start + (kernels.firstNonFinite(part, count: elements) ?? 0))
        }
        if range.absmax > HalfOctets.limit {
            let (index, value) = kernels.firstBeyond(part, count: elements, limit: HalfOctets.limit)
            return .outOfRange(tensor: name, index: start + index, value: value, limit: HalfOctets.limit)
        }
        let ends = [range.least, range.greatest].map { HalfPrecision.rounded($0, to: .f16) }
        let span = ends[1] - ends[0]
        guard HalfPrecision.rounded(span, to: .f16) > AWQGrid.rangeLimit else { return nil }
        let (index, _) = kernels.firstBeyond(part, count: elements, limit: range.absmax.nextDown)
        return .outOfRange(tensor: name, index: start + index, value: span, limit: AWQGrid.rangeLimit)
    }

    /// Codes the groups: all at once, or a large one in pieces.
    private func encode(
        _ x: RawSpan, _ groups: Int, _ first: Int, _ made: inout Made, _ kernels: Kernels
    ) throws(QuantizationError) {
        search?.improve(&made.scales, x, groups: groups, ranges: ranges, codes: &made.codes, kernels)
        let together = elements <= Self.pieceElements ? groups : 1
        for group in stride(from: 0, to: groups, by: together) {
            for start in stride(from: 0, to: elements, by: Self.pieceElements) {
                let length = min(Self.pieceElements, elements - start)
                let position = group * elements + start
                kernels.groups(
                    x.extracting(position * 4..<(position + together * length) * 4), groups: together,
                    elements: length, code: code, scales: made.scales, firstScale: group, restored: restored,
                    codes: &made.codes, at: group * groupBytes + code.bytes(of: start),
                    groupBytes: code.bytes(of: length), sums: &sums, histogram: &histogram.recent)
                for index in 0..<together {
                    // A finite weight can have a restored value that is not.
                    if !sums[index].maximumError.isFinite {
                        throw overflow(x, position + index * length, count: length, first, kernels)
                    }
                    made.pieces.append(sums[index])
                }
            }
        }
    }

    private func overflow(
        _ x: RawSpan, _ position: Int, count: Int, _ first: Int, _ kernels: Kernels
    ) -> QuantizationError {
        let part = x.extracting(position * 4..<(position + count) * 4)
        let (index, value) = kernels.firstBeyond(part, count: count, limit: code.largest(of: restored))
        return .outOfRange(
            tensor: name, index: first * elements + position + index, value: value,
            limit: code.largest(of: restored))
    }
}
