package import Tensors

/// What one recipe costs and what it loses.
package struct ComparisonPoint: Sendable {
    /// How the weights were made small.
    package var recipe: Recipe { plan.recipe }
    /// The artifact of the whole input: exact, from its header.
    package let plan: PlannedArtifact
    /// The loss of the sample's weights, pooled.
    package let sums: QualitySums
    /// Whether mean and largest absolute error are upper bounds (see `TensorQuality`).
    package let absoluteErrorsAreBounds: Bool
    /// How long the sample took, from its first byte to the last of its codes.
    package let seconds: Double
    /// Bytes of the sample each second.
    package let bytesPerSecond: Double
    /// Whether no other recipe has as few bits a weight and as much SQNR, and one of the two better.
    package fileprivate(set) var isOnFront = false

    /// The figures of the loss.
    package var figures: QualityFigures { QualityFigures(sums) }
    /// The bounds of theory at this rate.
    package var limits: QualityLimits {
        QualityLimits(codeBits: Double(recipe.method.codeBits), bitsPerWeight: plan.bitsPerWeight)
    }

    init(plan: PlannedArtifact, report: QualityReport, seconds: Double, sampleBytes: Int) {
        self.plan = plan
        sums = report.pooled
        absoluteErrorsAreBounds = report.tensors.contains { $0.quality?.absoluteErrorsAreBounds == true }
        self.seconds = seconds
        bytesPerSecond = Double(sampleBytes) / max(seconds, 1e-9)
    }

    /// SQNR as an order: exact is more than any number, an unknown figure less.
    var rank: Double { figures.sqnr ?? (figures.isExact ? .infinity : -.infinity) }
}

/// Recipes side by side on the same weights.
package struct Comparison: Sendable {
    /// What was sent.
    package let input: InputDescription
    /// What was measured of it.
    package let sample: Sample
    /// The bounds of the sample.
    package let sampleLimits: SampleLimits
    /// The recipes that can take the input, fewest bits a weight first; among equals the better first.
    package let points: [ComparisonPoint]
    /// The recipes that cannot, and why.
    package let refusals: [(recipe: Recipe, error: QuantizationError)]

    init(
        input: InputDescription, sample: Sample, sampleLimits: SampleLimits, points: [ComparisonPoint],
        refusals: [(recipe: Recipe, error: QuantizationError)]
    ) {
        self.input = input
        self.sample = sample
        self.sampleLimits = sampleLimits
        self.refusals = refusals
        let isOnFront = Self.front(points.map { ($0.plan.bitsPerWeight, $0.rank) })
        self.points = zip(points, isOnFront).map { point, isOnFront in
            var point = point
            point.isOnFront = isOnFront
            return point
        }
        .sorted { ($0.plan.bitsPerWeight, -$0.rank) < ($1.plan.bitsPerWeight, -$1.rank) }
    }

    /// Which points of (bits, SQNR) no other dominates: as few bits and as much SQNR, one of them strictly better.
    static func front(_ points: [(bits: Double, sqnr: Double)]) -> [Bool] {
        points.map { point in
            !points.contains { other in
                other.bits <= point.bits && other.sqnr >= point.sqnr
                    && (other.bits < point.bits || other.sqnr > point.sqnr)
            }
        }
    }
}
