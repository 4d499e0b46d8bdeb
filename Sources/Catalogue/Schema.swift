/// The tables of the catalogue and how an older file is brought up to them.
enum Schema {
    /// The version that this program writes (`PRAGMA user_version`).
    static let version = steps.count

    /// Step `n` leads from version `n` to `n + 1`. A published step is never edited: a change is a further step.
    static let steps: [StaticString] = [
        """
        CREATE TABLE artifacts (
            id           TEXT NOT NULL PRIMARY KEY,
            owner        TEXT NOT NULL,
            name         TEXT,
            method       TEXT NOT NULL,
            format       TEXT NOT NULL,
            mode         TEXT NOT NULL,
            input_digest TEXT NOT NULL,
            input_bytes  INTEGER NOT NULL,
            bytes        INTEGER NOT NULL,
            digest       TEXT NOT NULL,
            manifest     TEXT NOT NULL,
            created_at   INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX artifacts_by_owner ON artifacts (owner, created_at, id);
        CREATE INDEX artifacts_by_method ON artifacts (owner, method, created_at, id);
        CREATE INDEX artifacts_by_name ON artifacts (owner, name, created_at, id);

        -- Kept by triggers, because counting the rows at every scrape of the metrics would read the whole table.
        CREATE TABLE totals (
            only  INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
            count INTEGER NOT NULL,
            bytes INTEGER NOT NULL
        ) STRICT;
        INSERT INTO totals VALUES (1, 0, 0);
        CREATE TRIGGER artifact_added AFTER INSERT ON artifacts BEGIN
            UPDATE totals SET count = count + 1, bytes = bytes + new.bytes;
        END;
        CREATE TRIGGER artifact_removed AFTER DELETE ON artifacts BEGIN
            UPDATE totals SET count = count - 1, bytes = bytes - old.bytes;
        END;
        PRAGMA user_version = 1;
        """,
        """
        CREATE INDEX artifacts_by_input ON artifacts (owner, input_digest, created_at, id);
        PRAGMA user_version = 2;
        """,
        DurableWorkSchema.step,
        DurableWorkSchema.countsRecipes,
    ]

    /// Throws `newerSchema` when the file is ahead of this program.
    static func refuseNewer(_ connection: inout Connection) throws(CatalogueError) {
        _ = try foundVersion(&connection)
    }

    /// Brings the file up to `version`, one transaction in all; throws `newerSchema` when it is ahead of this program.
    static func migrate(_ connection: inout Connection) throws(CatalogueError) {
        try connection.transaction { (connection) throws(CatalogueError) in
            for step in steps[try foundVersion(&connection)...] { try connection.execute(step) }
        }
    }

    private static func foundVersion(_ connection: inout Connection) throws(CatalogueError) -> Int {
        var found = 0
        try connection.run("PRAGMA user_version") { (row) throws(CatalogueError) in found = Int(try row.integer(0)) }
        guard (0...version).contains(found) else { throw .newerSchema(found: found, supported: version) }
        return found
    }
}
