/// How much one owner may have.
package struct OwnerLimits: Sendable, Equatable {
    /// Bytes of artifacts, inputs and what uploads and jobs have reserved; nil without a limit.
    package var bytes: Int?
    /// Requests that quantize and jobs that are not finished, at once; nil without a limit.
    package var work: Int?

    /// No limits unless they are given.
    package init(bytes: Int? = nil, work: Int? = nil) {
        self.bytes = bytes
        self.work = work
    }
}

/// Who a request comes from: everything that is made belongs to somebody, and nobody sees what is another's.
struct Principal: Sendable, Equatable {
    /// The owner of what this one makes; the identifier of a key.
    let owner: String
    let scopes: Scopes
    let limits: OwnerLimits

    /// Everybody without a key, where none is needed. No key has this identifier.
    static func anybody(_ limits: OwnerLimits) -> Principal {
        Principal(owner: "local", scopes: .all, limits: limits)
    }
}
