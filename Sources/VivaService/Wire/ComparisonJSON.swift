import HTTPServer
import HTTPTypes
import Quantization
import Tensors

/// A comparison as the contract describes it.
enum ComparisonJSON {
    static func json(_ comparison: Comparison) -> JSON {
        let refused = comparison.refusals.map { refusal in
            JSON.object(PlanJSON.members(of: refusal.recipe) + [("problem", PlanJSON.refusal(refusal.error))])
        }
        return .object([
            (
                "input",
                .object([
                    ("bytes", .integer(comparison.input.totalBytes)),
                    ("tensors", .integer(comparison.input.entries.count)),
                ])
            ),
            ("sample", sample(comparison)),
            ("points", .array(comparison.points.map { point($0, comparison.input.totalBytes) })),
            ("refused", .array(refused)),
        ])
    }

    private static func sample(_ comparison: Comparison) -> JSON {
        let sample = comparison.sample
        let measured = Dictionary(
            sample.input.entries.map { (ExactName($0.name), $0) }, uniquingKeysWith: { first, _ in first })
        let tensors = sample.weights.map { entry in
            JSON.object([
                ("name", .string(entry.name)), ("shape", .array(entry.shape.map { .integer($0) })),
                ("dtype", .string(entry.type.rawValue)),
                ("rows", .integer(measured[ExactName(entry.name)]?.shape[0] ?? 0)),
            ])
        }
        return .object([
            ("whole", .bool(sample.isWhole)), ("weights", .integer(sample.weightCount)),
            ("bytes", .integer(sample.input.dataBytes)),
            ("sample_tensors", .integer(comparison.sampleLimits.maximumTensors)),
            ("sample_bytes", .integer(comparison.sampleLimits.maximumBytes)), ("tensors", .array(tensors)),
        ])
    }

    private static func point(_ point: ComparisonPoint, _ inputBytes: Int) -> JSON {
        var members = PlanJSON.members(of: point.recipe)
        members += PlanJSON.sizes(of: point.plan, inputBytes: inputBytes)
        members += FiguresJSON.members(point.sums, point.limits)
        if point.absoluteErrorsAreBounds { members.append(("upper_bounds", .strings(["mae", "max_abs_error"]))) }
        members.append(("megabytes_per_second", .number(point.bytesPerSecond / 1e6)))
        members.append(("seconds", .number(point.seconds)))
        members.append(("pareto", .bool(point.isOnFront)))
        return .object(members)
    }
}
