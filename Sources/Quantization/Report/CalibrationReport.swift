import CKernels
import Tensors

/// What calibration data one weight was coded with.
package struct CalibrationReport: Sendable, Equatable {
    /// What is known of the weight's inputs.
    let knowledge: Knowledge
    /// Tokens that the data was taken over; nil where it does not say.
    package let tokens: Int?
    /// Inputs of the Linear.
    let columns: Int

    /// Below so many tokens for each input a report warns: the moments of few tokens fit those tokens alone.
    package static let expectedCoverage = 2.0

    /// Whether there was any data; without, codes are rounded to nearest.
    package var hasData: Bool { knowledge != .none }

    /// The kind of data, as the contract names it.
    package var kind: String {
        switch knowledge {
        case .none: "none"
        case .channels: "channels"
        case .blocks: "blocks"
        case .gram: "gram"
        case .activations: "activations"
        }
    }

    /// Tokens for each input; nil where the data does not say.
    package var coverage: Double? { tokens.map { Double($0) / Double(max(1, columns)) } }
}

extension OutputError {
    /// The same in dB: 10·log10(‖XWᵀ‖² / ‖X(W − Ŵ)ᵀ‖²); nil where nothing is lost.
    package var sqnr: Double? { Self.decibels(1, over: relative) }
    /// By how many dB the error is less than rounded to nearest; nil where nobody measured that.
    package var gainOverNearest: Double? { roundToNearest.flatMap { Self.decibels($0, over: relative) } }
    /// By how many dB the error is less than plain AWQ's; nil where nobody measured that.
    package var gainOverAWQ: Double? { plainAWQ.flatMap { Self.decibels($0, over: relative) } }

    private static func decibels(_ error: Double, over other: Double) -> Double? {
        let decibels = 10 * ck_log10(error / other)
        return decibels.isFinite ? decibels : nil
    }
}

extension QualityReport {
    /// The weights that could have been coded with data and had none, in input order.
    package var weightsWithoutData: [String] {
        tensors.filter { $0.calibration?.hasData == false }.map(\.entry.name)
    }

    /// What to tell of layers with few tokens.
    var coverageWarning: String? {
        CalibrationReport.warning(
            of: tensors.compactMap { tensor in tensor.calibration?.coverage.map { (tensor.entry.name, $0) } })
    }
}

extension CalibrationReport {
    /// What to tell of the weights with few tokens for each input; nil where all have enough.
    static func warning(of weights: [(name: String, coverage: Double)]) -> String? {
        let few = weights.filter { $0.coverage < expectedCoverage }
        guard let least = few.map(\.coverage).min() else { return nil }
        let share = (least * 100).rounded() / 100
        if few.count == 1 {
            return "\(few[0].name) has calibration data of \(share) tokens for each input; 2 to 4 are enough."
        }
        return
            "\(few.count) weights have calibration data of few tokens, \(share) for each input at least, where 2 to 4 "
            + "are enough: \(CalibrationPlan.names(few.map(\.name)))."
    }
}
