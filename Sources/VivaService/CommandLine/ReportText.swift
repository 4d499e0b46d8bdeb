import HTTPServer
import Quantization
import Tensors

/// A report as a table for a terminal.
struct ReportText {
    let result: SessionResult
    let inputBytes: Int

    var text: String {
        let report = result.report
        var rows = [["tensor", "shape", "dtype", "SQNR dB", "MSE", "max error"]]
        for tensor in report.tensors {
            let shape = tensor.entry.shape.map(String.init).joined(separator: "x")
            var row = [TerminalText.plain(tensor.entry.name), shape, tensor.entry.type.rawValue]
            if let quality = tensor.quality {
                let figures = QualityFigures(quality.sums)
                row += [
                    figures.sqnr.map { Self.fixed($0, 2) } ?? (figures.isExact ? "exact" : "-"),
                    Self.scientific(figures.mse),
                    (quality.absoluteErrorsAreBounds ? "≤ " : "") + Self.scientific(figures.maximumError),
                ]
            } else {
                row += ["copied", "", ""]
            }
            rows.append(row)
        }
        var lines = Self.aligned(rows)
        let figures = QualityFigures(report.pooled)
        let sqnr = figures.sqnr.map { Self.fixed($0, 2) } ?? (figures.isExact ? "exact" : "-")
        lines.append("")
        lines.append(
            "\(inputBytes) bytes in, \(result.artifactBytes) bytes out; \(Self.fixed(report.bitsPerWeight, 3)) bits a "
                + "weight; SQNR \(sqnr) dB of at most "
                + "\(Self.fixed(report.limits.gaussian, 2)) dB at this rate")
        lines += report.warnings.map { "warning: \(TerminalText.plain($0))" }
        return lines.joined(separator: "\n")
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
        TerminalText.plain("\(problem.detail) (\(problem.code))")
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
