/// How large an artifact may become.
package enum Budget: Sendable, Hashable {
    /// Bytes of the whole file.
    case bytes(Int)
    /// Bits of codes and scales for each weight that is selected.
    case bitsPerWeight(Double)

    /// The option that says it, with its text.
    package var option: RecipeOption {
        switch self {
        case .bytes(let bytes): RecipeOption("budget_bytes", "\(bytes)")
        case .bitsPerWeight(let bits): RecipeOption("budget_bits_per_weight", "\(bits)")
        }
    }
}

extension Budget {
    /// The options that say a budget.
    package static let names = ["budget_bytes", "budget_bits_per_weight"]

    /// The budget among a request's options; nil without one, and `recipe` for one that is no positive number, or two.
    package static func read(_ option: (String) -> String?) throws(QuantizationError) -> Budget? {
        switch (option(names[0]), option(names[1])) {
        case (nil, nil): return nil
        case (let text?, nil):
            if let bytes = Int(text), bytes > 0 { return .bytes(bytes) }
            throw .recipe(code: "recipe.invalid_option", detail: "budget_bytes='\(text)' is not a number of bytes.")
        case (nil, let text?):
            if let bits = Double(decimal: text), bits > 0, bits <= 64 { return .bitsPerWeight(bits) }
            throw .recipe(
                code: "recipe.invalid_option", detail: "budget_bits_per_weight='\(text)' is not from 0 to 64.")
        default:
            throw .recipe(code: "recipe.invalid_option", detail: "A budget is in bytes or in bits a weight, not both.")
        }
    }
}

/// One way of coding that a budget may give to a tensor.
package struct BudgetCandidate: Sendable {
    /// The way for all tensors, gates included: what is carried out when the candidate is the most frequent.
    package let whole: Recipe
    /// The same without gates: its errors are only looked at.
    let probe: Recipe
    /// The way alone, as an override has it.
    let own: Recipe

    /// The formats that libraries load with more than one way of coding in a file.
    package static let formats: [ArtifactFormat] = [.compressedTensors, .mlx]
    /// The methods that such a file mixes.
    private static let methods: [Method] = [.int4, .int8]

    /// Every way of coding weights alone that the options leave open: in compressed-tensors, or in the format that is
    /// named, INT4 and INT8 with all group sizes.
    ///
    /// - Throws: `recipe` for options that no such way takes, `budget.method`, `budget.format` and `budget.overrides`.
    package static func list(options: [RecipeOption]) throws(QuantizationError) -> [BudgetCandidate] {
        guard !options.contains(where: { $0.name == "overrides" }) else {
            throw .recipe(code: "budget.overrides", detail: "A budget chooses for each tensor; leave out overrides.")
        }
        let named = options.filter { $0.name == "method" || $0.name == "methods" }.map(\.text)
        let methods = named.isEmpty ? Self.methods : try Method.list(named.joined(separator: ","))
        if let other = methods.first(where: { !Self.methods.contains($0) }) {
            throw .recipe(
                code: "budget.method", detail: "A budget chooses between int4 and int8, not \(other.rawValue).")
        }
        var given = options.filter { $0.name != "method" && $0.name != "methods" }
        if !given.contains(where: { $0.name == "format" }) {
            let isMLX = given.contains { $0.name == "target" && $0.text == Target.mlx.rawValue }
            let format = isMLX ? ArtifactFormat.mlx : .compressedTensors
            given.append(RecipeOption("format", format.rawValue))
        }
        guard let format = given.first(where: { $0.name == "format" })?.text,
            formats.contains(where: { $0.rawValue == format })
        else {
            let known = formats.map { "format=\($0.rawValue)" }.joined(separator: " or ")
            throw .recipe(code: "budget.format", detail: "A budget mixes ways of coding in one file: \(known).")
        }
        let recipes = try Recipe.variants(given, methods: methods, varied: ["scheme", "group_size"])
        var candidates: [BudgetCandidate] = []
        for recipe in recipes where recipe.codesWeightsAlone {
            let selection = given.filter { Override.selecting.contains($0.name) }
            candidates.append(
                BudgetCandidate(
                    whole: recipe, probe: try Recipe(options: recipe.options + selection),
                    own: try Recipe(options: recipe.options)))
        }
        guard !candidates.isEmpty else {
            throw .recipe(
                code: "budget.format", detail: "A budget mixes codes of weights alone: activations stay as they are.")
        }
        return candidates
    }
}

extension Override {
    /// The options of a recipe that choose tensors.
    fileprivate static let selecting: Set<String> = ["include", "exclude", "model_type", "tied", "target"]
}

extension Recipe {
    /// Method, format, mode and the method's options, by their names in the contract.
    fileprivate var options: [RecipeOption] {
        [
            RecipeOption("method", method.rawValue), RecipeOption("format", format.rawValue),
            RecipeOption("mode", mode.rawValue),
        ] + optionMembers.map { RecipeOption($0.0, $0.1.filter { $0 != "\"" }) }
    }

    /// Whether activations stay as they are: such groups of one configuration load side by side.
    fileprivate var codesWeightsAlone: Bool {
        switch groupedCode {
        case .packed, .affine: true
        case .int8, .e4m3, .zeroPoint, nil: false
        }
    }
}
