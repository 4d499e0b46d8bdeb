import Jobs

/// The statements over the table `jobs`, and how its rows are read.
enum JobSQL {
    static let insert: StaticString = """
        INSERT INTO jobs (
            id, owner, input, recipe, calibration, artifact, state, attempts, memory, reserved, total_bytes,
            is_cancel_wanted, problem, created_at, started_at, finished_at, not_before)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
        """

    static let one: StaticString = """
        SELECT sequence, id, owner, input, recipe, calibration, artifact, state, attempts, memory, reserved,
            total_bytes, is_cancel_wanted, problem, created_at, started_at, finished_at, not_before
        FROM jobs WHERE id = ?1 AND owner = ?2
        """

    static let liveOfArtifact: StaticString = """
        SELECT sequence, id, owner, input, recipe, calibration, artifact, state, attempts, memory, reserved,
            total_bytes, is_cancel_wanted, problem, created_at, started_at, finished_at, not_before
        FROM jobs WHERE artifact = ?1 AND owner = ?2 AND state IN ('queued', 'running')
        """

    static let page: StaticString = """
        SELECT sequence, id, owner, input, recipe, calibration, artifact, state, attempts, memory, reserved,
            total_bytes, is_cancel_wanted, problem, created_at, started_at, finished_at, not_before
        FROM jobs WHERE owner = ?1 AND sequence < ?2 ORDER BY sequence DESC LIMIT ?3
        """

    static let pageByState: StaticString = """
        SELECT sequence, id, owner, input, recipe, calibration, artifact, state, attempts, memory, reserved,
            total_bytes, is_cancel_wanted, problem, created_at, started_at, finished_at, not_before
        FROM jobs WHERE owner = ?1 AND state = ?4 AND sequence < ?2 ORDER BY sequence DESC LIMIT ?3
        """

    /// The owners with work that may begin, each found by one step in the index.
    static let nextOwner: StaticString = """
        SELECT owner FROM jobs WHERE state = 'queued' AND owner > ?1 ORDER BY owner LIMIT 1
        """

    static let firstQueued: StaticString = """
        SELECT sequence, id, owner, input, recipe, calibration, artifact, state, attempts, memory, reserved,
            total_bytes, is_cancel_wanted, problem, created_at, started_at, finished_at, not_before
        FROM jobs WHERE state = 'queued' AND owner = ?1 AND not_before <= ?2
        ORDER BY not_before, sequence LIMIT 1
        """

    /// A row moves only from the state that its mover believes it in.
    static let move: StaticString = """
        UPDATE jobs SET state = ?2, attempts = ?3, reserved = ?4, problem = ?5, started_at = ?6, finished_at = ?7,
            not_before = ?8, checkpoint = CASE WHEN ?2 IN ('queued', 'running') THEN checkpoint END
        WHERE id = ?1 AND state = ?9
        """

    static let cancel: StaticString = "UPDATE jobs SET is_cancel_wanted = 1 WHERE id = ?1 AND owner = ?2"

    static let checkpoint: StaticString = "UPDATE jobs SET checkpoint = ?2 WHERE id = ?1 AND state = 'running'"

    static let checkpointOf: StaticString = "SELECT checkpoint FROM jobs WHERE id = ?1"

    static let interrupted: StaticString = """
        UPDATE jobs SET state = 'queued', not_before = 0 WHERE state = 'running'
        """

    static let contains: StaticString = "SELECT 1 FROM jobs WHERE id = ?1 AND state IN ('queued', 'running')"

    static let remove: StaticString = """
        DELETE FROM jobs WHERE id = ?1 AND owner = ?2 AND state NOT IN ('queued', 'running')
        """

    static let removeOld: StaticString = """
        DELETE FROM jobs WHERE sequence IN (
            SELECT sequence FROM jobs WHERE finished_at IS NOT NULL AND finished_at < ?1 ORDER BY finished_at LIMIT ?2)
        """

    static let totals: StaticString = "SELECT state, count FROM job_totals"

    static let keyed: StaticString =
        "SELECT fingerprint, job, expires_at FROM idempotency WHERE owner = ?1 AND key = ?2"

    static let remember: StaticString = """
        INSERT INTO idempotency (owner, key, fingerprint, job, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (owner, key) DO UPDATE SET
            fingerprint = excluded.fingerprint, job = excluded.job, expires_at = excluded.expires_at
        """

    static let forget: StaticString = """
        DELETE FROM idempotency WHERE expires_at <= ?1
        """
}

extension JobRecord {
    init(_ row: borrowing Row) throws(CatalogueError) {
        guard let state = JobState(rawValue: try row.text(7)) else { throw .corruptRow(column: 7) }
        try self.init(
            id: row.text(1), owner: row.text(2), input: row.text(3), recipe: row.text(4), artifact: row.text(6),
            createdAt: row.integer(14))
        sequence = try row.integer(0)
        calibration = try row.optionalText(5)
        self.state = state
        attempts = Int(try row.integer(8))
        memory = Int(try row.integer(9))
        reserved = Int(try row.integer(10))
        totalBytes = Int(try row.integer(11))
        isCancelWanted = try row.integer(12) != 0
        problem = try row.optionalText(13)
        startedAt = try row.optionalInteger(15)
        finishedAt = try row.optionalInteger(16)
        notBefore = try row.integer(17)
    }

    /// The columns in the order of `JobSQL.insert`.
    var values: [SQLValue] {
        [
            .text(id), .text(owner), .text(input), .text(recipe), SQLValue(calibration), .text(artifact),
            .text(state.rawValue), .integer(Int64(attempts)), .integer(Int64(memory)), .integer(Int64(reserved)),
            .integer(Int64(totalBytes)), .integer(isCancelWanted ? 1 : 0), SQLValue(problem), .integer(createdAt),
            SQLValue(startedAt), SQLValue(finishedAt), .integer(notBefore),
        ]
    }

    /// The values of `JobSQL.move`, from the state in which the row must be.
    func moved(from state: JobState) -> [SQLValue] {
        [
            .text(id), .text(self.state.rawValue), .integer(Int64(attempts)), .integer(Int64(reserved)),
            SQLValue(problem), SQLValue(startedAt), SQLValue(finishedAt), .integer(notBefore), .text(state.rawValue),
        ]
    }
}
