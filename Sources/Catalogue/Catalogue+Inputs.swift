/// The statements over the table `inputs`.
enum InputSQL {
    /// Who sends the same bytes again has one input, used anew; a declaration of raw bytes may change. Every use moves
    /// `used_at` on, within one millisecond and against the clock too: who made the row can tell that it was used.
    static let insert: StaticString = """
        INSERT INTO inputs (owner, digest, bytes, container, dtype, shape, created_at, used_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
        ON CONFLICT (owner, digest) DO UPDATE SET
            used_at = max(used_at + 1, excluded.used_at), container = excluded.container, dtype = excluded.dtype,
            shape = excluded.shape
        """

    static let one: StaticString = """
        SELECT owner, digest, bytes, container, dtype, shape, created_at, used_at
        FROM inputs WHERE owner = ?1 AND digest = ?2
        """

    static let page: StaticString = """
        SELECT owner, digest, bytes, container, dtype, shape, created_at, used_at
        FROM inputs WHERE owner = ?1 AND (created_at, digest) < (?2, ?3)
        ORDER BY created_at DESC, digest DESC LIMIT ?4
        """

    static let use: StaticString = "UPDATE inputs SET used_at = max(used_at + 1, ?3) WHERE owner = ?1 AND digest = ?2"

    static let needs: StaticString = """
        SELECT id FROM jobs WHERE owner = ?1 AND input = ?2 AND state IN ('queued', 'running')
        UNION ALL
        SELECT id FROM jobs WHERE owner = ?1 AND calibration = ?2 AND state IN ('queued', 'running')
        LIMIT 1
        """

    static let remove: StaticString = "DELETE FROM inputs WHERE owner = ?1 AND digest = ?2 AND used_at < ?3"

    static let anyOwner: StaticString = "SELECT 1 FROM inputs WHERE digest = ?1 LIMIT 1"

    static let unused: StaticString = """
        SELECT owner, digest, bytes, container, dtype, shape, created_at, used_at
        FROM inputs WHERE used_at < ?1 ORDER BY used_at LIMIT ?2
        """
}

extension Catalogue {
    /// Adds an input, or notes that its owner has sent it again; true when it is new to this owner.
    @discardableResult
    package func insert(_ input: InputRecord) throws(CatalogueError) -> Bool {
        try writing { (connection) throws(CatalogueError) in try Self.insert(input, connection: &connection) }
    }

    @discardableResult
    static func insert(_ input: InputRecord, connection: inout Connection) throws(CatalogueError) -> Bool {
        let isNew = try !connection.finds(InputSQL.one, [.text(input.owner), .text(input.digest)])
        try connection.run(InputSQL.insert, input.values)
        return isNew
    }

    /// The input of this digest (`sha256:<hex>`) and owner, or nil.
    package func input(_ digest: String, owner: String) throws(CatalogueError) -> InputRecord? {
        try reading { (connection) throws(CatalogueError) in
            try connection.first(InputSQL.one, [.text(owner), .text(digest)]) { (row) throws(CatalogueError) in
                try InputRecord(row)
            }
        }
    }

    /// One page of an owner's inputs, newest first, with the cursor of the next page.
    package func inputs(
        owner: String, after cursor: String?, limit: Int
    ) throws(CatalogueError) -> (items: [InputRecord], next: String?) {
        try page(after: cursor, limit: limit) { (position, limit, _, connection) throws(CatalogueError) in
            try connection.all(
                InputSQL.page,
                [.text(owner), .integer(position.createdAt), .text(position.id), .integer(Int64(limit))]
            ) { (row) throws(CatalogueError) in try InputRecord(row) }
        } cursor: {
            PageCursor(createdAt: $0.createdAt, id: $0.digest)
        }
    }

    /// Notes that an input is used, so that it does not expire; false when this owner has none.
    @discardableResult
    package func useInput(_ digest: String, owner: String, at time: Int64) throws(CatalogueError) -> Bool {
        try writing { (connection) throws(CatalogueError) in
            try connection.run(InputSQL.use, [.text(owner), .text(digest), .integer(time)]) > 0
        }
    }

    /// Removes an input's row, unless a job that is not finished needs it; with `unusedSince` only where it was not
    /// used at that time or later.
    package func removeInput(
        _ digest: String, owner: String, unusedSince: Int64? = nil
    ) throws(CatalogueError) -> Removal {
        try writing { (connection) throws(CatalogueError) in
            let values: [SQLValue] = [.text(owner), .text(digest)]
            let job = try connection.first(InputSQL.needs, values) { (row) throws(CatalogueError) in try row.text(0) }
            if let job { return .needed(job: job) }
            let limit = SQLValue.integer(unusedSince ?? .max)
            return try connection.run(InputSQL.remove, values + [limit]) > 0 ? .removed : .absent
        }
    }

    /// Whether any owner has an input of this digest.
    package func containsInput(_ digest: String) throws(CatalogueError) -> Bool {
        try reading { (connection) throws(CatalogueError) in
            try connection.finds(InputSQL.anyOwner, [.text(digest)])
        }
    }

    /// Inputs that nobody has used since a time, the longest unused first, at most `maximumPageSize`.
    package func inputsUnused(since time: Int64) throws(CatalogueError) -> [InputRecord] {
        try reading { (connection) throws(CatalogueError) in
            try connection.all(InputSQL.unused, [.integer(time), .integer(Int64(Self.maximumPageSize))]) {
                (row) throws(CatalogueError) in try InputRecord(row)
            }
        }
    }
}
