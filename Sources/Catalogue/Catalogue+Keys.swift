/// The statements over the tables `keys`, `audit` and `owner_totals`.
enum KeySQL {
    static let insert: StaticString = """
        INSERT INTO keys (id, name, hash, scopes, maximum_bytes, maximum_work, created_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING
        """

    static let one: StaticString = """
        SELECT id, name, hash, scopes, maximum_bytes, maximum_work, created_at, revoked_at FROM keys WHERE id = ?1
        """

    static let all: StaticString = """
        SELECT id, name, hash, scopes, maximum_bytes, maximum_work, created_at, revoked_at
        FROM keys ORDER BY created_at, id
        """

    static let any: StaticString = "SELECT 1 FROM keys WHERE revoked_at IS NULL LIMIT 1"

    static let revoke: StaticString = "UPDATE keys SET revoked_at = ?2 WHERE name = ?1 AND revoked_at IS NULL"

    static let note: StaticString = "INSERT INTO audit (at, owner, action, target, trace) VALUES (?1, ?2, ?3, ?4, ?5)"

    static let notes: StaticString = """
        SELECT sequence, at, owner, action, target, trace FROM audit WHERE sequence > ?1 ORDER BY sequence LIMIT ?2
        """

    static let forgetNotes: StaticString = "DELETE FROM audit WHERE at < ?1"

    static let usage: StaticString = "SELECT bytes, jobs FROM owner_totals WHERE owner = ?1"
}

extension Catalogue {
    /// Adds a key; false when its name or identifier is taken.
    package func insert(_ key: KeyRecord) throws(CatalogueError) -> Bool {
        try writing { (connection) throws(CatalogueError) in
            try connection.run(
                KeySQL.insert,
                [
                    .text(key.id), .text(key.name), .text(key.hash), .text(key.scopes),
                    SQLValue(key.maximumBytes.map { Int64($0) }), SQLValue(key.maximumWork.map { Int64($0) }),
                    .integer(key.createdAt),
                ]) > 0
        }
    }

    /// The key of this identifier, revoked or not, or nil.
    package func key(_ id: String) throws(CatalogueError) -> KeyRecord? {
        try lookingUpKeys { (connection) throws(CatalogueError) in
            try connection.first(KeySQL.one, [.text(id)]) { (row) throws(CatalogueError) in try KeyRecord(row) }
        }
    }

    /// All keys, the oldest first.
    package func keys() throws(CatalogueError) -> [KeyRecord] {
        try reading { (connection) throws(CatalogueError) in
            try connection.all(KeySQL.all) { (row) throws(CatalogueError) in try KeyRecord(row) }
        }
    }

    /// Whether there is a key that holds.
    package func hasKeys() throws(CatalogueError) -> Bool {
        try reading { (connection) throws(CatalogueError) in try connection.finds(KeySQL.any, []) }
    }

    /// Ends a key by its name; false when there is none of this name that holds.
    package func revokeKey(named name: String, at time: Int64) throws(CatalogueError) -> Bool {
        try writing { (connection) throws(CatalogueError) in
            try connection.run(KeySQL.revoke, [.text(name), .integer(time)]) > 0
        }
    }

    /// Adds a line to the audit log; it outlives the process at once, and a power cut from the next durable step on.
    package func note(_ record: AuditRecord) throws(CatalogueError) {
        try writingSoon { (connection) throws(CatalogueError) in
            _ = try connection.run(
                KeySQL.note,
                [
                    .integer(record.at), .text(record.owner), .text(record.action), .text(record.target),
                    SQLValue(record.trace),
                ])
        }
    }

    /// Lines of the audit log behind a place in it, the oldest first, at most `maximumPageSize`.
    package func auditRecords(after sequence: Int64) throws(CatalogueError) -> [AuditRecord] {
        try reading { (connection) throws(CatalogueError) in
            try connection.all(KeySQL.notes, [.integer(sequence), .integer(Int64(Self.maximumPageSize))]) {
                (row) throws(CatalogueError) in
                var record = AuditRecord(
                    at: try row.integer(1), owner: try row.text(2), action: try row.text(3), target: try row.text(4),
                    trace: try row.optionalText(5))
                record.sequence = try row.integer(0)
                return record
            }
        }
    }

    /// What an owner keeps: bytes of artifacts and inputs and what uploads and jobs have reserved; jobs in flight.
    package func usage(of owner: String) throws(CatalogueError) -> (bytes: Int, jobs: Int) {
        try reading { (connection) throws(CatalogueError) in
            try connection.first(KeySQL.usage, [.text(owner)]) { (row) throws(CatalogueError) in
                (Int(try row.integer(0)), Int(try row.integer(1)))
            } ?? (0, 0)
        }
    }
}
