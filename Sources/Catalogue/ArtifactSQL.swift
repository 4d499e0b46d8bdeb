/// The statements over the table `artifacts`, and how its rows are read.
enum ArtifactSQL {
    static let insert: StaticString = """
        INSERT INTO artifacts (
            id, owner, name, method, format, mode, input_digest, input_bytes, bytes, digest, manifest, created_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
        ON CONFLICT (id) DO NOTHING
        """

    static let one: StaticString = """
        SELECT id, owner, name, method, format, mode, input_digest, input_bytes, bytes, digest, manifest, created_at
        FROM artifacts WHERE id = ?1 AND owner = ?2
        """

    static let remove: StaticString = "DELETE FROM artifacts WHERE id = ?1 AND owner = ?2"

    static let contains: StaticString = "SELECT 1 FROM artifacts WHERE id = ?1"

    static let totals: StaticString = "SELECT count, bytes FROM totals"

    static let page: StaticString = """
        SELECT id, owner, name, method, format, mode, input_digest, input_bytes, bytes, digest, manifest, created_at
        FROM artifacts WHERE owner = ?1 AND (created_at, id) < (?2, ?3)
        ORDER BY created_at DESC, id DESC LIMIT ?4
        """

    static let pageByMethod: StaticString = """
        SELECT id, owner, name, method, format, mode, input_digest, input_bytes, bytes, digest, manifest, created_at
        FROM artifacts WHERE owner = ?1 AND method = ?5 AND (created_at, id) < (?2, ?3)
        ORDER BY created_at DESC, id DESC LIMIT ?4
        """

    static let pageByName: StaticString = """
        SELECT id, owner, name, method, format, mode, input_digest, input_bytes, bytes, digest, manifest, created_at
        FROM artifacts WHERE owner = ?1 AND name = ?5 AND (created_at, id) < (?2, ?3)
        ORDER BY created_at DESC, id DESC LIMIT ?4
        """

    /// A name is rarer than a method: the index over names finds the rows and the method only narrows them.
    static let pageByNameAndMethod: StaticString = """
        SELECT id, owner, name, method, format, mode, input_digest, input_bytes, bytes, digest, manifest, created_at
        FROM artifacts INDEXED BY artifacts_by_name
        WHERE owner = ?1 AND name = ?5 AND method = ?6 AND (created_at, id) < (?2, ?3)
        ORDER BY created_at DESC, id DESC LIMIT ?4
        """

    static let ofInput: StaticString = """
        SELECT id, owner, name, method, format, mode, input_digest, input_bytes, bytes, digest, manifest, created_at
        FROM artifacts WHERE owner = ?1 AND input_digest = ?2
        ORDER BY created_at DESC, id DESC LIMIT ?3
        """

    static let everyOne: StaticString = """
        SELECT id, owner, name, method, format, mode, input_digest, input_bytes, bytes, digest, manifest, created_at
        FROM artifacts WHERE id > ?1 ORDER BY id LIMIT ?2
        """

    /// The statement and its values for one page; each combination of filters has a statement that an index serves.
    static func page(
        owner: String, method: String?, name: String?, before position: PageCursor, limit: Int
    ) -> (StaticString, [SQLValue]) {
        let values: [SQLValue] = [
            .text(owner), .integer(position.createdAt), .text(position.id), .integer(Int64(limit)),
        ]
        return switch (name, method) {
        case (nil, nil): (page, values)
        case (nil, let method?): (pageByMethod, values + [.text(method)])
        case (let name?, nil): (pageByName, values + [.text(name)])
        case (let name?, let method?): (pageByNameAndMethod, values + [.text(name), .text(method)])
        }
    }
}

extension ArtifactRecord {
    /// Reads a row of `ArtifactSQL.one` or of a page.
    init(_ row: borrowing Row) throws(CatalogueError) {
        try self.init(
            id: row.text(0), owner: row.text(1), name: row.optionalText(2), method: row.text(3), format: row.text(4),
            mode: row.text(5), inputDigest: row.text(6), inputBytes: Int(row.integer(7)), bytes: Int(row.integer(8)),
            digest: row.text(9), manifest: row.text(10), createdAt: row.integer(11))
    }
}

extension ArtifactRecord {
    /// The columns in the order of `ArtifactSQL.insert`.
    var values: [SQLValue] {
        [
            .text(id), .text(owner), SQLValue(name), .text(method), .text(format), .text(mode), .text(inputDigest),
            .integer(Int64(inputBytes)), .integer(Int64(bytes)), .text(digest), .text(manifest), .integer(createdAt),
        ]
    }
}
