import Catalogue
import HTTPServer
import HTTPTypes
import HTTPWire
import Quantization

/// The query of a request whose names are all known and given once.
struct Query {
    /// A name and its value, decoded.
    typealias Item = (name: String, value: String)

    private var values: [String: String] = [:]

    init(_ head: RequestHead, known: Set<String>) throws(Problem) {
        try self.init(Self.items(head), known: known)
    }

    init(_ items: [Item], known: Set<String>) throws(Problem) {
        if let item = items.first(where: { !known.contains($0.name) }) {
            let names = known.isEmpty ? "none" : known.sorted().joined(separator: ", ")
            throw Self.invalid("There is no option '\(item.name)' here; known: \(names).")
        }
        try self.init(items)
    }

    private init(_ items: [Item]) throws(Problem) {
        for item in items {
            guard values.updateValue(item.value, forKey: item.name) == nil else {
                throw Self.invalid("\(item.name) is given twice.")
            }
        }
    }

    /// A query of `known` names, and beside them the options of recipes: the recipes that they leave open, with the
    /// options in `varied` going through their values. `methods` is a list, `method` names one.
    static func withRecipes(
        _ items: [Item], known: Set<String>, varied: [String]
    ) throws(Problem) -> (Query, [Recipe]) {
        let (query, options) = try split(items, own: known.union(["method", "methods"]))
        do throws(QuantizationError) {
            return (query, try Recipe.variants(options, methods: try query.methods(), varied: varied))
        } catch {
            throw Problem(error)
        }
    }

    /// A query of the names that a route has of its `own`, and beside them the options of recipes.
    static func split(_ items: [Item], own: Set<String>) throws(Problem) -> (Query, [RecipeOption]) {
        let options = items.filter { !own.contains($0.name) }.map { RecipeOption($0.name, $0.value) }
        return (try Query(items.filter { own.contains($0.name) }), options)
    }

    /// The items of a request's query, decoded.
    static func items(_ head: RequestHead) -> [Item] { head.query.map { ($0.name, $0.value) } }

    private func methods() throws(QuantizationError) -> [Method] {
        let names = [values["method"], values["methods"]].compactMap { $0 }
        guard !names.isEmpty else { return Method.allCases }
        return try Method.list(names.joined(separator: ","))
    }

    func text(_ name: String) -> String? { values[name] }

    /// `name`: what an artifact is called.
    func artifactName() throws(Problem) -> String? {
        guard let name = values["name"] else { return nil }
        guard (1...QuantizeRequest.maximumNameBytes).contains(name.utf8.count) else {
            throw Self.invalid("name has 1 to \(QuantizeRequest.maximumNameBytes) bytes.")
        }
        return name
    }

    func integer(_ name: String, in range: ClosedRange<Int>) throws(Problem) -> Int? {
        guard let text = values[name] else { return nil }
        guard let value = Int(text), range.contains(value) else {
            throw Self.invalid("\(name)='\(text)' is not a number from \(range.lowerBound) to \(range.upperBound).")
        }
        return value
    }

    /// The value that an option names, of a type's; nil where it is not given.
    func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ name: String, _: Choice.Type
    ) throws(Problem) -> Choice? {
        try Self.choice(name, text(name))
    }

    /// The same of a text that came otherwise.
    static func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ name: String, _ text: String?
    ) throws(Problem) -> Choice? {
        guard let text else { return nil }
        if let choice = Choice(rawValue: text) { return choice }
        let known = Choice.allCases.map(\.rawValue).joined(separator: ", ")
        throw invalid("\(name)='\(text)' is not one of: \(known).")
    }

    /// Items of one page of a list when the client does not say.
    static let defaultPageSize = 100

    /// `limit`: items of one page of a list.
    func pageSize() throws(Problem) -> Int {
        try integer("limit", in: 1...Catalogue.maximumPageSize) ?? Self.defaultPageSize
    }

    static func invalid(_ detail: String) -> Problem {
        Problem(.badRequest, code: "request.invalid_option", title: "An option is not valid", detail: detail)
    }
}
