import Tensors

/// Tensors that a recipe codes in a way of their own, or leaves as they are.
package struct Override: Sendable, Hashable {
    /// The glob of their names; of several overrides the first that matches counts.
    package let match: String
    /// How they are coded, in the recipe's format; nil copies them.
    package let recipe: Recipe?

    /// The default limit of overrides in one recipe.
    package static let maximumCount = 10_000
    /// The word for `method` that leaves tensors as they are.
    static let copyWord = "none"
    /// Options of a recipe that are said once for all tensors.
    static let wholeOptions: Set<String> = [
        "include", "exclude", "overrides", "min_sqnr_db", "max_rel_error", "format", "model_type", "tied",
    ]

    /// Pairs a glob with the recipe of its tensors.
    init(match: String, recipe: Recipe?) {
        self.match = match
        self.recipe = recipe
    }

    /// Reads the option `overrides`: `[{"match": "*.down_proj.weight", "group_size": 32}, …]`.
    ///
    /// An override that names no method, or the recipe's own, changes the recipe's options; another method starts
    /// from its own defaults. `base` holds the options of the recipe itself.
    static func list(
        _ text: String, base: [RecipeOption], method: Method, format: ArtifactFormat
    ) throws(QuantizationError) -> [Override] {
        let document: JSONValue
        do {
            document = try JSONValue.parse(text: text)
        } catch {
            throw invalid("overrides is not JSON: \(error.detail), at byte \(error.offset ?? 0).")
        }
        guard case .array(let items) = document else { throw invalid("overrides is not an array of objects.") }
        guard items.count <= maximumCount else {
            throw .limit(name: "overrides", value: items.count, limit: maximumCount, tensor: nil)
        }
        var overrides: [Override] = []
        for item in items {
            overrides.append(try Override(item, base: base, method: method, format: format))
        }
        return overrides
    }

    private init(
        _ item: JSONValue, base: [RecipeOption], method: Method, format: ArtifactFormat
    ) throws(QuantizationError) {
        guard case .object(let members) = item, case .string(let match)? = item["match"], !match.isEmpty else {
            throw Self.invalid("An override is an object with 'match', a glob, and the options of its tensors.")
        }
        var options: [RecipeOption] = []
        for member in members where member.name != "match" {
            guard !Self.wholeOptions.contains(member.name) else {
                throw Self.invalid("'\(member.name)' is said for all tensors, not in an override.")
            }
            options.append(RecipeOption(member.name, try Self.text(of: member)))
        }
        guard !options.isEmpty else { throw Self.invalid("The override of '\(match)' changes nothing.") }
        self.match = match
        let named = options.first { $0.name == "method" }?.text
        if named == Self.copyWord {
            guard options.count == 1 else { throw Self.invalid("method=none has no other options.") }
            recipe = nil
            return
        }
        var all = options
        if named == nil || named == method.rawValue {
            let given = Set(options.map(\.name))
            all += base.filter { !given.contains($0.name) && !Self.wholeOptions.contains($0.name) }
        }
        all.append(RecipeOption("format", format.rawValue))
        recipe = try Recipe(options: all)
    }

    private static func text(of member: JSONValue.Member) throws(QuantizationError) -> String {
        switch member.value {
        case .string(let text), .number(let text): return text
        case .bool(let value): return value ? "true" : "false"
        case .null, .array, .object: throw invalid("'\(member.name)' is neither text, number nor true or false.")
        }
    }

    private static func invalid(_ detail: String) -> QuantizationError {
        .recipe(code: "recipe.invalid_override", detail: detail)
    }
}

extension Recipe {
    /// The ways in which tensors may be coded: the recipe's own first, then those of the overrides, each once.
    var variants: [Recipe] {
        var known: Set<Recipe> = []
        return [self] + overrides.compactMap(\.recipe).filter { known.insert($0).inserted }
    }

    /// What to say of an artifact that mixes ways of coding which no `quantization_config` describes.
    static func warning(ofMixing recipes: [Recipe]) -> String? {
        guard let format = recipes.first?.format else { return nil }
        switch format {
        case .bitsandbytes where Set(recipes.map(\.method)).count > 1:
            return "The file mixes 4-bit and 8-bit weights; transformers and vLLM load a model as one or the other, "
                + "so its modules must be loaded one by one."
        case .awq where Set(recipes.map(\.groupSize)).count > 1:
            return "The file mixes group sizes; an AWQ config names one, so its modules must be loaded one by one."
        case .bitsandbytes, .awq, .compressedTensors, .mlx: return nil
        }
    }

    /// The same recipe with `overrides` in place of its own: for a plan that chose them tensor by tensor.
    package func replacing(overrides: [Override]) -> Recipe {
        var changed = self
        changed.overrides = overrides
        return changed
    }
}

/// Finds the override of a tensor.
struct OverrideTable: Sendable {
    /// Overrides with `*` or `?`, in their order.
    private var globs: [(position: Int, glob: Glob)] = []
    /// The first override of every name without them: there may be one for each tensor of a model.
    private var names: [ExactName: Int] = [:]
    /// The variant that each override means; nil copies.
    private let meanings: [Int?]

    init(_ overrides: [Override], variants: [Recipe]) {
        var numbers: [Recipe: Int] = [:]
        for (number, variant) in variants.enumerated().dropFirst() { numbers[variant] = number }
        meanings = overrides.map { $0.recipe.flatMap { numbers[$0] } }
        for (position, override) in overrides.enumerated() {
            if override.match.utf8.contains(where: { $0 == UInt8(ascii: "*") || $0 == UInt8(ascii: "?") }) {
                globs.append((position, Glob(override.match)))
            } else if names[ExactName(override.match)] == nil {
                names[ExactName(override.match)] = position
            }
        }
    }

    /// What the first override that matches `name` means: a variant, or `.some(nil)` to copy; nil when none matches.
    func meaning(of name: String, steps: inout Int) -> Int?? {
        let named = names.isEmpty ? nil : names[ExactName(name)]
        for (position, glob) in globs {
            if let named, named < position { break }
            if glob.matches(name, steps: &steps) { return meanings[position] }
        }
        return named.map { meanings[$0] }
    }
}
