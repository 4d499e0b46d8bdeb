import Synchronization

/// The durable record of artifacts in one SQLite file: a row is the moment at which an artifact exists for its owner.
///
/// Write-ahead log with `synchronous=FULL`: what a call acknowledged survives a crash of the process and a power cut.
/// One connection writes, one reads and one looks up keys, each behind a mutex, so a list never waits for a commit's
/// fsync, and a request's key never for a list.
package final class Catalogue: Sendable {
    /// The most rows that one page of a list can have.
    package static let maximumPageSize = 1_000
    /// Bytes of manifests or recipes after which a page ends, however few its rows are: one that names each of very
    /// many tensors has millions.
    package static let maximumPageBytes = 8 << 20

    private let writer: Mutex<Connection>
    private let reader: Mutex<Connection>
    private let keyReader: Mutex<Connection>

    /// Opens the catalogue, creating it or bringing an older one up to date.
    ///
    /// Throws `newerSchema` for a file written by a later version of the program.
    package init(path: String) throws(CatalogueError) {
        var writing = try Connection(path: path)
        // Before anything else, because choosing the journal already writes to the file.
        try Schema.refuseNewer(&writing)
        try Self.configure(&writing)
        try Schema.migrate(&writing)
        reader = Mutex(try Self.readingConnection(path))
        keyReader = Mutex(try Self.readingConnection(path))
        writer = Mutex(writing)
    }

    private static func readingConnection(_ path: String) throws(CatalogueError) -> Connection {
        var reading = try Connection(path: path)
        try configure(&reading)
        try reading.execute("PRAGMA query_only = ON")
        return reading
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

    /// Runs `body` in one durable transaction.
    func writing<Outcome: Sendable>(
        _ body: (inout Connection) throws(CatalogueError) -> Outcome
    ) throws(CatalogueError) -> Outcome {
        try writer.withLock { (connection) throws(CatalogueError) in
            try connection.beDurable()
            return try connection.transaction(body)
        }
    }

    /// Runs `body` in one transaction that waits for no fsync; the next one of `writing` makes it durable too.
    func writingSoon<Outcome: Sendable>(
        _ body: (inout Connection) throws(CatalogueError) -> Outcome
    ) throws(CatalogueError) -> Outcome {
        try writer.withLock { (connection) throws(CatalogueError) in
            try connection.execute("PRAGMA synchronous = NORMAL")
            connection.isDurable = false
            let outcome = try connection.transaction(body)
            try connection.beDurable()
            return outcome
        }
    }

    /// Runs `body` on the connection that only reads.
    func reading<Outcome: Sendable>(
        _ body: (inout Connection) throws(CatalogueError) -> Outcome
    ) throws(CatalogueError) -> Outcome {
        try reader.withLock { (connection) throws(CatalogueError) in try body(&connection) }
    }

    /// Runs `body` on the connection that looks up keys: for the loops of the server, which must not wait.
    func lookingUpKeys<Outcome: Sendable>(
        _ body: (inout Connection) throws(CatalogueError) -> Outcome
    ) throws(CatalogueError) -> Outcome {
        try keyReader.withLock { (connection) throws(CatalogueError) in try body(&connection) }
    }

    /// One page of a list: `rows` reads at most so many behind a position, and none behind the one that it is told to
    /// be the last; `cursor` says where a row stands, `bytes` what it weighs.
    ///
    /// `limit` is brought into 1...`maximumPageSize`. A row added or removed between two pages moves no other row.
    /// Throws `invalidCursor` for a cursor that no page gave out.
    func page<Item: Sendable>(
        after cursor: String?, limit: Int, bytes: @escaping (Item) -> Int = { _ in 0 },
        rows: (PageCursor, Int, (Item) -> Bool, inout Connection) throws(CatalogueError) -> [Item],
        cursor position: (Item) -> PageCursor
    ) throws(CatalogueError) -> (items: [Item], next: String?) {
        var start = PageCursor.start
        if let cursor {
            guard let given = PageCursor(cursor) else { throw .invalidCursor(cursor) }
            start = given
        }
        let limit = min(max(limit, 1), Self.maximumPageSize)
        let meter = PageMeter()
        let found = try reading { (connection) throws(CatalogueError) in
            try rows(start, limit + 1, { meter.isFull(with: bytes($0)) }, &connection)
        }
        // What was read last only says that there is more.
        guard found.count > limit || meter.isOver, let last = found.dropLast().last else { return (found, nil) }
        return (found.dropLast(), position(last).text)
    }

    /// Adds artifacts, all or none; false, and nothing changed, for each whose identifier exists already.
    package func insert(_ records: [ArtifactRecord]) throws(CatalogueError) -> [Bool] {
        try writing { (connection) throws(CatalogueError) in
            var isNew: [Bool] = []
            for record in records { isNew.append(try connection.run(ArtifactSQL.insert, record.values) > 0) }
            return isNew
        }
    }

    /// The artifact of this identifier and owner, or nil.
    package func artifact(_ id: String, owner: String) throws(CatalogueError) -> ArtifactRecord? {
        try reading { (connection) throws(CatalogueError) in
            try connection.first(ArtifactSQL.one, [.text(id), .text(owner)]) { (row) throws(CatalogueError) in
                try ArtifactRecord(row)
            }
        }
    }

    /// One page of an owner's artifacts, newest first, with the cursor of the next page.
    package func artifacts(
        owner: String, after cursor: String?, limit: Int, method: String?, name: String?
    ) throws(CatalogueError) -> (items: [ArtifactRecord], next: String?) {
        try page(after: cursor, limit: limit, bytes: \.manifest.utf8.count) {
            (position, limit, isLast, connection) throws(CatalogueError) in
            let (sql, values) = ArtifactSQL.page(
                owner: owner, method: method, name: name, before: position, limit: limit)
            return try connection.all(sql, values, upTo: isLast) { (row) throws(CatalogueError) in
                try ArtifactRecord(row)
            }
        } cursor: {
            PageCursor(createdAt: $0.createdAt, id: $0.id)
        }
    }

    /// The newest artifacts that an owner has of one input (`sha256:<hex>`), at most `maximumPageSize` and few beyond
    /// `maximumPageBytes`.
    package func artifacts(
        owner: String, ofInput digest: String, limit: Int
    ) throws(CatalogueError) -> [ArtifactRecord] {
        let limit = min(max(limit, 1), Self.maximumPageSize)
        let meter = PageMeter()
        return try reading { (connection) throws(CatalogueError) in
            try connection.all(
                ArtifactSQL.ofInput, [.text(owner), .text(digest), .integer(Int64(limit))],
                upTo: { meter.isFull(with: $0.manifest.utf8.count) }
            ) { (row) throws(CatalogueError) in try ArtifactRecord(row) }
        }
    }

    /// Every artifact after an identifier, in the order of identifiers, at most `maximumPageSize`: for a check of all.
    package func allArtifacts(after id: String) throws(CatalogueError) -> [ArtifactRecord] {
        try reading { (connection) throws(CatalogueError) in
            try connection.all(ArtifactSQL.everyOne, [.text(id), .integer(Int64(Self.maximumPageSize))]) {
                (row) throws(CatalogueError) in try ArtifactRecord(row)
            }
        }
    }

    /// Removes an artifact's row; false when this owner has no such artifact.
    package func remove(_ id: String, owner: String) throws(CatalogueError) -> Bool {
        try writing { (connection) throws(CatalogueError) in
            try connection.run(ArtifactSQL.remove, [.text(id), .text(owner)]) > 0
        }
    }

    /// Whether any owner has an artifact of this identifier.
    package func contains(_ id: String) throws(CatalogueError) -> Bool {
        try reading { (connection) throws(CatalogueError) in try connection.finds(ArtifactSQL.contains, [.text(id)]) }
    }

    /// The number of artifacts of all owners and the sum of their content bytes.
    package func totals() throws(CatalogueError) -> (count: Int, bytes: Int) {
        try reading { (connection) throws(CatalogueError) in
            try connection.first(ArtifactSQL.totals) { (row) throws(CatalogueError) in
                (Int(try row.integer(0)), Int(try row.integer(1)))
            } ?? (0, 0)
        }
    }

    /// Reads one row, for readiness; throws when the catalogue cannot answer.
    package func check() throws(CatalogueError) {
        _ = try totals()
    }
}
