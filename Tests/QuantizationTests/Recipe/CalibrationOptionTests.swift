import Testing

@testable import Quantization

/// What a recipe says of calibration data.
@Suite struct CalibrationOptionTests {
    private func recipe(_ options: [(String, String)]) throws -> Recipe {
        try Recipe(options: options.map { RecipeOption($0.0, $0.1) })
    }

    private func code(_ options: [(String, String)]) -> String? {
        do {
            _ = try recipe(options)
            return nil
        } catch {
            if case .recipe(let code, _)? = error as? QuantizationError { return code }
            return "other"
        }
    }

    private static let awq = ("method", "awq")
    private static let data = ("calibration", "data")

    @Test func awqUsesDataAndTheOthersWhenAsked() throws {
        for method in Method.allCases {
            let plain = try recipe([("method", method.rawValue)])
            #expect(plain.usesData == (method == .awq))
            #expect(plain.mode == (method == .int8 ? .reference : .best))
            let takes = method.takesCalibration(in: plain.format)
            #expect(code([("method", method.rawValue), Self.data]) == (takes ? nil : "recipe.unknown_option"))
        }
        #expect(code([("method", "int4"), ("format", "awq"), Self.data]) == nil)
        #expect(code([("method", "int4"), ("format", "mlx"), Self.data]) == "recipe.unknown_option")
    }

    /// Eight bits: compressed-tensors' W8A16, which has no best mode without data.
    @Test func packedBytesUseDataToo() throws {
        let packed = [("method", "int8"), ("format", "compressed-tensors")]
        let recipe = try recipe(packed + [Self.data, ("group_size", "128"), ("rounding", "gptq")])
        #expect(recipe.usesData && recipe.mode == .best)
        #expect(try self.recipe(packed).mode == .reference)
        #expect(recipe.query.contains("calibration=data") && !recipe.query.contains("mode="))
        #expect(code(packed + [Self.data, ("mode", "best")]) == nil)
        #expect(code(packed + [Self.data, ("mode", "reference")]) == "recipe.mode_unavailable")
        #expect(code(packed + [("mode", "best")]) == "recipe.mode_unavailable")
        #expect(code(packed + [Self.data, ("scheme", "W8A8")]) == "recipe.unknown_option")
        #expect(code(packed + [("rounding", "gptq")]) == "recipe.option_mismatch")
        #expect(code([Self.awq, ("symmetric", "false")]) == nil)
        #expect(code([Self.awq, ("symmetric", "true")]) == "recipe.symmetry_mismatch")
    }

    /// Equal recipes have equal text, whatever was spelled out; recipes without data are called as they always were.
    @Test func theTextSpellsOutWhatDecides() throws {
        #expect(
            try recipe([Self.awq]).canonical
                == #"{"calibration":"data","clip":true,"format":"awq","group_size":128,"method":"awq","mode":"best","#
                + #""rounding":"auto","scaling":"none"}"#)
        #expect(
            try recipe([Self.awq, ("mode", "reference"), ("calibration", "none")]).canonical
                == #"{"calibration":"none","format":"awq","group_size":128,"method":"awq","mode":"reference","#
                + #""scaling":"none"}"#)
        #expect(
            try recipe([("method", "int4"), ("calibration", "none")]) == recipe([("method", "int4")]))
        let text = try recipe([
            ("method", "nf4"), Self.data, ("rounding", "gptq"), ("damping", "0.25"),
        ]).canonical
        #expect(text.contains(#""calibration":"data","damping":0.25,"#) && text.contains(#""rounding":"gptq""#))
        let keep = try recipe([Self.awq, ("scaling", "keep"), ("duo_scaling", "false"), ("clip", "false")])
        #expect(keep.canonical.contains(#""clip":false,"duo_scaling":false"#))
        #expect(keep.query == "method=awq&scaling=keep&clip=false&duo_scaling=false")
        #expect(try recipe([Self.awq]).query == "method=awq")
        #expect(try recipe([("method", "nf4"), Self.data]).query == "method=nf4&calibration=data")
    }

    /// What would choose nothing is refused, a default that is spelled out is not.
    @Test func optionsThatWouldChooseNothingAreRefused() {
        let none = ("calibration", "none")
        for option in [("scaling", "keep"), ("clip", "false"), ("duo_scaling", "false"), ("rounding", "gptq")] {
            #expect(code([Self.awq, none, option]) == "recipe.option_mismatch", "\(option)")
        }
        #expect(code([Self.awq, none, ("damping", "0.1")]) == "recipe.option_mismatch")
        #expect(code([("method", "nf4"), ("rounding", "nearest")]) == "recipe.option_mismatch")
        #expect(code([Self.awq, none, ("clip", "true"), ("rounding", "auto"), ("scaling", "none")]) == nil)
        #expect(code([Self.awq, ("mode", "reference"), ("rounding", "gptq")]) == "recipe.option_mismatch")
        #expect(code([Self.awq, ("mode", "reference"), ("damping", "0.1")]) == "recipe.option_mismatch")
        #expect(code([Self.awq, ("rounding", "nearest"), ("damping", "0.1")]) == "recipe.option_mismatch")
        #expect(code([Self.awq, ("duo_scaling", "false")]) == "recipe.option_mismatch")
        #expect(code([Self.awq, ("scaling", "keep"), ("duo_scaling", "false")]) == nil)
        #expect(code([("method", "nf4"), Self.data, ("clip", "false")]) == "recipe.unknown_option")
        #expect(code([("method", "nf4"), Self.data, ("scaling", "keep")]) == "recipe.unknown_option")
        #expect(code([("method", "nf4"), Self.data, ("mode", "reference")]) == "recipe.mode_unavailable")
        #expect(code([("method", "int8"), ("rounding", "gptq")]) == "recipe.unknown_option")
    }

    @Test func valuesAreChecked() {
        #expect(code([Self.awq, ("calibration", "activations")]) == "recipe.invalid_option")
        for damping in ["-0.1", "1.1", "nan", "much", ""] {
            #expect(code([Self.awq, ("damping", damping)]) == "recipe.invalid_option", "\(damping)")
        }
        #expect(code([Self.awq, ("damping", "0")]) == nil && code([Self.awq, ("damping", "1")]) == nil)
        #expect(code([Self.awq, ("bits", "4")]) == nil)
        #expect(code([Self.awq, ("bits", "8")]) == "recipe.bits_unavailable")
        #expect(code([Self.awq, ("bits", "3")]) == "recipe.invalid_option")
        #expect(code([("method", "nf4"), ("bits", "4")]) == "recipe.unknown_option")
    }

    @Test func overridesMayLeaveTheDataAside() throws {
        let overrides = #"[{"match": "lm*", "calibration": "none"}, {"match": "x*", "rounding": "nearest"}]"#
        let recipe = try recipe([("method", "nf4"), Self.data, ("overrides", overrides)])
        #expect(recipe.overrides.map { $0.recipe?.usesData } == [false, true])
        #expect(recipe.overrides.last?.recipe?.coding.rounding == .nearest)
    }
}
