import HTTPServer
import Quantization
import Tensors

/// A report as a table for a terminal.
struct ReportText {
    let result: SessionResult
    let inputBytes: Int

    var text: String {
        let report = result.report
        let hasOutputs = report.tensors.contains { $0.outputError != nil }
        let head = Self.head + (hasOutputs ? Self.outputHead : [])
        var lines = Self.aligned([head] + report.tensors.map { Self.row($0) + (hasOutputs ? Self.output($0) : []) })
        lines.append("")
        lines.append(Self.totals(report, inputBytes: inputBytes, artifactBytes: result.artifactBytes))
        lines += report.warnings.map { "warning: \(TerminalText.plain($0))" }
        return lines.joined(separator: "\n")
    }

    private static let head = ["tensor", "shape", "dtype", "SQNR dB", "MSE", "max error"]

    private static let outputHead = ["output dB", "vs nearest", "vs AWQ"]

    /// What became of the layer's output.
    private static func output(_ tensor: TensorReport) -> [String] {
        guard let error = tensor.outputError else { return ["", "", ""] }
        func text(_ decibels: Double?) -> String { decibels.map { fixed($0, 2) } ?? "-" }
        return [text(error.sqnr), text(error.gainOverNearest), text(error.gainOverAWQ)]
    }

    private static func row(_ tensor: TensorReport) -> [String] {
        let shape = tensor.entry.shape.map(String.init).joined(separator: "x")
        let row = [TerminalText.plain(tensor.entry.name), shape, tensor.entry.type.rawValue]
        guard let quality = tensor.quality else { return row + ["copied", "", ""] }
        let figures = QualityFigures(quality.sums)
        return row + [
            decibels(figures), scientific(figures.mse),
            (quality.absoluteErrorsAreBounds ? "≤ " : "") + scientific(figures.maximumError),
        ]
    }

    private static func decibels(_ figures: QualityFigures) -> String {
        figures.sqnr.map { fixed($0, 2) } ?? (figures.isExact ? "exact" : "-")
    }

    /// The rows of the tensors that lost most, with the table's head.
    static func worst(_ report: QualityReport, atMost limit: Int) -> [String] {
        let worst = report.worst(atMost: limit)
        return worst.isEmpty ? [] : aligned([["lowest SQNR"] + head.dropFirst()] + worst.map { row($0.tensor) })
    }

    /// One line: bytes, bits, and the quality of all quantized tensors together.
    static func totals(_ report: QualityReport, inputBytes: Int, artifactBytes: Int) -> String {
        let limit = fixed(report.limits.gaussian, 2)
        let bits = fixed(report.bitsPerWeight, 3)
        return "\(inputBytes) bytes in, \(artifactBytes) bytes out; \(bits) bits a weight; SQNR "
            + "\(decibels(QualityFigures(report.pooled))) dB of at most \(limit) dB at this rate"
    }

    /// Columns padded to their widest cell.
    static func aligned(_ rows: [[String]]) -> [String] {
        let columns = rows.map(\.count).max() ?? 0
        let widths = (0..<columns).map { column in rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0 }
        return rows.map { row in
            let cells = zip(row, widths).map { cell, width in cell + String(repeating: " ", count: width - cell.count) }
            var line = cells.joined(separator: "  ")
            while line.last == " " { line.removeLast() }
            return line
        }
    }

    /// `value` with `digits` decimals.
    static func fixed(_ value: Double, _ digits: Int) -> String {
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        guard value.isFinite, value.magnitude * scale < 1e15 else { return "\(value)" }
        let scaled = Int((value.magnitude * scale).rounded())
        let whole = scaled / Int(scale)
        let sign = value < 0 ? "-" : ""
        return digits == 0
            ? "\(sign)\(whole)" : "\(sign)\(whole).\(String(scaled % Int(scale) + Int(scale)).dropFirst())"
    }

    /// `value` with three significant digits and an exponent.
    static func scientific(_ value: Double) -> String {
        guard value.isFinite, value != 0 else { return "\(value)" }
        var exponent = 0
        var mantissa = value
        while mantissa.magnitude >= 10 {
            mantissa /= 10
            exponent += 1
        }
        while mantissa.magnitude < 1 {
            mantissa *= 10
            exponent -= 1
        }
        return "\(fixed(mantissa, 2))e\(exponent)"
    }
}

/// The words of a problem without its HTTP.
enum ProblemText {
    static func detail(_ error: QuantizationError) -> String { detail(Problem(error)) }

    static func detail(any error: any Error) -> String {
        if let problem = error as? Problem { return detail(problem) }
        return "\(error)"
    }

    private static func detail(_ problem: Problem) -> String {
        // Who runs the command line is the operator.
        TerminalText.plain("\(problem.evidence ?? problem.detail) (\(problem.code))")
    }
}

/// Text from a file for a terminal.
enum TerminalText {
    /// The text with control characters replaced: a tensor's name must not move the cursor or write a line of its own.
    static func plain(_ text: String) -> String {
        var plain = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            plain.append(scalar.properties.generalCategory == .control ? "\u{FFFD}" : scalar)
        }
        return String(plain)
    }
}
