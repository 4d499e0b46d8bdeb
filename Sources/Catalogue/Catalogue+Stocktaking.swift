/// The statements that `gc` and `fsck` ask with; each goes along an index.
private enum StocktakingSQL {
    static let finishedJobs: StaticString =
        "SELECT count(*) FROM jobs WHERE finished_at IS NOT NULL AND finished_at < ?1"
    static let expiredKeys: StaticString = "SELECT count(*) FROM idempotency WHERE expires_at <= ?1"
    static let oldNotes: StaticString = "SELECT count(*) FROM audit WHERE at < ?1"

    static let removeExpired: StaticString = "DELETE FROM uploads WHERE id = ?1 AND expires_at <= ?2"
    static let owners: StaticString = "SELECT count(*) FROM inputs WHERE digest = ?1"
    static let digests: StaticString = """
        SELECT DISTINCT digest FROM inputs WHERE digest > ?1 ORDER BY digest LIMIT ?2
        """
    static let removeDigest: StaticString = "DELETE FROM inputs WHERE digest = ?1"
    static let begun: StaticString = """
        SELECT id, owner, length, received, reserved, metadata, query, location, created_at, expires_at
        FROM uploads WHERE location IS NULL AND received > 0 AND id > ?1 ORDER BY id LIMIT ?2
        """
}

/// Until when things are kept that nobody needs any more, in milliseconds since 1970.
package struct RetentionLimits: Sendable, Equatable {
    /// Jobs that ended before are forgotten.
    package var jobsFinishedBefore: Int64
    /// Idempotency keys that expired by then.
    package var keysExpiredBy: Int64
    /// Lines of the audit log from before.
    package var auditBefore: Int64

    /// Takes every moment as it is.
    package init(jobsFinishedBefore: Int64, keysExpiredBy: Int64, auditBefore: Int64) {
        self.jobsFinishedBefore = jobsFinishedBefore
        self.keysExpiredBy = keysExpiredBy
        self.auditBefore = auditBefore
    }
}

/// Rows by what they are of.
package struct RetainedRows: Sendable, Equatable {
    /// Jobs that are finished.
    package var jobs = 0
    /// Idempotency keys.
    package var keys = 0
    /// Lines of the audit log.
    package var notes = 0

    /// None.
    package init(jobs: Int = 0, keys: Int = 0, notes: Int = 0) {
        self.jobs = jobs
        self.keys = keys
        self.notes = notes
    }
}

extension Catalogue {
    /// How many rows `forget` would remove in the end.
    package func forgettable(_ limits: RetentionLimits) throws(CatalogueError) -> RetainedRows {
        try reading { (connection) throws(CatalogueError) in try connection.count(limits) }
    }

    /// Removes rows that have only been kept for a while, of jobs at most `maximumPageSize`; answers how many.
    package func forget(_ limits: RetentionLimits) throws(CatalogueError) -> RetainedRows {
        let found = try forgettable(limits)
        guard found != RetainedRows() else { return found }
        return try writing { (connection) throws(CatalogueError) in
            let before = try connection.count(limits)
            try connection.run(
                JobSQL.removeOld, [.integer(limits.jobsFinishedBefore), .integer(Int64(Self.maximumPageSize))])
            try connection.run(JobSQL.forget, [.integer(limits.keysExpiredBy)])
            try connection.run(KeySQL.forgetNotes, [.integer(limits.auditBefore)])
            let after = try connection.count(limits)
            return RetainedRows(
                jobs: before.jobs - after.jobs, keys: before.keys - after.keys, notes: before.notes - after.notes)
        }
    }

    /// Removes an upload's row if it has expired; false when it was continued since.
    package func removeExpiredUpload(_ id: String, at time: Int64) throws(CatalogueError) -> Bool {
        try writing { (connection) throws(CatalogueError) in
            try connection.run(StocktakingSQL.removeExpired, [.text(id), .integer(time)]) > 0
        }
    }

    /// How many owners have an input.
    package func ownersOfInput(_ digest: String) throws(CatalogueError) -> Int {
        try reading { (connection) throws(CatalogueError) in
            try connection.number(StocktakingSQL.owners, [.text(digest)])
        }
    }

    /// The digests of the inputs of all owners behind a digest, in ascending order, at most `maximumPageSize`.
    package func inputDigests(after digest: String) throws(CatalogueError) -> [String] {
        try reading { (connection) throws(CatalogueError) in
            try connection.all(StocktakingSQL.digests, [.text(digest), .integer(Int64(Self.maximumPageSize))]) {
                (row) throws(CatalogueError) in try row.text(0)
            }
        }
    }

    /// Removes an input of all its owners, whoever needs it: for bytes that are lost. Answers how many owners.
    package func removeLostInput(_ digest: String) throws(CatalogueError) -> Int {
        try writing { (connection) throws(CatalogueError) in
            let owners = try connection.number(StocktakingSQL.owners, [.text(digest)])
            try connection.run(StocktakingSQL.removeDigest, [.text(digest)])
            return owners
        }
    }

    /// Unfinished uploads of all owners of which bytes are acknowledged, behind an identifier, at most
    /// `maximumPageSize`.
    package func begunUploads(after id: String) throws(CatalogueError) -> [UploadRecord] {
        try reading { (connection) throws(CatalogueError) in
            try connection.all(StocktakingSQL.begun, [.text(id), .integer(Int64(Self.maximumPageSize))]) {
                (row) throws(CatalogueError) in try UploadRecord(row)
            }
        }
    }

    /// What SQLite finds wrong with the file (`PRAGMA integrity_check`); empty when nothing is.
    package func damages() throws(CatalogueError) -> [String] {
        try reading { (connection) throws(CatalogueError) in
            try connection.all("PRAGMA integrity_check") { (row) throws(CatalogueError) in try row.text(0) }
        }.filter { $0 != "ok" }
    }
}

extension Connection {
    fileprivate mutating func number(_ sql: StaticString, _ values: [SQLValue]) throws(CatalogueError) -> Int {
        try first(sql, values) { (row) throws(CatalogueError) in Int(try row.integer(0)) } ?? 0
    }

    fileprivate mutating func count(_ limits: RetentionLimits) throws(CatalogueError) -> RetainedRows {
        RetainedRows(
            jobs: try number(StocktakingSQL.finishedJobs, [.integer(limits.jobsFinishedBefore)]),
            keys: try number(StocktakingSQL.expiredKeys, [.integer(limits.keysExpiredBy)]),
            notes: try number(StocktakingSQL.oldNotes, [.integer(limits.auditBefore)]))
    }
}
