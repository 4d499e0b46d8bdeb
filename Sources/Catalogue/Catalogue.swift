import Synchronization

/// The durable record of artifacts in one SQLite file: a row is the moment at which an artifact exists for its owner.
///
/// Write-ahead log with `synchronous=FULL`: what a call acknowledged survives a crash of the process and a power cut.
/// One connection writes and one reads, each behind a mutex, so a list never waits for a commit's fsync.
package final class Catalogue: Sendable {
    /// The most rows that one page of a list can have.
    package static let maximumPageSize = 1_000

    private let writer: Mutex<Connection>
    private let reader: Mutex<Connection>

    /// Opens the catalogue, creating it or bringing an older one up to date.
    ///
    /// Throws `newerSchema` for a file written by a later version of the program.
    package init(path: String) throws(CatalogueError) {
        var writing = try Connection(path: path)
        // Before anything else, because choosing the journal already writes to the file.
        try Schema.refuseNewer(&writing)
        try Self.configure(&writing)
        try Schema.migrate(&writing)
        var reading = try Connection(path: path)
        try Self.configure(&reading)
        try reading.execute("PRAGMA query_only = ON")
        writer = Mutex(writing)
        reader = Mutex(reading)
    }

    /// Sets what holds for every connection; throws `unsupportedJournal` where the log cannot be had.
    static func configure(_ connection: inout Connection) throws(CatalogueError) {
        var mode = ""
        try connection.run("PRAGMA journal_mode = WAL") { (row) throws(CatalogueError) in mode = try row.text(0) }
        guard mode == "wal" else { throw .unsupportedJournal(mode) }
        try connection.execute(
            """
            PRAGMA synchronous = FULL;
            PRAGMA foreign_keys = ON;
            PRAGMA trusted_schema = OFF;
            """)
    }

    /// Adds artifacts, all or none; false, and nothing changed, for each whose identifier exists already.
    package func insert(_ records: [ArtifactRecord]) throws(CatalogueError) -> [Bool] {
        var isNew: [Bool] = []
        try writer.withLock { (connection) throws(CatalogueError) in
            try connection.transaction { (connection) throws(CatalogueError) in
                for record in records { isNew.append(try connection.run(ArtifactSQL.insert, record.values) > 0) }
            }
        }
        return isNew
    }

    /// The artifact of this identifier and owner, or nil.
    package func artifact(_ id: String, owner: String) throws(CatalogueError) -> ArtifactRecord? {
        try reader.withLock { (connection) throws(CatalogueError) in
            var found: ArtifactRecord?
            try connection.run(ArtifactSQL.one, [.text(id), .text(owner)]) { (row) throws(CatalogueError) in
                found = try ArtifactRecord(row)
            }
            return found
        }
    }

    /// One page of an owner's artifacts, newest first, with the cursor of the next page.
    ///
    /// `limit` is brought into 1...`maximumPageSize`. A row added or removed between two pages moves no other row.
    /// Throws `invalidCursor` for a cursor that no page gave out.
    package func artifacts(
        owner: String, after cursor: String?, limit: Int, method: String?, name: String?
    ) throws(CatalogueError) -> (items: [ArtifactRecord], next: String?) {
        var position = PageCursor.start
        if let cursor {
            guard let given = PageCursor(cursor) else { throw .invalidCursor(cursor) }
            position = given
        }
        let limit = min(max(limit, 1), Self.maximumPageSize)
        let (sql, values) = ArtifactSQL.page(
            owner: owner, method: method, name: name, before: position, limit: limit + 1)
        let rows = try reader.withLock { (connection) throws(CatalogueError) in
            var rows: [ArtifactRecord] = []
            try connection.run(sql, values) { (row) throws(CatalogueError) in rows.append(try ArtifactRecord(row)) }
            return rows
        }
        guard rows.count > limit, let last = rows.dropLast().last else { return (rows, nil) }
        return (rows.dropLast(), PageCursor(createdAt: last.createdAt, id: last.id).text)
    }

    /// The newest artifacts that an owner has of one input (`sha256:<hex>`), at most `maximumPageSize`.
    package func artifacts(
        owner: String, ofInput digest: String, limit: Int
    ) throws(CatalogueError) -> [ArtifactRecord] {
        let limit = min(max(limit, 1), Self.maximumPageSize)
        return try reader.withLock { (connection) throws(CatalogueError) in
            var rows: [ArtifactRecord] = []
            try connection.run(ArtifactSQL.ofInput, [.text(owner), .text(digest), .integer(Int64(limit))]) {
                (row) throws(CatalogueError) in rows.append(try ArtifactRecord(row))
            }
            return rows
        }
    }

    /// Removes an artifact's row; false when this owner has no such artifact.
    package func remove(_ id: String, owner: String) throws(CatalogueError) -> Bool {
        try writer.withLock { (connection) throws(CatalogueError) in
            try connection.run(ArtifactSQL.remove, [.text(id), .text(owner)]) > 0
        }
    }

    /// Whether any owner has an artifact of this identifier.
    package func contains(_ id: String) throws(CatalogueError) -> Bool {
        try reader.withLock { (connection) throws(CatalogueError) in
            var found = false
            try connection.run(ArtifactSQL.contains, [.text(id)]) { _ in found = true }
            return found
        }
    }

    /// The number of artifacts of all owners and the sum of their content bytes.
    package func totals() throws(CatalogueError) -> (count: Int, bytes: Int) {
        try reader.withLock { (connection) throws(CatalogueError) in
            var totals = (count: 0, bytes: 0)
            try connection.run(ArtifactSQL.totals) { (row) throws(CatalogueError) in
                totals = (Int(try row.integer(0)), Int(try row.integer(1)))
            }
            return totals
        }
    }

    /// Reads one row, for readiness; throws when the catalogue cannot answer.
    package func check() throws(CatalogueError) {
        _ = try totals()
    }
}
