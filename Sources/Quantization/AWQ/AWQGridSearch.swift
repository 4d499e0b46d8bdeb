/// Finds grids of less error than the library's for groups of weights: `mode=best` of int4 in the format AWQ.
///
/// The range includes zero, as the format wants it, and is shrunk in steps: beyond it weights take an end code. For
/// each share the nearest codes have a least-squares scale, which explains some part of Σw². The one that explains
/// most is stored as float16. Each row keeps it only where the weights that a reader restores have less error than
/// the reference's.
enum AWQGridSearch {
    /// Shares of the range that the 16 codes span.
    ///
    /// Chosen on Gaussian, t(5), Laplace and uniform weights: 20.40 dB with groups of 128 Gaussian weights where 54
    /// candidates, the zero point moved as well, give 20.43 and the reference 19.93.
    static let shares: [Float] = [1, 0.945, 0.89, 0.835, 0.78, 0.725, 0.67, 0.615]

    /// The better of `reference` and the grid found, row by row.
    ///
    /// `halves` are the weights of one group as float16, `original` what they were from `start` on.
    static func better(
        than reference: AWQGrid, halves: [RowOctet], original: [RowOctet], from start: Int, minimum: RowOctet,
        maximum: RowOctet
    ) -> AWQGrid {
        let found = grid(halves, minimum: minimum.lesser(RowOctet()), maximum: maximum.greater(RowOctet()))
        let (ours, theirs) = (
            error(found, halves, original, from: start), error(reference, halves, original, from: start)
        )
        var (scale, zero) = (reference.scale, reference.zero)
        // NaN, from a group of zeros or a scale that float16 does not hold, is not less.
        for lane in 0..<8 where ours[lane] < theirs[lane] {
            scale[lane] = found.scale[lane]
            zero[lane] = found.zero[lane]
        }
        return AWQGrid(scale: scale, zero: zero)
    }

    private static func grid(_ halves: [RowOctet], minimum: RowOctet, maximum: RowOctet) -> AWQGrid {
        let width = maximum - minimum
        let zero = (-minimum / width * 15).nearestIntegers.clamped(from: 0, to: 15)
        let (lowest, highest) = (-zero, 15 - zero)
        var best = RowOctet()
        var scale = RowOctet(repeating: .nan)
        for share in shares {
            let inverse = 15 / (width * share)
            var product = RowOctet()
            var square = RowOctet()
            for weight in halves {
                let v = weight * inverse
                let code = v.greater(lowest).lesser(highest).nearestIntegers
                product += v * code
                square += code * code
            }
            let explained = product * product / square * (share * share)
            let isMore = explained .> best
            best = best.replacing(with: explained, where: isMore)
            scale = scale.replacing(with: product / square / inverse, where: isMore)
        }
        return AWQGrid(scale: HalfOctets.rounded(scale), zero: zero)
    }

    private static func error(
        _ grid: AWQGrid, _ halves: [RowOctet], _ original: [RowOctet], from start: Int
    ) -> SIMD8<Double> {
        var sum = SIMD8<Double>()
        for (index, half) in halves.enumerated() {
            let restored = grid.halfRestored(grid.halfCodes(half))
            let error = SIMD8<Double>(original[start + index]) - SIMD8<Double>(restored)
            sum += error * error
        }
        return sum
    }
}
