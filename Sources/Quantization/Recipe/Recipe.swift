import Tensors

/// How weights are made small.
package enum Method: String, Sendable, Hashable, CaseIterable {
    /// 8-bit integers, one scale for each row (LLM.int8, Dettmers et al. 2022).
    case int8
    /// 4-bit NormalFloat codes, one scale for each block (QLoRA, Dettmers et al. 2023).
    case nf4
    /// 4-bit integers rounded to nearest, one scale for each group of a row; no calibration.
    case int4
    /// 8-bit floats (E4M3), one scale for each row; activations are scaled as they come (Micikevicius et al. 2022).
    case fp8
    /// 4-bit integers with scale and zero point for each group, guided by activations (AWQ, Lin et al. 2024).
    case awq
}

/// The layout in which a library expects the codes.
package enum ArtifactFormat: String, Sendable, Hashable, CaseIterable {
    /// bitsandbytes 0.50.2, as transformers and vLLM read it.
    case bitsandbytes
    /// AutoAWQ 0.2.9 GEMM, as transformers and vLLM read it.
    case awq
    /// compressed-tensors 0.20.0, as vLLM and transformers read it.
    case compressedTensors = "compressed-tensors"
    /// MLX 0.32 affine, as mlx-lm reads it.
    case mlx
}

/// Which encoder fills the format.
package enum Mode: String, Sendable, Hashable, CaseIterable {
    /// Byte-identical to the library that the format is named after.
    case reference
    /// The same format with less error: codes and scales are chosen by what a reader restores.
    case best
}

/// A method and its options, complete and valid: what a client may choose, nothing about where bytes come from.
package struct Recipe: Sendable, Hashable {
    /// The quantizer.
    package let method: Method
    /// The layout.
    package let format: ArtifactFormat
    /// The encoder.
    package let mode: Mode
    /// Weights that share an absmax (NF4 only).
    package let blockSize: Int
    /// Whether absmax is quantized to 8 bits as well (NF4 only).
    package let doubleQuant: Bool
    /// Columns that share a scale; -1 is a whole row (AWQ, compressed-tensors and MLX).
    package let groupSize: Int
    /// Which widths weights and activations have (INT8 as compressed-tensors only).
    package let scheme: Scheme
    /// Whether codes are chosen by what is known of the layers' inputs.
    package let calibration: Calibration
    /// How that is used.
    package let coding: CalibratedCoding
    /// The library that was named instead of a format, or beside one.
    package let target: Target?
    /// The model's architecture, which decides which tensors are quantized; nil for the rule by names.
    package let architecture: Architecture?
    /// Globs of the tensors to quantize; empty means the usual rule.
    package let include: [String]
    /// Globs of the tensors to leave as they are.
    package let exclude: [String]
    /// Tensors with a method or options of their own, or left as they are.
    package internal(set) var overrides: [Override]
    /// What no tensor may lose.
    package let gates: Gates

    /// The block sizes that bitsandbytes' kernels read.
    package static let blockSizes = [32, 64, 128, 256, 512, 1024, 2048, 4096]
    /// The group sizes that AWQ kernels read; -1 is a whole row.
    package static let groupSizes = [32, 64, 128, -1]
    /// Default limit of globs in `include` and `exclude` together.
    package static let maximumGlobs = 256

    /// Builds a recipe from the options of one request, each by its name in the contract.
    ///
    /// `options` holds every option that was given; an option that the method does not know is refused, so that
    /// nothing a client asks for is silently ignored.
    package init(options: [RecipeOption]) throws(QuantizationError) {
        var names = OptionNames()
        try self.init(options: options, names: &names)
        try names.requireKnown(method, [format])
    }

    /// The same, the names of the options that method and format know, and of those that they do not, put into `names`.
    init(options: [RecipeOption], names: inout OptionNames) throws(QuantizationError) {
        var reader = try OptionReader(options)
        guard let methodName = reader.text("method") else {
            let given = reader.names.unknown.sorted().joined(separator: ", ")
            throw .recipe(
                code: "recipe.method_missing",
                detail: "Say method=int8, or another of: \(Method.known)."
                    + (given.isEmpty ? "" : " What was said: \(given)."))
        }
        guard let method = Method(rawValue: methodName) else {
            throw .recipe(
                code: "recipe.unknown_method",
                detail: "Unknown method '\(methodName)'. Known: \(Method.known).")
        }
        self.method = method
        target = try reader.choice("target", Target.self)
        architecture = try Architecture.read(&reader)
        let format = try Target.format(
            of: method, named: reader.choice("format", ArtifactFormat.self), for: target)
        guard method.formats.contains(format) else {
            throw .recipe(
                code: "recipe.format_mismatch",
                detail:
                    "Method \(method.rawValue) is not written as \(format.rawValue), only as: \(method.knownFormats).")
        }
        self.format = format
        blockSize = method == .nf4 ? try reader.member("block_size", of: Self.blockSizes) ?? 64 : 64
        doubleQuant = method == .nf4 ? try reader.flag("double_quant") ?? true : false
        // vLLM's kernels for 8-bit activations are the fast ones.
        let usualScheme = target == .vllm && method.takesScheme(in: format) ? Scheme.w8a8 : .w8a16
        scheme = method.takesScheme(in: format) ? try reader.choice("scheme", Scheme.self) ?? usualScheme : .w8a16
        (mode, calibration) = try Self.mode(method, format, scheme, &reader)
        groupSize = try Self.groupSize(method, format, scheme, &reader)
        try Self.checkSymmetry(method, format, &reader)
        try Self.checkBits(method, &reader)
        coding =
            method.takesCalibration(in: format, scheme: scheme)
            ? try CalibratedCoding(method, mode, calibration, architecture, &reader) : .unused
        include = reader.globs("include")
        exclude = reader.globs("exclude")
        guard include.count + exclude.count <= Self.maximumGlobs else {
            throw .limit(
                name: "globs", value: include.count + exclude.count, limit: Self.maximumGlobs, tensor: nil)
        }
        gates = try Gates(&reader)
        let overridesText = reader.text("overrides")
        names = reader.names
        overrides =
            if let overridesText {
                try Override.list(overridesText, base: options, method: method, format: format)
            } else { [] }
    }

    /// The recipe as JSON with sorted keys and every option spelled out: equal recipes give equal text.
    package var canonical: String {
        let own = [
            ("format", quoted(format.rawValue)), ("method", quoted(method.rawValue)), ("mode", quoted(mode.rawValue)),
        ]
        let members = (own + saidMembers).sorted { $0.0 < $1.0 }
        return "{" + members.map { "\"\($0.0)\":\($0.1)" }.joined(separator: ",") + "}"
    }

    /// All that the recipe says beside its method, format and mode, each as name and JSON value.
    package var saidMembers: [(String, String)] {
        var members = optionMembers + architectureMembers
        if !include.isEmpty { members.append(("include", list(include))) }
        if !exclude.isEmpty { members.append(("exclude", list(exclude))) }
        if !overrides.isEmpty {
            let items = overrides.map { "{\"match\":\(quoted($0.match)),\"recipe\":\($0.recipe?.canonical ?? "null")}" }
            members.append(("overrides", "[" + items.joined(separator: ",") + "]"))
        }
        return members
    }

    /// The options that the method knows, each as name and JSON value.
    package var optionMembers: [(String, String)] {
        switch method {
        case .int8, .int4, .fp8: groupedMembers + calibrationMembers
        case .nf4: [("block_size", "\(blockSize)"), ("double_quant", "\(doubleQuant)")] + calibrationMembers
        case .awq: [("group_size", "\(groupSize)")] + calibrationMembers
        }
    }

    func quoted(_ text: String) -> String { "\"\(jsonEscaped(text))\"" }
    private func list(_ items: [String]) -> String { "[" + items.map(quoted).joined(separator: ",") + "]" }
}

extension Method {
    /// The layouts that the method is written in, the default first.
    package var formats: [ArtifactFormat] {
        switch self {
        case .int8: [.bitsandbytes, .compressedTensors, .mlx]
        case .nf4: [.bitsandbytes]
        case .int4: [.compressedTensors, .awq, .mlx]
        case .fp8: [.compressedTensors]
        case .awq: [.awq]
        }
    }

    /// The encoder that runs when a request names none.
    package var defaultMode: Mode {
        switch self {
        case .nf4, .int4, .fp8, .awq: .best
        case .int8: .reference
        }
    }

    /// The encoders that the method has, the default first.
    package var modes: [Mode] {
        switch self {
        case .nf4, .int4, .fp8, .awq: [.best, .reference]
        case .int8: [.reference]
        }
    }

    /// Bits of one code, scales not counted.
    package var codeBits: Int { self == .int8 || self == .fp8 ? 8 : 4 }

    /// Whether the artifact is made while the input arrives, in the default format and without calibration data; if
    /// not, the input is staged on disk first.
    package var streams: Bool { self != .awq }

    /// The names of all methods, for people.
    static var known: String { allCases.map(\.rawValue).joined(separator: ", ") }
    /// The names of the method's formats, for people.
    fileprivate var knownFormats: String { formats.map(\.rawValue).joined(separator: ", ") }
}
