/// Finds scales of less error than the library's for groups of weights: `mode=best` of the grouped formats.
///
/// For each of a few candidate grids every weight takes the nearest code, weights beyond the grid an end code; the
/// least-squares scale of these codes (with a bias, where the format has one) explains some share of Σx². The grid that
/// explains most gives the scale, rounded to the type in which it is stored. With it the codes are made anew, against
/// what a reader restores, and the group keeps it only if its error is less than the reference's.
struct GroupSearch {
    private let code: GroupedCode
    private let restored: RestoredType
    private let elements: Int
    private let candidates: [Candidate]
    private var grids: [CodeGrid]
    private var gridSums: [GridSums]
    private var totals: [GridTotals]
    private var proposals: [GroupScale]
    private var pieces: [ErrorSums]
    private var errors: [Double]
    private var reference: [Double]
    /// Groups that are searched together.
    private let batch: Int

    /// A way to lay codes over a group's range.
    private struct Candidate {
        /// Codes for each unit of what the group spans: the largest magnitude, or greatest less least. With a zero
        /// point: the share of the greatest weight on which the highest code lies.
        let density: Float
        /// Where the lowest affine code lies, from the least weight up, as a share of the span. With a zero point: the
        /// share of the least weight on which the lowest code lies.
        let start: Float
        /// The square of the first candidate's density over this one's.
        let weight: Double
    }

    /// What a piece's grid sums add up to over a group.
    private struct GridTotals {
        var product = 0.0
        var codeSquared = 0.0
        var code = 0.0
        var weight = 0.0

        mutating func add(_ piece: GridSums) {
            product += Double(piece.product)
            codeSquared += Double(piece.codeSquared)
            code += Double(piece.code)
            weight += Double(piece.weight)
        }
    }

    /// A searched scale must lower a group's error by more than the rounding of the float32 sums could feign.
    private static let decisive = 1 - 0x1p-14
    /// Below this the squares of the errors lose digits to underflow, and nothing is decided by them.
    private static let smallestError = 0x1p-116
    /// Weights of other magnitudes have no grid: its inverse step or the sums would leave float32.
    private static let magnitudes: ClosedRange<Float> = 0x1p-100...0x1p100

    /// About this many weights are searched together, 32 KiB, which the first cache holds.
    private static let batchElements = 1 << 13
    /// The lowest code of 4 bits around zero; affine codes are stored with 8 added.
    private static let lowestCode: Float = -8

    /// Around zero: the code, and beyond, that the largest magnitude falls on.
    ///
    /// Chosen on Gaussian, t(5), Laplace and uniform weights: 19.86 dB for int4 with groups of 128 Gaussian weights
    /// where 60 candidates give 19.90 and the reference 19.06.
    private static let int4: [Float] = [7, 7.7, 8.4, 9.1, 9.9, 10.8, 11.8]
    /// Eight phases of an octave, for a float's step repeats in each.
    private static let e4m3: [Float] = [448, 410.8, 376.7, 345.5, 316.8, 290.5, 266.4, 244.3]
    /// Shares of the least and of the greatest weight, or of zero, that the codes with a zero point span.
    ///
    /// Chosen on Gaussian, t(5) and uniform weights, with one refit: 20.44 dB with groups of 128 Gaussian weights where
    /// 144 candidates give 20.45 and the reference 19.94.
    private static let zeroPoint: [(low: Float, high: Float)] = [
        (1, 1), (0.95, 0.95), (0.95, 0.9), (0.9, 0.85), (0.85, 0.95), (0.95, 1), (0.8, 0.9), (0.95, 0.85),
    ]
    /// The same for groups of more than `shortGroup`, of which the ends are further out: 19.27 dB with 4096 Gaussian
    /// weights where 144 candidates give 19.34 and the reference 17.02.
    private static let longZeroPoint: [(low: Float, high: Float)] = [
        1, 0.945, 0.89, 0.835, 0.78, 0.725, 0.67, 0.615,
    ].map { ($0, $0) }
    private static let shortGroup = 256
    /// Shares of the least and of the greatest weight that the codes span.
    private static let affine: [(low: Float, high: Float)] = [
        (1, 1), (0.9, 0.9), (0.8, 0.8), (0.7, 0.7), (1, 0.9), (0.9, 1), (0.9, 0.8), (0.8, 0.9), (0.8, 0.7), (0.7, 0.8),
    ]

    /// A search for up to `groups` groups of `elements` at a time; nil where the library's scales stand: with 8 bits
    /// there is too little to gain.
    init?(code: GroupedCode, restored: RestoredType, elements: Int, groups: Int) {
        let ends: [(start: Float, density: Float)]
        switch code {
        case .zeroPoint:
            ends = (elements > Self.shortGroup ? Self.longZeroPoint : Self.zeroPoint).map { ($0.low, $0.high) }
        case .affine(let bits):
            guard bits == 4 else { return nil }
            ends = Self.affine.map { (0.5 - 0.5 * $0.low, 15 / (0.5 * ($0.low + $0.high))) }
        case .packed(let bits):
            guard bits == 4 else { return nil }
            ends = Self.int4.map { (0, $0) }
        case .e4m3: ends = Self.e4m3.map { (0, $0) }
        case .int8: return nil
        }
        candidates = ends.map { end in
            let ratio = Double(ends[0].density) / Double(end.density)
            return Candidate(density: end.density, start: end.start, weight: ratio * ratio)
        }
        self.code = code
        self.restored = restored
        self.elements = elements
        batch = max(1, min(groups, Self.batchElements / elements))
        grids = [CodeGrid](repeating: CodeGrid(), count: batch * candidates.count)
        gridSums = [GridSums](repeating: GridSums(), count: batch * candidates.count)
        totals = [GridTotals](repeating: GridTotals(), count: batch * candidates.count)
        proposals = [GroupScale](repeating: GroupScale(), count: batch)
        pieces = [ErrorSums](repeating: ErrorSums(), count: batch)
        errors = [Double](repeating: 0, count: batch)
        reference = errors
    }

    /// Puts better scales in the place of the reference's where there are any; `codes` is overwritten.
    mutating func improve(
        _ scales: inout [GroupScale], _ x: RawSpan, groups: Int, ranges: [GroupRange], codes: inout [UInt8],
        _ kernels: Kernels
    ) {
        for first in stride(from: 0, to: groups, by: batch) {
            let count = min(batch, groups - first)
            let part = x.extracting(first * elements * 4..<(first + count) * elements * 4)
            for group in 0..<count { lay(group, ranges[first + group]) }
            explain(part, groups: count, candidates: candidates.count, kernels)
            for group in 0..<count { proposals[group] = proposal(group) ?? scales[first + group] }
            if code == .zeroPoint { refit(part, groups: count, kernels) }
            measure(scales, first: first, part, groups: count, codes: &codes, kernels)
            for group in 0..<count { reference[group] = errors[group] }
            measure(proposals, first: 0, part, groups: count, codes: &codes, kernels)
            for group in 0..<count where isBetter(errors[group], than: reference[group]) {
                scales[first + group] = proposals[group]
            }
        }
    }

    private func isBetter(_ error: Double, than reference: Double) -> Bool {
        // A reference whose error is no number, because a restored weight is none, is worse than any other.
        error.isFinite && !(reference < Self.smallestError) && !(error >= reference * Self.decisive)
    }

    /// Calls `body` with the parts that the kernels take at once: some groups, and some elements of each.
    private func forEachPart(of groups: Int, _ body: (Range<Int>, Range<Int>) -> Void) {
        let together = elements <= GroupCoder.pieceElements ? groups : 1
        for first in stride(from: 0, to: groups, by: together) {
            for start in stride(from: 0, to: elements, by: GroupCoder.pieceElements) {
                body(first..<first + together, start..<min(start + GroupCoder.pieceElements, elements))
            }
        }
    }

    /// Where a part lies among the bytes of all groups; several whole groups lie one behind the other.
    private func bytes(of part: Range<Int>, _ groups: Range<Int>) -> Range<Int> {
        let first = groups.lowerBound * elements + part.lowerBound
        return first * 4..<(first + groups.count * part.count) * 4
    }

    /// The sums of each of `count` grids of every group.
    private mutating func explain(_ x: RawSpan, groups: Int, candidates count: Int, _ kernels: Kernels) {
        for index in 0..<groups * count { totals[index] = GridTotals() }
        forEachPart(of: groups) { groups, part in
            kernels.grids(
                x.extracting(bytes(of: part, groups)), groups: groups.count, elements: part.count, code: code,
                candidates: count, grids: grids, firstGroup: groups.lowerBound, sums: &gridSums)
            for index in 0..<groups.count * count {
                totals[groups.lowerBound * count + index].add(gridSums[index])
            }
        }
    }

    /// Σ(x − x̂)² of every group with its scale, x̂ being what a reader restores; infinite where it is no number.
    private mutating func measure(
        _ scales: [GroupScale], first: Int, _ x: RawSpan, groups: Int, codes: inout [UInt8], _ kernels: Kernels
    ) {
        var uncounted: [UInt32] = []
        for group in 0..<groups { errors[group] = 0 }
        forEachPart(of: groups) { groups, part in
            kernels.groups(
                x.extracting(bytes(of: part, groups)), groups: groups.count, elements: part.count, code: code,
                scales: scales,
                firstScale: first + groups.lowerBound, restored: restored, codes: &codes, at: 0,
                groupBytes: code.bytes(of: part.count), sums: &pieces, histogram: &uncounted)
            for (index, group) in groups.enumerated() {
                let piece = pieces[index]
                errors[group] += piece.maximumError.isFinite ? Double(piece.squaredError) : .infinity
            }
        }
    }

    /// Fills the grids of one group of a batch; none explains anything where the group has no room for one.
    private mutating func lay(_ group: Int, _ range: GroupRange) {
        let first = group * candidates.count
        var span = range.absmax
        switch code {
        case .affine: span = range.greatest - range.least
        case .zeroPoint: return layZeroPoints(first, range)
        case .packed, .int8, .e4m3: break
        }
        guard Self.magnitudes.contains(range.absmax), Self.magnitudes.contains(span) else {
            for index in candidates.indices { grids[first + index] = CodeGrid() }
            return
        }
        let unit = 1 / span
        let (low, high): (Float, Float) = code == .e4m3 ? (-448, 448) : (Self.lowestCode, 7)
        for index in candidates.indices {
            let candidate = candidates[index]
            var grid = CodeGrid(inverse: candidate.density * unit, low: low, high: high)
            // Codes around zero lose no digits in their squares.
            if case .affine = code {
                grid.shift = Self.lowestCode - (range.least + candidate.start * span) * grid.inverse
            }
            grids[first + index] = grid
        }
    }

    /// The grids of a group whose range is widened to include zero, for the format has no other.
    private mutating func layZeroPoints(_ first: Int, _ range: GroupRange) {
        let (least, greatest) = (min(range.least, 0), max(range.greatest, 0))
        for index in candidates.indices {
            let low = candidates[index].start * least
            let inverse = 15 / (candidates[index].density * greatest - low)
            guard inverse.isFinite else {
                grids[first + index] = CodeGrid()
                continue
            }
            // Rounded half to even by the sum, for without SSE4.1 the library does it. Nothing is far from 0...15.
            let zero = min(max((-low * inverse + 0x1.8p23) - 0x1.8p23, 0), 15)
            grids[first + index] = CodeGrid(inverse: inverse, low: -zero, high: 15 - zero)
        }
    }

    /// Makes the codes of each group anew with the scale that is proposed, and takes the scale that fits these best.
    private mutating func refit(_ x: RawSpan, groups: Int, _ kernels: Kernels) {
        for group in 0..<groups {
            let zero = proposals[group].bias
            grids[group] = CodeGrid(inverse: 1 / proposals[group].value, low: -zero, high: 15 - zero)
        }
        explain(x, groups: groups, candidates: 1, kernels)
        for group in 0..<groups {
            let slope = totals[group].product / totals[group].codeSquared / Double(grids[group].inverse)
            let scale = GroupScale(stored: Float(slope), bias: proposals[group].bias, type: .f16)
            proposals[group] = scale ?? proposals[group]
        }
    }

    /// The scale that explains most of a group, as it is stored; nil where there is none.
    private func proposal(_ group: Int) -> GroupScale? {
        let first = group * candidates.count
        let count = 1 / Double(elements)
        var (most, best) = (0.0, -1)
        for index in candidates.indices {
            let sums = totals[first + index]
            // Where no bias is stored Σc and Σv are 0.
            let product = sums.product - sums.code * sums.weight * count
            let square = sums.codeSquared - sums.code * sums.code * count
            guard product > 0, square > 0 else { continue }
            let explained: Double
            if code == .zeroPoint {
                let root = Double(grids[first + index].inverse)
                explained = product * product / (square * (root * root))
            } else {
                explained = product * product / square * candidates[index].weight
            }
            if explained > most { (most, best) = (explained, index) }
        }
        guard best >= 0 else { return nil }
        let (sums, inverse) = (totals[first + best], Double(grids[first + best].inverse))
        let product = sums.product - sums.code * sums.weight * count
        let slope = product / (sums.codeSquared - sums.code * sums.code * count) / inverse
        if code == .zeroPoint { return GroupScale(stored: Float(slope), bias: -grids[first + best].low, type: .f16) }
        guard case .affine = code else { return GroupScale(stored: Float(slope), type: restored) }
        let bias = (sums.weight / inverse - slope * sums.code) * count + slope * Double(Self.lowestCode)
        return GroupScale(stored: Float(slope), bias: Float(bias), type: restored)
    }
}
