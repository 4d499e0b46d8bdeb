import Quantization

/// What a budget led to, for a terminal.
struct BudgetText {
    let outcome: BudgetOutcome

    var text: String {
        let option = outcome.budget.option
        var lines = ["\(option.name) \(option.text):"]
        var rows = [["", "bytes", "bits/weight", "squared error"]]
        rows.append(row("chosen", outcome.bytes, outcome.bitsPerWeight, outcome.squaredError))
        if let best = outcome.bestUniform {
            rows.append(row("best uniform, \(best.recipe.label)", best.bytes, best.bitsPerWeight, best.squaredError))
        }
        lines += ReportText.aligned(rows)
        lines += outcome.shares.map { "\($0.tensors) \($0.tensors == 1 ? "tensor" : "tensors"): \($0.recipe.label)" }
        if !outcome.isOptimal { lines.append("a better choice may exist: there are too many to look at all") }
        return lines.joined(separator: "\n")
    }

    private func row(_ name: String, _ bytes: Int, _ bits: Double, _ error: Double) -> [String] {
        [name, "\(bytes)", ReportText.fixed(bits, 3), ReportText.scientific(error)]
    }
}
