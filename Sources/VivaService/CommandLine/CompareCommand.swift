import ArtifactStore
import HTTPServer
import Quantization
import Tensors

/// `viva compare`: the answer of `POST /v1/compare`, as a table.
package struct CompareCommand {
    private let path: String
    private let items: [Query.Item]
    private let isJSON: Bool

    /// Compares the recipes on the file at `path` (`-` is standard input); `options` are those of the contract by name.
    package init(path: String, options: [(String, String)], isJSON: Bool) {
        self.path = path
        items = options.map { ($0.0, $0.1) }
        self.isJSON = isJSON
    }

    /// The answer, as a table or as JSON.
    package func run() throws(ServiceError) -> String {
        try CommandLineQuantizer.refuseFolder(path)
        let comparison: Comparison
        do {
            let question = try CompareQuestion(items)
            let file = try InputFile(path: path)
            let folder = ProcessEnvironment.value("TMPDIR") ?? "/tmp"
            let session = try question.session(
                declaredBytes: file.length, limits: SessionLimits(),
                staged: StagedStorage(try StagedFile.anonymous(in: folder)),
                scratch: StagedStorage(try StagedFile.anonymous(in: folder)), memory: nil,
                onSample: { (_) throws(QuantizationError) in })
            comparison = try session.run { (span) throws(StoreError) in try file.read(into: &span) }
        } catch {
            throw CommandLineQuantizer.explain(error)
        }
        guard !isJSON else {
            return String(decoding: ComparisonJSON.json(comparison).bytes().dropLast(), as: UTF8.self)
        }
        return ComparisonText(comparison: comparison, name: path).text
    }
}

/// A comparison for a terminal.
private struct ComparisonText {
    let comparison: Comparison
    let name: String

    var text: String {
        let sample = comparison.sample
        var lines = ["\(TerminalText.plain(name)): \(comparison.input.totalBytes) bytes"]
        let count = sample.weights.count == 1 ? "1 tensor" : "\(sample.weights.count) tensors"
        lines.append(
            sample.isWhole
                ? "all \(sample.weightCount) weights of \(count) measured"
                : "measured on \(sample.weightCount) weights of \(count), rows evenly spread; "
                    + "bytes are the whole file's")
        var rows = [
            ["", "recipe", "bytes", "bits/weight", "vs FP32", "SQNR dB", "MSE", "PSNR dB", "max error", "MB/s"]
        ]
        rows += comparison.points.map(row)
        lines += ReportText.aligned(rows)
        lines.append("* no other recipe is as small and as close")
        var refused: [(text: String, labels: [String])] = []
        for refusal in comparison.refusals {
            let text = ProblemText.detail(refusal.error)
            if let index = refused.firstIndex(where: { $0.text == text }) {
                refused[index].labels.append(refusal.recipe.label)
            } else {
                refused.append((text, [refusal.recipe.label]))
            }
        }
        lines += refused.map { "\($0.labels.joined(separator: ", ")): \($0.text)" }
        return lines.joined(separator: "\n")
    }

    private func row(_ point: ComparisonPoint) -> [String] {
        let figures = point.figures
        func decibels(_ value: Double?) -> String {
            value.map { ReportText.fixed($0, 2) } ?? (figures.isExact ? "exact" : "-")
        }
        return [
            point.isOnFront ? "*" : "", point.recipe.label, "\(point.plan.bytes)",
            ReportText.fixed(point.plan.bitsPerWeight, 3),
            ReportText.fixed(32 / point.plan.bitsPerWeight, 2) + "x", decibels(figures.sqnr),
            ReportText.scientific(figures.mse), decibels(figures.psnr),
            (point.absoluteErrorsAreBounds ? "≤ " : "") + ReportText.scientific(figures.maximumError),
            ReportText.fixed(point.bytesPerSecond / 1e6, 0),
        ]
    }
}
