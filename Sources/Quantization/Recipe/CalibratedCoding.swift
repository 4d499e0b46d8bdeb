/// Where AWQ's channel scales go.
package enum Scaling: String, Sendable, Hashable, CaseIterable {
    /// Searched for all Linears that read one input, and folded into the operation in front of them: an ordinary AWQ
    /// checkpoint.
    case fold
    /// No scales: the file loads as it is.
    case none
    /// Searched and stored: `input_scales` [in], by which the consumer divides its input.
    case keep
}

/// What codes are chosen by beside the weights.
package enum Calibration: String, Sendable, Hashable, CaseIterable {
    /// What is known of each layer's inputs: `<module>.activations`, `.gram`, `.square_mean` and so on.
    case data
    /// Nothing.
    case none
}

/// How weights find their codes on grids that are chosen.
package enum Rounding: String, Sendable, Hashable, CaseIterable {
    /// GPTQ where a layer's data allows it, else to nearest.
    case auto
    /// Each weight to the nearest code.
    case nearest
    /// Column after column, the error of each taken up by those that follow (GPTQ, Frantar et al. 2023); needs
    /// activations or a whole Gram matrix.
    case gptq
}

/// What a recipe lets calibration data decide; all defaults where it uses none.
package struct CalibratedCoding: Sendable, Hashable {
    /// Treatment of the channel scales (AWQ only).
    package let scaling: Scaling
    /// Whether the range of each group is searched (AWQ only).
    package let clip: Bool
    /// Whether the scale search weighs activations against weights, as AutoAWQ does; llm-awq looks at activations
    /// alone.
    package let duoScaling: Bool
    /// How codes are found on the grids; `mode=best` only.
    package let rounding: Rounding
    /// What is added to the Gram matrix's diagonal before it is inverted, as a share of its mean; nil for 0.1, or 0.3
    /// where there are less than 1,024 tokens.
    package let damping: Double?

    static let unused = CalibratedCoding(scaling: .none, clip: true, duoScaling: true, rounding: .auto, damping: nil)

    private init(scaling: Scaling, clip: Bool, duoScaling: Bool, rounding: Rounding, damping: Double?) {
        self.scaling = scaling
        self.clip = clip
        self.duoScaling = duoScaling
        self.rounding = rounding
        self.damping = damping
    }

    /// Takes the options of a method in a mode; one that asks for what would not happen is refused.
    init(
        _ method: Method, _ mode: Mode, _ calibration: Calibration, _ architecture: Architecture?,
        _ reader: inout OptionReader
    ) throws(QuantizationError) {
        let usual = calibration == .data && FoldFamily.knows(architecture) ? Scaling.fold : .none
        scaling = method == .awq ? try reader.choice("scaling", Scaling.self) ?? usual : .none
        clip = method == .awq ? try reader.flag("clip") ?? true : true
        duoScaling = method == .awq ? try reader.flag("duo_scaling") ?? true : true
        rounding = try reader.choice("rounding", Rounding.self) ?? .auto
        damping = try reader.number("damping", in: 0...1)
        let choices = [
            ("scaling", scaling != .none), ("clip", !clip), ("duo_scaling", !duoScaling),
            ("rounding", rounding != .auto),
            ("damping", damping != nil),
        ]
        for (name, isChosen) in choices where isChosen {
            if let reason = reason(against: name, mode, calibration) {
                throw .recipe(code: "recipe.option_mismatch", detail: "'\(name)' \(reason)")
            }
        }
    }

    /// Why an option would choose nothing; nil where it does choose.
    private func reason(against name: String, _ mode: Mode, _ calibration: Calibration) -> String? {
        if calibration == .none { return "says how data is used: it goes with calibration=data." }
        switch name {
        case "rounding", "damping":
            if mode == .reference { return "goes with mode=best; the reference rounds to nearest." }
            return name == "damping" && rounding == .nearest ? "belongs to rounding=gptq." : nil
        case "duo_scaling": return scaling == .none ? "belongs to the search of scales: scaling=none has none." : nil
        default: return nil
        }
    }
}

extension Method {
    /// Whether the method can use calibration data in a format.
    package func takesCalibration(in format: ArtifactFormat, scheme: Scheme = .w8a16) -> Bool {
        switch self {
        case .awq, .nf4: true
        case .int4: format != .mlx
        case .int8: format == .compressedTensors && scheme == .w8a16
        case .fp8: false
        }
    }

    /// Whether the method uses calibration data where a request says nothing of it.
    package var defaultCalibration: Calibration { self == .awq ? .data : .none }
}

extension Recipe {
    /// Whether weights are coded by what is known of their inputs.
    package var usesData: Bool { calibration == .data }

    /// Whether every weight must have activations: the reference's searches know nothing else.
    var needsActivations: Bool { usesData && mode == .reference }

    /// Takes the option `mode`, and `calibration` of a method that can use data: int8 has a best mode where it is given
    /// any.
    static func mode(
        _ method: Method, _ format: ArtifactFormat, _ scheme: Scheme, _ reader: inout OptionReader
    ) throws(QuantizationError) -> (Mode, Calibration) {
        let takesData = method.takesCalibration(in: format, scheme: scheme)
        let calibration =
            takesData ? try reader.choice("calibration", Calibration.self) ?? method.defaultCalibration : .none
        let usual = calibration == .data ? Mode.best : method.defaultMode
        let mode = try reader.choice("mode", Mode.self) ?? usual
        guard method.modes.contains(mode) || mode == usual else {
            throw .recipe(
                code: "recipe.mode_unavailable",
                detail: "Method \(method.rawValue) has no mode=\(mode.rawValue); leave it out or say mode=reference.")
        }
        if calibration == .data, mode == .reference, method != .awq {
            throw .recipe(
                code: "recipe.mode_unavailable",
                detail: "calibration=data goes with mode=best: \(method.rawValue)'s library uses no data.")
        }
        return (mode, calibration)
    }

    /// The option `bits` of AWQ, whose layout fixes it.
    static func checkBits(_ method: Method, _ reader: inout OptionReader) throws(QuantizationError) {
        guard method == .awq, try reader.member("bits", of: [4, 8]) == 8 else { return }
        throw .recipe(
            code: "recipe.bits_unavailable",
            detail:
                "Kernels read AWQ's layout with 4 bits alone; method=int8&format=compressed-tensors has 8, and takes "
                + "calibration=data too.")
    }

    /// The options of calibrated coding, each as name and JSON value: none for a method that usually has no data and
    /// was given none.
    var calibrationMembers: [(String, String)] {
        var members: [(String, String)] = []
        if method == .awq || usesData { members.append(("calibration", quoted(calibration.rawValue))) }
        if method == .awq { members.append(("scaling", quoted(coding.scaling.rawValue))) }
        guard usesData else { return members }
        if method == .awq { members.append(("clip", "\(coding.clip)")) }
        if coding.scaling != .none { members.append(("duo_scaling", "\(coding.duoScaling)")) }
        if mode == .best { members.append(("rounding", quoted(coding.rounding.rawValue))) }
        if let damping = coding.damping { members.append(("damping", "\(damping)")) }
        return members
    }
}

extension CalibratedOptions {
    /// The choices that a recipe makes for a layer whose codes are chosen by data, on at most `threads` threads.
    init(_ recipe: Recipe, threads: Int = 1) {
        let code: CalibratedCode =
            switch recipe.format {
            case .bitsandbytes: .nf4
            case .awq: .affine
            case .compressedTensors, .mlx: .symmetric(bits: recipe.method.codeBits)
            }
        self.init(
            code: code, groupSize: code == .nf4 ? recipe.blockSize : recipe.groupSize,
            searchesScales: recipe.coding.scaling == .keep, duoScaling: recipe.coding.duoScaling,
            clip: recipe.coding.clip, rounding: recipe.coding.rounding, damping: recipe.coding.damping,
            isNested: recipe.doubleQuant, threads: threads)
    }
}
