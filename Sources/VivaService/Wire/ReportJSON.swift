import Quantization
import Tensors

/// The measured figures and the limits beside them, as members of a JSON object.
enum FiguresJSON {
    static func members(_ sums: QualitySums, _ limits: QualityLimits) -> [(String, JSON)] {
        let figures = QualityFigures(sums)
        return [
            ("sqnr_db", .optional(figures.sqnr)), ("exact", .bool(figures.isExact)),
            ("mse", .number(figures.mse)), ("relative_mse", .optional(figures.relativeError)),
            ("rmse", .number(figures.rmse)), ("mae", .number(figures.mae)), ("psnr_db", .optional(figures.psnr)),
            ("cosine_similarity", .optional(figures.cosine)), ("max_abs_error", .number(figures.maximumError)),
            ("sqnr_limit_db", .number(limits.gaussian)),
            ("gap_db", .optional(figures.sqnr.map { limits.gaussian - $0 })),
            ("efficiency", .optional(figures.sqnr.map { $0 / limits.gaussian })),
            ("uniform_limit_db", .number(limits.uniform)),
            ("uniform_gap_db", .optional(figures.sqnr.map { limits.uniform - $0 })),
            ("uniform_efficiency", .optional(figures.sqnr.map { $0 / limits.uniform })),
        ]
    }
}

extension QualityReport {
    /// The tensors that lost most, with their SQNR in dB; those that lost nothing are not among them.
    func worst(atMost limit: Int) -> [(tensor: TensorReport, sqnr: Double)] {
        let measured = tensors.compactMap { tensor in
            tensor.quality.flatMap { QualityFigures($0.sums).sqnr }.map { (tensor: tensor, sqnr: $0) }
        }
        return Array(measured.sorted { $0.sqnr < $1.sqnr }.prefix(limit))
    }
}

/// How many weights have which error, as `numpy.histogram` returns it.
enum ErrorHistogramJSON {
    /// One line, and text at once: a report of many tensors would hold many small trees otherwise.
    static func json(_ errors: ErrorDistribution, isBeforeDoubleQuantization: Bool) -> JSON {
        var members: [(String, JSON)] = [
            ("unchanged", .integer(errors.unchanged)),
            ("edges", .array(errors.edges.map { .number(Double($0)) })),
            ("counts", .array(errors.counts.map { .integer($0) })),
        ]
        if isBeforeDoubleQuantization { members.append(("before_double_quantization", .bool(true))) }
        return .raw(JSON.object(members).text())
    }
}

/// One tensor of a report.
struct TensorJSON {
    let tensor: TensorReport
    let limits: QualityLimits

    var json: JSON {
        let entry = tensor.entry
        var members: [(String, JSON)] = [
            ("name", .string(entry.name)), ("shape", .array(entry.shape.map { .integer($0) })),
            ("dtype", .string(entry.type.rawValue)), ("bytes_before", .integer(entry.bytes.count)),
            ("bytes_after", .integer(tensor.artifactBytes)), ("quantized", .bool(tensor.quality != nil)),
        ]
        guard let quality = tensor.quality else { return .object(members) }
        if let variant = tensor.variant {
            members.append(("method", .string(variant.method.rawValue)))
            members.append(("options", .object(variant.optionMembers.map { ($0.0, .raw($0.1)) })))
        }
        members += FiguresJSON.members(quality.sums, limits)
        members.append(("p99_abs_error", .number(quality.p99Error)))
        if quality.absoluteErrorsAreBounds {
            members.append(("upper_bounds", .strings(["mae", "max_abs_error", "p99_abs_error"])))
        }
        members.append(
            (
                "error_histogram",
                ErrorHistogramJSON.json(
                    quality.errors, isBeforeDoubleQuantization: quality.absoluteErrorsAreBounds)
            ))
        if quality.excludesCast { members.append(("cast_excluded", .bool(true))) }
        if let ratio = tensor.scaleRatio { members.append(("scale_ratio", .number(ratio))) }
        if let calibration = tensor.calibration { members.append(("calibration", Self.json(calibration))) }
        if let error = tensor.outputError { members.append(("output_error", Self.json(error))) }
        return .object(members)
    }

    private static func json(_ calibration: CalibrationReport) -> JSON {
        var members: [(String, JSON)] = [("knowledge", .string(calibration.kind))]
        if let tokens = calibration.tokens { members.append(("tokens", .integer(tokens))) }
        if let coverage = calibration.coverage { members.append(("coverage", .number(coverage))) }
        return .object(members)
    }

    private static func json(_ error: OutputError) -> JSON {
        var members: [(String, JSON)] = [
            ("relative", .number(error.relative)), ("sqnr_db", .optional(error.sqnr)),
        ]
        if let gain = error.gainOverNearest { members.append(("versus_round_to_nearest_db", .number(gain))) }
        if let gain = error.gainOverAWQ { members.append(("versus_awq_db", .number(gain))) }
        members += [("tokens", .integer(error.tokens)), ("held_out", .bool(error.isHeldOut))]
        return .object(members)
    }
}
