/// What a tensor must not lose: a request whose artifact would be worse fails before anything is published.
///
/// Gates decide whether an artifact is made, not what is in it, so they are no part of a recipe's canonical form.
package struct Gates: Sendable, Hashable {
    /// The least signal to quantization noise of every quantized tensor, in dB.
    package let minimumSQNR: Double?
    /// The greatest max|x − x̂| / max|x| of every quantized tensor.
    package let maximumRelativeError: Double?

    /// Whether there is no gate at all.
    package var areOpen: Bool { minimumSQNR == nil && maximumRelativeError == nil }

    /// The gates as text, empty where there is none; equal gates give equal text.
    package var text: String {
        [("min_sqnr_db", minimumSQNR), ("max_rel_error", maximumRelativeError)]
            .compactMap { (name, bound) in bound.map { "\(name)=\($0)" } }.joined(separator: " ")
    }

    init(_ reader: inout OptionReader) throws(QuantizationError) {
        minimumSQNR = try reader.number("min_sqnr_db", in: -100...1000)
        maximumRelativeError = try reader.number("max_rel_error", in: 0...1000)
    }

    /// Throws `gate` when a tensor lost more than it may; a figure that is an upper bound counts as it stands.
    func check(_ quality: TensorQuality?, tensor: String) throws(QuantizationError) {
        guard let quality, !areOpen else { return }
        let figures = QualityFigures(quality.sums)
        if let minimumSQNR, let sqnr = figures.sqnr, sqnr < minimumSQNR {
            throw .gate(name: "min_sqnr_db", value: sqnr, bound: minimumSQNR, tensor: tensor)
        }
        if let maximumRelativeError, quality.sums.maximumSignal > 0 {
            let error = figures.maximumError / quality.sums.maximumSignal
            guard error <= maximumRelativeError else {
                throw .gate(name: "max_rel_error", value: error, bound: maximumRelativeError, tensor: tensor)
            }
        }
    }
}
