extension Recipe {
    /// What a plan varies where a request leaves it open: the options that change the size of the artifact.
    package static let sizeOptions = ["double_quant", "scheme", "group_size", "calibration"]
    /// What a comparison varies: the same, and the encoder; without activations AWQ is INT4 as AWQ, so it needs them.
    package static let qualityOptions = ["mode", "double_quant", "scheme", "group_size"]

    /// Every recipe of `methods` that takes all of the `given` options, the options in `varied` that are not given
    /// going through all their values; a method's default comes before its variants.
    ///
    /// So an option narrows the choice to the methods and formats that know it.
    /// - Throws: the refusal of the given options, when no method takes them.
    package static func variants(
        _ given: [RecipeOption], methods: [Method] = Method.allCases, varied: [String]
    ) throws(QuantizationError) -> [Recipe] {
        let isOpen = !given.contains { $0.name == "format" }
        var variants: [Recipe] = []
        var refusals: [QuantizationError] = []
        for method in methods {
            for format in isOpen ? method.formats.map({ [RecipeOption("format", $0.rawValue)] }) : [[]] {
                let start = [RecipeOption("method", method.rawValue)] + format + given
                do throws(QuantizationError) {
                    variants += try Recipe(options: start).varied(varied, from: start)
                } catch {
                    refusals.append(error)
                }
            }
        }
        guard variants.isEmpty, let first = refusals.first else { return variants }
        if let refusal = refusals.first(where: { !$0.saysNotApplicable }) { throw refusal }
        guard methods.count > 1 else { throw first }
        try optionNames(unknown: given).requireKnown { "No method has the option '\($0)'" }
        let names = given.map(\.name).filter { $0 != "include" && $0 != "exclude" }.joined(separator: ", ")
        throw .recipe(code: "recipe.unknown_option", detail: "No method has all of the options: \(names).")
    }

    /// The names of the options that some method has in some format, and of those in `given` that none has.
    private static func optionNames(unknown given: [RecipeOption]) throws(QuantizationError) -> OptionNames {
        var names = OptionNames(unknown: Set(given.map(\.name)))
        for method in Method.allCases {
            for format in method.formats {
                var own = OptionNames()
                _ = try Recipe(
                    options: [RecipeOption("method", method.rawValue), RecipeOption("format", format.rawValue)],
                    names: &own)
                names.known.formUnion(own.known)
            }
        }
        names.unknown.subtract(names.known)
        return names
    }

    /// This recipe, made of `options`, and those that differ from it in the `varied` options.
    private func varied(_ names: [String], from options: [RecipeOption]) throws(QuantizationError) -> [Recipe] {
        let known = Set(["mode"] + optionMembers.map(\.0)).subtracting(options.map(\.name))
        var combinations = [options]
        for name in names where known.contains(name) {
            // Absent comes first, so that the default does; a value may rule out the options of another.
            let values = values(of: name).map { [RecipeOption(name, $0)] }
            combinations = combinations.flatMap { start in ([[]] + values).map { start + $0 } }
        }
        var seen: Set<Recipe> = []
        var recipes: [Recipe] = []
        for combination in combinations {
            do throws(QuantizationError) {
                let recipe = try Recipe(options: combination)
                if seen.insert(recipe).inserted { recipes.append(recipe) }
            } catch {
                guard error.isOfRecipe else { throw error }
            }
        }
        return recipes
    }

    private func values(of name: String) -> [String] {
        switch name {
        case "mode": method.modes.map(\.rawValue)
        case "double_quant": ["true", "false"]
        case "scheme": Scheme.allCases.map(\.rawValue)
        case "group_size": (method.groupSizes(in: format, scheme: scheme)?.allowed ?? []).map { "\($0)" }
        case "calibration": Calibration.allCases.map(\.rawValue)
        default: []
        }
    }

    /// The method and every option that is not its default, as they stand in a query: `method=int4&format=mlx`.
    package var query: String {
        spelled.map { "\($0.name)=\($0.text)" }.joined(separator: "&")
    }

    /// The same for people: `int4 format=mlx`.
    package var label: String {
        ([method.rawValue] + spelled.dropFirst().map { "\($0.name)=\($0.text)" }).joined(separator: " ")
    }

    private var spelled: [RecipeOption] {
        var spelled = [RecipeOption("method", method.rawValue)]
        if format != method.formats[0] { spelled.append(RecipeOption("format", format.rawValue)) }
        if mode != (usesData ? .best : method.defaultMode) { spelled.append(RecipeOption("mode", mode.rawValue)) }
        if let scheme = changedScheme { spelled.append(scheme) }
        let standard: [String: String] = [
            "block_size": "64", "double_quant": "true", "scaling": "none", "clip": "true", "duo_scaling": "true",
            "calibration": method.defaultCalibration.rawValue, "rounding": "auto",
            "group_size": "\(method.groupSizes(in: format, scheme: scheme)?.standard ?? -1)",
        ]
        for (name, json) in optionMembers where name != "scheme" {
            let text = json.filter { $0 != "\"" }
            if text != standard[name] { spelled.append(RecipeOption(name, text)) }
        }
        return spelled
    }

    private var changedScheme: RecipeOption? {
        scheme == .w8a16 ? nil : RecipeOption("scheme", scheme.rawValue)
    }
}

extension Method {
    /// The methods of a list like `nf4,int8`, each once and in the list's order.
    package static func list(_ text: String) throws(QuantizationError) -> [Method] {
        var methods: [Method] = []
        for name in text.split(separator: ",", omittingEmptySubsequences: false) {
            guard let method = Method(rawValue: String(name)) else {
                throw .recipe(
                    code: "recipe.unknown_method", detail: "Unknown method '\(name)'. Known: \(Method.known).")
            }
            if !methods.contains(method) { methods.append(method) }
        }
        return methods
    }
}

extension QuantizationError {
    /// Whether the recipe itself is refused, not an input.
    fileprivate var isOfRecipe: Bool {
        if case .recipe = self { return true }
        return false
    }

    /// Whether a method was only asked for what others have.
    fileprivate var saysNotApplicable: Bool {
        guard case .recipe(let code, _) = self else { return false }
        return [
            "recipe.unknown_option", "recipe.format_mismatch", "recipe.mode_unavailable", "recipe.scheme_mismatch",
            "recipe.symmetry_mismatch", "recipe.target_mismatch", "recipe.option_mismatch", "recipe.bits_unavailable",
        ].contains(code)
    }
}
