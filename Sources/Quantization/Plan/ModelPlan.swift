/// How many weights a model has, and which of them the libraries quantize.
package struct ModelShape: Sendable, Equatable {
    /// The name a person would use, or nil for a bare count.
    package let name: String?
    /// All parameters.
    package let parameters: Int
    /// Parameters of the Linear layers that are quantized; the rest (embeddings, head, norms) stays in F16.
    package let linearParameters: Int
    /// Rows of all quantized Linear layers together: INT8 stores a scale for each.
    package let linearRows: Int
    /// What its attention layers keep of each token; nil where that is unknown.
    package let cache: KeyValueCache?

    /// The Llama and Llama 2 family by its published shapes (Touvron et al. 2023, table 2; Llama 2 for 70B).
    package static let llama: [ModelShape] = [
        llama("7B", layers: 32, hidden: 4096, intermediate: 11008, keyValue: 4096),
        llama("13B", layers: 40, hidden: 5120, intermediate: 13824, keyValue: 5120),
        llama("30B", layers: 60, hidden: 6656, intermediate: 17920, keyValue: 6656),
        llama("70B", layers: 80, hidden: 8192, intermediate: 28672, keyValue: 1024),
    ]

    private static func llama(
        _ size: String, layers: Int, hidden: Int, intermediate: Int, keyValue: Int
    ) -> ModelShape {
        let vocabulary = 32000
        let attention = 2 * hidden * hidden + 2 * keyValue * hidden
        let linear = layers * (attention + 3 * hidden * intermediate)
        let rows = layers * (2 * hidden + 2 * keyValue + 2 * intermediate + hidden)
        let rest = 2 * vocabulary * hidden + (2 * layers + 1) * hidden
        return ModelShape(
            name: "LLaMA-\(size)", parameters: linear + rest, linearParameters: linear, linearRows: rows,
            cache: KeyValueCache(layers: layers, valuesPerToken: 2 * keyValue))
    }

    /// A model of `parameters` weights of which nothing else is known: all of them count as Linear weights, in rows
    /// of 4096.
    package static func unknown(parameters: Int) -> ModelShape {
        ModelShape(
            name: nil, parameters: parameters, linearParameters: parameters,
            linearRows: (parameters + 4095) / 4096, cache: nil)
    }

    /// Reads `7B`, `LLaMA-13B`, `1.5B`, `350M` or a plain number; nil when it is none of these or out of range.
    ///
    /// A size that the Llama family has means that model.
    package static func parse(_ text: String) -> ModelShape? {
        var digits = text.uppercased()[...]
        let isNamed = digits.hasPrefix("LLAMA-")
        if isNamed { digits = digits.dropFirst("LLAMA-".count) }
        if let known = llama.first(where: { $0.name == "LLaMA-\(digits)" }) { return known }
        if isNamed { return nil }
        var unit = 1.0
        for (letter, value) in [("K", 1e3), ("M", 1e6), ("B", 1e9), ("T", 1e12)] where digits.hasSuffix(letter) {
            unit = value
            digits = digits.dropLast()
        }
        guard digits.allSatisfy({ $0.isASCII && ($0.isNumber || $0 == ".") }), let value = Double(digits) else {
            return nil
        }
        let count = (value * unit).rounded()
        guard count >= 1, count <= 1e15 else { return nil }
        return unknown(parameters: Int(count))
    }
}

/// A row of a plan: one way to store the model.
package struct PlannedSize: Sendable, Equatable {
    /// `fp32`, `fp16`, or a method's name.
    package let label: String
    /// Bytes of the stored weights.
    package let bytes: Int
    /// Average bits over all parameters.
    package let bitsPerWeight: Double
}

extension ModelShape {
    /// Bytes for every method and format with its default options, the unquantized types first; scales that have the
    /// model's type count as F16. Small constant tables and headers (under 0.01 %) are not
    /// counted; a plan from a file's header counts them.
    package var sizes: [PlannedSize] {
        let rest = (parameters - linearParameters) * 2
        let linear = linearParameters
        let absmax = (linear + 63) / 64
        let groups = (linear + 127) / 128
        let options: [(String, Int)] = [
            ("fp32", parameters * 4),
            ("fp16", parameters * 2),
            ("int8", linear + linearRows * 4 + rest),
            ("nf4", linear / 2 + absmax + (absmax + 255) / 256 * 4 + rest),
            ("nf4 double_quant=false", linear / 2 + absmax * 4 + rest),
            ("int8 format=compressed-tensors", linear + linearRows * 2 + rest),
            ("int8 format=mlx", linear + absmax * 4 + rest),
            ("int4", linear / 2 + groups * 2 + rest),
            ("int4 format=awq", linear / 2 + groups * 2 + groups / 2 + rest),
            ("int4 format=mlx", linear / 2 + absmax * 4 + rest),
            ("fp8", linear + linearRows * 2 + rest),
            ("awq", linear / 2 + groups * 2 + groups / 2 + rest),
        ]
        return options.map { label, bytes in
            PlannedSize(label: label, bytes: bytes, bitsPerWeight: Double(bytes) * 8 / Double(parameters))
        }
    }
}
