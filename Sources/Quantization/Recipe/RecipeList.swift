extension Recipe {
    /// The recipes of one request: one for each of the formats that `format` names, separated by commas.
    ///
    /// All are carried out in one pass over the input. An option must be known to one of them at least. Throws
    /// `recipe` as for one recipe, and for a format that is named twice.
    package static func list(options: [RecipeOption]) throws(QuantizationError) -> [Recipe] {
        guard let format = options.first(where: { $0.name == "format" }), format.text.utf8.contains(UInt8(ascii: ","))
        else { return [try Recipe(options: options)] }
        let names = format.text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        guard Set(names).count == names.count else {
            throw .recipe(code: "recipe.duplicate_format", detail: "format='\(format.text)' names one format twice.")
        }
        var recipes: [Recipe] = []
        var known = OptionNames()
        for name in names {
            let own = options.map { $0.name == "format" ? RecipeOption("format", name) : $0 }
            var ofFormat = OptionNames()
            recipes.append(try Recipe(options: own, names: &ofFormat))
            known = recipes.count == 1 ? ofFormat : known.joined(ofFormat)
        }
        try known.requireKnown(recipes[0].method, recipes.map(\.format))
        return recipes
    }
}
