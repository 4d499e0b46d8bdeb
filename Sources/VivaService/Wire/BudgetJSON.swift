import Quantization

/// What a budget led to, as the contract describes it.
enum BudgetJSON {
    static func json(_ outcome: BudgetOutcome) -> JSON {
        .object([
            (outcome.budget.option.name, .raw(outcome.budget.option.text)), ("bytes", .integer(outcome.bytes)),
            ("bits_per_weight", .number(outcome.bitsPerWeight)), ("squared_error", .number(outcome.squaredError)),
            ("optimal", .bool(outcome.isOptimal)),
            (
                "choices",
                .array(
                    outcome.shares.map { share in
                        .object([("query", .string(share.recipe.query)), ("tensors", .integer(share.tensors))])
                    })
            ),
            ("best_uniform", outcome.bestUniform.map { .object(members($0)) } ?? .null),
            (
                "uniform",
                .array(outcome.uniforms.map { .object(members($0) + [("fits", .bool($0.fits))]) })
            ),
        ])
    }

    private static func members(_ uniform: BudgetOutcome.Uniform) -> [(String, JSON)] {
        [
            ("query", .string(uniform.recipe.query)), ("bytes", .integer(uniform.bytes)),
            ("bits_per_weight", .number(uniform.bitsPerWeight)), ("squared_error", .number(uniform.squaredError)),
        ]
    }
}
