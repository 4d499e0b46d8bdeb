/// How far the second moments of some tokens scatter around those of all tokens there are, as far as these tell.
///
/// Moments of few tokens say much by chance: they are drawn towards what nothing known would say, as far as their own
/// scatter accounts for what they are apart from it.
/// Source: Schäfer and Strimmer 2005, "A shrinkage approach to large-scale covariance matrix estimation"; for the
/// squares Opgen-Rhein and Strimmer 2007, with the mean where they have the median.
struct TokenScatter: Sendable {
    private var tokens: Double
    /// The reciprocals of the mean squares of the columns, zero where the inputs are; empty where no token is known.
    private let units: [Double]
    /// Sums over tokens of the fourth powers of each column's inputs, in units of their mean squares; empty for 3.
    private var fourths: [Double]
    /// The sum over tokens and pairs of columns of the products of their squares.
    private var pairs = 0.0

    /// What so many tokens scatter of which means alone are known: those of a normal distribution, or of one that is
    /// zero as often as the columns' `magnitudes` say beside their `squares`.
    init(tokens: Int, magnitudes: [Float]?, squares: [Float]) {
        self.tokens = Double(tokens)
        units = []
        fourths = (magnitudes ?? []).enumerated().map { column, magnitude in
            let (mean, square) = (Double(magnitude), Double(squares[column]))
            // E x⁴ / (E x²)² is 3 where E x² / (E |x|)² is π / 2, and grows with it.
            return mean > 0 ? Double(tokens) * 3 * max(1, square / (mean * mean) * 2 / .pi) : 0
        }
    }

    /// Nothing yet; `squares` are the columns' mean squares over all tokens that will be added.
    init(squares: [Float]) {
        tokens = 0
        units = squares.map { $0 > 0 ? 1 / Double($0) : 0 }
        fourths = [Double](repeating: 0, count: squares.count)
    }

    /// Adds `count` tokens, row after row of `x`.
    mutating func add(_ x: [Float], tokens count: Int) {
        let (known, x) = (self.units, x.span)
        let units = known.span
        let columns = units.count
        var added = [Double](repeating: 0, count: columns)
        var target = added.mutableSpan
        var products = 0.0
        for token in 0..<count {
            var (sum, squared) = (0.0, 0.0)
            for column in 0..<columns {
                let input = Double(x[token * columns + column])
                let square = input * input * units[column]
                target[column] += square * square
                sum += square
                squared += square * square
            }
            products += sum * sum - squared
        }
        for column in 0..<columns { fourths[column] += added[column] }
        pairs += products
        tokens += Double(count)
    }

    /// The share, 0...1, of what tells these mean squares of the columns apart that is chance.
    func share(ofSquares squares: [Float]) -> Double {
        let mean = squares.reduce(0.0) { $0 + Double($1) } / Double(max(1, squares.count))
        var (chance, all) = (0.0, 0.0)
        for (column, square) in squares.enumerated() {
            // The square of a mean square is itself too large by its variance.
            var scatter = 2 / (tokens + 2)
            if !fourths.isEmpty, tokens > 1 { scatter = max(scatter, (fourths[column] / tokens - 1) / tokens) }
            chance += scatter * Double(square) * Double(square)
            all += (Double(square) - mean) * (Double(square) - mean)
        }
        return all > 0 ? min(1, chance / all) : 0
    }

    /// The share, 0...1, of the correlations of different columns that is chance: `sum` is that of the squares of
    /// `count` of them.
    func share(ofCorrelations sum: Double, count: Int) -> Double {
        let columns = Double(units.count { $0 > 0 })
        // 1 for a normal distribution, more where few tokens are much louder than the others.
        let scatter = columns > 1 ? max(1, pairs / (tokens * columns * (columns - 1))) : 1
        return sum > 0 ? min(1, scatter * Double(count) / (tokens * sum)) : 0
    }
}
