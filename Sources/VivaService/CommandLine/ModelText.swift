import Quantization

/// What a terminal shows of a quantized model: the totals, the worst tensors, and what was left behind.
struct ModelText {
    let output: String
    let checkpoint: Checkpoint
    let recipe: Recipe
    let result: SessionResult

    private static let worstTensors = 5

    var text: String {
        let report = result.report
        let quantized = report.tensors.count { $0.quality != nil }
        let files = checkpoint.shards.count == 1 ? "1 file" : "\(checkpoint.shards.count) files"
        let modelType = recipe.architecture?.modelType ?? checkpoint.config.modelType
        var lines = [
            "\(TerminalText.plain(output)): \(TerminalText.plain(modelType)) as \(recipe.method.rawValue) in format "
                + "\(recipe.format.rawValue), for \(recipe.reader.rawValue)",
            "\(files); \(quantized) tensors quantized, \(report.tensors.count - quantized) copied",
        ]
        lines += ReportText.worst(report, atMost: Self.worstTensors)
        lines.append("")
        lines.append(
            ReportText.totals(
                report, inputBytes: checkpoint.shards.reduce(0) { $0 + $1.bytes },
                artifactBytes: result.artifactBytes))
        if !checkpoint.leftOut.isEmpty {
            let names = checkpoint.leftOut.map(TerminalText.plain).joined(separator: ", ")
            lines.append("left out: \(names)")
        }
        lines += report.warnings.map { "warning: \(TerminalText.plain($0))" }
        return lines.joined(separator: "\n")
    }
}
