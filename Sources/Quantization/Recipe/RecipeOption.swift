/// One option of a request as the client wrote it, by its name in the contract.
package struct RecipeOption: Sendable, Hashable {
    /// The option's name, for instance `block_size`.
    package let name: String
    /// Its text; numbers and flags are read from it.
    package let text: String

    /// Pairs a name with its text.
    package init(_ name: String, _ text: String) {
        self.name = name
        self.text = text
    }
}

/// Takes options one by one and knows at the end which were left over, and which there are.
struct OptionReader {
    private var rest: [String: String] = [:]
    private var globs: [String: [String]] = [:]
    private var asked: Set<String> = []

    init(_ options: [RecipeOption]) throws(QuantizationError) {
        for option in options {
            if option.name == "include" || option.name == "exclude" {
                globs[option.name, default: []].append(option.text)
            } else if rest.updateValue(option.text, forKey: option.name) != nil {
                throw .recipe(code: "recipe.duplicate_option", detail: "Option '\(option.name)' is given twice.")
            }
        }
    }

    /// Whether an option was given and nobody has asked for it yet.
    func holds(_ name: String) -> Bool { rest[name] != nil }

    /// The text of an option; nil where it was not given.
    mutating func text(_ name: String) -> String? {
        asked.insert(name)
        return rest.removeValue(forKey: name)
    }

    mutating func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ name: String, _: Choice.Type
    ) throws(QuantizationError) -> Choice? {
        guard let text = text(name) else { return nil }
        if let choice = Choice(rawValue: text) { return choice }
        let known = Choice.allCases.map(\.rawValue).joined(separator: ", ")
        throw .recipe(code: "recipe.invalid_option", detail: "\(name)='\(text)' is not one of: \(known).")
    }

    mutating func member(_ name: String, of allowed: [Int]) throws(QuantizationError) -> Int? {
        guard let text = text(name) else { return nil }
        if let value = Int(text), allowed.contains(value) { return value }
        let known = allowed.map(String.init).joined(separator: ", ")
        throw .recipe(code: "recipe.invalid_option", detail: "\(name)='\(text)' is not one of: \(known).")
    }

    mutating func flag(_ name: String) throws(QuantizationError) -> Bool? {
        switch text(name) {
        case nil: return nil
        case "true", "1": return true
        case "false", "0": return false
        case let text?:
            throw .recipe(code: "recipe.invalid_option", detail: "\(name)='\(text)' is neither true nor false.")
        }
    }

    mutating func globs(_ name: String) -> [String] {
        asked.insert(name)
        return globs.removeValue(forKey: name) ?? []
    }

    /// A finite number in decimal digits.
    mutating func number(_ name: String, in range: ClosedRange<Double>) throws(QuantizationError) -> Double? {
        guard let text = text(name) else { return nil }
        if let value = Double(decimal: text), range.contains(value) { return value }
        throw .recipe(
            code: "recipe.invalid_option",
            detail: "\(name)='\(text)' is not a number from \(range.lowerBound) to \(range.upperBound).")
    }

    /// The names that were asked for, and those that nobody asked for.
    var names: OptionNames { OptionNames(known: asked, unknown: Set(rest.keys)) }
}

/// The names of the options that a method has in a format, and of those that were given and it has not.
struct OptionNames {
    var known: Set<String> = []
    var unknown: Set<String> = []

    /// What either of two formats knows, and what was given and neither does.
    func joined(_ other: OptionNames) -> OptionNames {
        OptionNames(known: known.union(other.known), unknown: unknown.intersection(other.unknown))
    }

    /// Refuses an option that none of `formats` knows, and says which there are.
    func requireKnown(_ method: Method, _ formats: [ArtifactFormat]) throws(QuantizationError) {
        let place = method.formats.count > 1 ? " in format \(formats.map(\.rawValue).joined(separator: " or "))" : ""
        try requireKnown { "Method \(method.rawValue) has no option '\($0)'\(place)" }
    }

    /// The same; `saying` begins the sentence about an option.
    func requireKnown(_ saying: (String) -> String) throws(QuantizationError) {
        guard let name = unknown.min() else { return }
        throw .recipe(
            code: "recipe.unknown_option", detail: "\(saying(name)); known: \(known.sorted().joined(separator: ", ")).")
    }
}

extension Double {
    /// A number in decimal digits alone; Swift itself also reads hexadecimal, infinity and NaN.
    init?(decimal text: String) {
        guard text.utf8.allSatisfy({ "0123456789+-.eE".utf8.contains($0) }) else { return nil }
        self.init(text)
    }
}
