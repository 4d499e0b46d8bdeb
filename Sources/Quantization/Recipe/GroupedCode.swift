/// Which widths weights and activations have where compressed-tensors stores 8-bit integers.
package enum Scheme: String, Sendable, Hashable, CaseIterable {
    /// Weights alone, packed into words.
    case w8a16 = "W8A16"
    /// Weights as plain bytes, for kernels that round the activations of each token to 8 bits as well.
    case w8a8 = "W8A8"
}

/// The codes of the formats that round to nearest with a scale for each group, or each row.
enum GroupedCode: Sendable, Hashable {
    /// Integers around zero, stored as code + 2^(bits−1) in I32 words: compressed-tensors `pack-quantized`.
    case packed(bits: Int)
    /// Integers around zero, stored as I8: compressed-tensors `int-quantized`.
    case int8
    /// Floats with 4 exponent and 3 fraction bits: compressed-tensors `float-quantized`.
    case e4m3
    /// Integers from zero with scale and bias, in U32 words: MLX `affine`.
    case affine(bits: Int)
    /// Integers from 0 to 15 with a zero point among them, a byte each: AutoAWQ, before they are packed into words.
    case zeroPoint
}

extension Method {
    /// The group sizes that the method may have in a format, and the default; nil where the scale's extent is fixed.
    package func groupSizes(
        in format: ArtifactFormat, scheme: Scheme = .w8a16
    ) -> (allowed: [Int], standard: Int)? {
        switch (self, format) {
        case (.awq, .awq), (.int4, .awq), (.int4, .compressedTensors): (Recipe.groupSizes, 128)
        case (.int8, .compressedTensors) where scheme == .w8a16: (Recipe.groupSizes, -1)
        case (.int4, .mlx), (.int8, .mlx): (Recipe.groupSizes.filter { $0 > 0 }, 64)
        default: nil
        }
    }

    /// Whether the format leaves a choice of `scheme`.
    package func takesScheme(in format: ArtifactFormat) -> Bool { self == .int8 && format == .compressedTensors }
}

extension Recipe {
    /// How the weights are coded; nil for bitsandbytes and AWQ, which have encoders of their own.
    var groupedCode: GroupedCode? {
        switch (method, format) {
        case (.int4, .compressedTensors): .packed(bits: 4)
        case (.int8, .compressedTensors): scheme == .w8a8 ? .int8 : .packed(bits: 8)
        case (.fp8, .compressedTensors): .e4m3
        case (.int4, .mlx), (.int8, .mlx): .affine(bits: method.codeBits)
        default: nil
        }
    }

    /// The options of the methods with grouped scales, each as name and JSON value.
    var groupedMembers: [(String, String)] {
        var members: [(String, String)] = []
        if method.groupSizes(in: format, scheme: scheme) != nil { members.append(("group_size", "\(groupSize)")) }
        if method.takesScheme(in: format) { members.append(("scheme", quoted(scheme.rawValue))) }
        return members
    }

    static func groupSize(
        _ method: Method, _ format: ArtifactFormat, _ scheme: Scheme, _ reader: inout OptionReader
    ) throws(QuantizationError) -> Int {
        guard let sizes = method.groupSizes(in: format, scheme: scheme) else {
            if method.takesScheme(in: format), reader.holds("group_size") {
                throw .recipe(
                    code: "recipe.scheme_mismatch",
                    detail: "scheme=\(scheme.rawValue) has one scale for each row; group_size goes with W8A16.")
            }
            return -1
        }
        return try reader.member("group_size", of: sizes.allowed) ?? sizes.standard
    }

    /// `symmetric` chooses nothing, for the format fixes it; one that asks for the other kind is refused.
    static func checkSymmetry(
        _ method: Method, _ format: ArtifactFormat, _ reader: inout OptionReader
    ) throws(QuantizationError) {
        guard [.int4, .int8, .awq].contains(method), let wanted = try reader.flag("symmetric") else { return }
        let isSymmetric = format == .bitsandbytes || format == .compressedTensors
        guard wanted != isSymmetric else { return }
        let fitting = method.formats.filter { ($0 == .bitsandbytes || $0 == .compressedTensors) == wanted }
        let places =
            fitting.isEmpty
            ? "method=int4&format=compressed-tensors, which takes data as well"
            : fitting.map { "format=\($0.rawValue)" }.joined(separator: " or ")
        throw .recipe(
            code: "recipe.symmetry_mismatch",
            detail: "Format \(format.rawValue) is \(isSymmetric ? "symmetric" : "asymmetric"); "
                + "symmetric=\(wanted) goes with \(places).")
    }
}

extension GroupedCode {
    /// Bits of one code.
    var bits: Int {
        switch self {
        case .packed(let bits), .affine(let bits): bits
        case .int8, .e4m3, .zeroPoint: 8
        }
    }

    /// Bytes that `elements` codes take: whole words of 32 bits where they are packed.
    func bytes(of elements: Int) -> Int {
        switch self {
        case .packed(let bits), .affine(let bits): (elements * bits + 31) / 32 * 4
        case .int8, .e4m3, .zeroPoint: elements
        }
    }

    /// The same for weights of any type: the share of the type's range is that of float16.
    func largest(of type: RestoredType) -> Float {
        type == .f16 ? largestFloat16 : largestFloat16 / HalfOctets.limit * type.largest
    }

    /// F16 weights up to this magnitude are all restored to finite values, whatever the others of their group are: a
    /// code may lie half a step outside of the range, and MLX's product of code and scale spans all of it.
    var largestFloat16: Float {
        switch self {
        case .packed(let bits): bits == 4 ? 61_376 : 65_216
        case .int8: 65_216
        case .e4m3: 65_472
        case .affine: 32_752
        case .zeroPoint: 32_736
        }
    }
}
