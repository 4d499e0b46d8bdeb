/// What a key may do; no scope contains another.
package struct Scopes: OptionSet, Sendable, Hashable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// See what its owner has, and ask what does not change anything: plans, comparisons.
    package static let read = Scopes(rawValue: 1)
    /// Make and remove what its owner has.
    package static let write = Scopes(rawValue: 2)
    /// What concerns all owners: collecting garbage, metrics.
    package static let admin = Scopes(rawValue: 4)
    /// All there are.
    package static let all: Scopes = [.read, .write, .admin]

    private static let names: [(name: String, scope: Scopes)] = [("read", .read), ("write", .write), ("admin", .admin)]

    /// Reads `read,write`; nil when a name is none, or there is none.
    package init?(_ text: String) {
        var scopes: Scopes = []
        for word in text.split(separator: ",", omittingEmptySubsequences: false) {
            guard let known = Self.names.first(where: { $0.name == word }) else { return nil }
            scopes.insert(known.scope)
        }
        self = scopes
    }

    /// The names, joined by commas.
    package var text: String { Self.names.filter { contains($0.scope) }.map(\.name).joined(separator: ",") }

    /// Reads what a route asks for: a scope's name, or `none` for a route that is open to everybody.
    package static func asked(_ text: String) -> Scopes? { text == "none" ? [] : Scopes(text) }
}
