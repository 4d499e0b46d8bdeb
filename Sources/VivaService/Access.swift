import HTTPServer

/// Who a request comes from: everything that is made belongs to somebody, and nobody sees what is another's.
struct Principal: Sendable, Equatable {
    /// The owner of what this one makes; the identifier of a key.
    let owner: String

    /// Everybody, while there are no keys.
    static let anybody = Principal(owner: "local")
}

/// Turns a request into a principal.
struct Access: Sendable {
    /// Whose request it is.
    func principal(_ request: borrowing Request) throws(Problem) -> Principal { .anybody }
}
