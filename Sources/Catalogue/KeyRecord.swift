/// A key: who may use the service, and how much of it.
package struct KeyRecord: Sendable, Equatable {
    /// The public part of the key, which is also the name of the owner of all that is made with it.
    package var id: String
    /// What people call it.
    package var name: String
    /// SHA-256 of the secret part, in hexadecimal.
    package var hash: String
    /// `read`, `write`, `admin`, joined by commas.
    package var scopes: String
    /// The most bytes that its owner may keep; nil without a limit.
    package var maximumBytes: Int?
    /// The most jobs and requests of its owner at once; nil without a limit.
    package var maximumWork: Int?
    /// Milliseconds since 1970-01-01T00:00:00Z.
    package var createdAt: Int64
    /// When it ceased to open anything.
    package var revokedAt: Int64?

    /// A key that holds.
    package init(
        id: String, name: String, hash: String, scopes: String, maximumBytes: Int?, maximumWork: Int?,
        createdAt: Int64
    ) {
        self.id = id
        self.name = name
        self.hash = hash
        self.scopes = scopes
        self.maximumBytes = maximumBytes
        self.maximumWork = maximumWork
        self.createdAt = createdAt
    }
}

/// One line of the audit log: who changed what.
package struct AuditRecord: Sendable, Equatable {
    /// The place in the log; set when it is recorded.
    package var sequence: Int64 = 0
    /// Milliseconds since 1970-01-01T00:00:00Z.
    package let at: Int64
    /// Whose key it was.
    package let owner: String
    /// What was done, for instance `artifact.delete`.
    package let action: String
    /// To what.
    package let target: String
    /// The trace of the request.
    package let trace: String?

    /// A line that is not yet recorded.
    package init(at: Int64, owner: String, action: String, target: String, trace: String?) {
        self.at = at
        self.owner = owner
        self.action = action
        self.target = target
        self.trace = trace
    }
}

extension KeyRecord {
    init(_ row: borrowing Row) throws(CatalogueError) {
        try self.init(
            id: row.text(0), name: row.text(1), hash: row.text(2), scopes: row.text(3),
            maximumBytes: row.optionalInteger(4).map { Int($0) }, maximumWork: row.optionalInteger(5).map { Int($0) },
            createdAt: row.integer(6))
        revokedAt = try row.optionalInteger(7)
    }
}
