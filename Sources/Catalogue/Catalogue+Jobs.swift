package import Jobs

/// What a client says so that a request sent twice is done once (draft-ietf-httpapi-idempotency-key-header-07).
package struct IdempotencyKey: Sendable, Equatable {
    /// The key as the client chose it.
    package let key: String
    /// What the request asks for: the same key with another one is refused.
    package let fingerprint: String
    /// When the key is forgotten, in milliseconds since 1970.
    package let expiresAt: Int64

    /// Takes every field as it is.
    package init(key: String, fingerprint: String, expiresAt: Int64) {
        self.key = key
        self.fingerprint = fingerprint
        self.expiresAt = expiresAt
    }
}

/// What became of the wish for a job.
package enum Enqueued: Sendable, Equatable {
    /// It is recorded.
    case new(JobRecord)
    /// The same owner has the same work in flight.
    case alike(JobRecord)
    /// The key was used for this very request before.
    case repeated(JobRecord)
    /// The key was used for another request.
    case keyInUse
    /// The key was used for this request, and its job has been removed since.
    case removed
    /// Its input, or its calibration data, has been removed since it was looked at.
    case inputAbsent
}

extension Catalogue {
    /// Records a job, in one durable step with its key; what its owner has in flight already is not begun again.
    package func enqueue(
        _ job: JobRecord, key: IdempotencyKey? = nil
    ) throws(CatalogueError) -> Enqueued {
        try writing { (connection) throws(CatalogueError) in
            if let key, let before = try Self.repeated(job.owner, key, job.createdAt, &connection) { return before }
            let values: [SQLValue] = [.text(job.artifact), .text(job.owner)]
            let alike = job.state.isFinal ? nil : try connection.job(JobSQL.liveOfArtifact, values)
            // From this commit on the job keeps its inputs from being removed.
            for input in [job.input, job.calibration].compactMap({ $0 }) where !job.state.isFinal {
                let isThere = try connection.finds(InputSQL.one, [.text(job.owner), .text(input)])
                guard isThere else { return .inputAbsent }
            }
            if alike == nil { try connection.run(JobSQL.insert, job.values) }
            let id = alike?.id ?? job.id
            if let key {
                let values: [SQLValue] = [
                    .text(job.owner), .text(key.key), .text(key.fingerprint), .text(id), .integer(key.expiresAt),
                ]
                try connection.run(JobSQL.remember, values)
            }
            if let alike { return .alike(alike) }
            let recorded = try connection.job(JobSQL.one, [.text(id), .text(job.owner)])
            return .new(recorded ?? job)
        }
    }

    /// What an owner's key was used for before; nil for one that is new, or expired at `now`. It holds whatever has
    /// become of the job's input since.
    package func repeated(
        _ key: IdempotencyKey, owner: String, now: Int64
    ) throws(CatalogueError) -> Enqueued? {
        try reading { (connection) throws(CatalogueError) in try Self.repeated(owner, key, now, &connection) }
    }

    /// The owner's job in flight that does the same; nil for a job that would be new.
    package func alike(_ job: JobRecord) throws(CatalogueError) -> Enqueued? {
        if job.state.isFinal { return nil }
        return try reading { (connection) throws(CatalogueError) in
            try connection.job(JobSQL.liveOfArtifact, [.text(job.artifact), .text(job.owner)]).map(Enqueued.alike)
        }
    }

    private static func repeated(
        _ owner: String, _ key: IdempotencyKey, _ now: Int64, _ connection: inout Connection
    ) throws(CatalogueError) -> Enqueued? {
        let values: [SQLValue] = [.text(owner), .text(key.key)]
        let known = try connection.first(JobSQL.keyed, values) { (row) throws(CatalogueError) in
            (try row.text(0), try row.text(1), try row.integer(2))
        }
        guard let (fingerprint, id, expiresAt) = known, expiresAt > now else { return nil }
        guard fingerprint == key.fingerprint else { return .keyInUse }
        return try connection.job(JobSQL.one, [.text(id), .text(owner)]).map(Enqueued.repeated) ?? .removed
    }

    /// The job of this identifier and owner, or nil.
    package func job(_ id: String, owner: String) throws(CatalogueError) -> JobRecord? {
        try reading { (connection) throws(CatalogueError) in
            try connection.job(JobSQL.one, [.text(id), .text(owner)])
        }
    }

    /// One page of an owner's jobs, newest first, with the cursor of the next page.
    package func jobs(
        owner: String, state: JobState?, after cursor: String?, limit: Int
    ) throws(CatalogueError) -> (items: [JobRecord], next: String?) {
        try page(after: cursor, limit: limit, bytes: \.recipe.utf8.count) {
            (position, limit, isLast, connection) throws(CatalogueError) in
            let values: [SQLValue] = [.text(owner), .integer(position.createdAt), .integer(Int64(limit))]
            guard let state else { return try connection.jobs(JobSQL.page, values, upTo: isLast) }
            return try connection.jobs(JobSQL.pageByState, values + [.text(state.rawValue)], upTo: isLast)
        } cursor: {
            PageCursor(createdAt: $0.sequence, id: $0.id)
        }
    }

    /// Gives the next job to a worker: the owners take turns, each with its oldest job that may begin by `now` and
    /// needs at most `memory` bytes. `owner` is whose job was given last.
    package func claimJob(
        after owner: String, memory: Int, now: Int64
    ) throws(CatalogueError) -> JobRecord? {
        try writing { (connection) throws(CatalogueError) in
            var (candidate, hasWrapped) = (owner, false)
            while true {
                let next = try connection.first(JobSQL.nextOwner, [.text(candidate)]) {
                    (row) throws(CatalogueError) in try row.text(0)
                }
                guard let next, !hasWrapped || next <= owner else {
                    // No owner is called by the empty name, so that the turn begins anew with the first of all.
                    if hasWrapped || owner.isEmpty { return nil }
                    (candidate, hasWrapped) = ("", true)
                    continue
                }
                candidate = next
                guard var job = try connection.job(JobSQL.firstQueued, [.text(next), .integer(now)]),
                    job.memory <= memory
                else { continue }
                job.state = .running
                job.attempts += 1
                job.startedAt = now
                try connection.run(JobSQL.move, job.moved(from: .queued))
                return job
            }
        }
    }

    /// Writes where a job stands; false, and nothing changed, when its row is not in the state `from` any more.
    package func moveJob(_ job: JobRecord, from state: JobState) throws(CatalogueError) -> Bool {
        try writing { (connection) throws(CatalogueError) in
            try connection.run(JobSQL.move, job.moved(from: state)) > 0
        }
    }

    /// Ends a job with its artifact, in one durable step; false when the row is not `running` any more.
    package func succeedJob(_ job: JobRecord, with artifact: ArtifactRecord?) throws(CatalogueError) -> Bool {
        try writing { (connection) throws(CatalogueError) in
            guard try connection.run(JobSQL.move, job.moved(from: .running)) > 0 else { return false }
            if let artifact { try connection.run(ArtifactSQL.insert, artifact.values) }
            return true
        }
    }

    /// Notes that an owner wants a job to end; the job as it was then, or nil.
    package func wantCancel(_ id: String, owner: String) throws(CatalogueError) -> JobRecord? {
        try writing { (connection) throws(CatalogueError) in
            let values: [SQLValue] = [.text(id), .text(owner)]
            try connection.run(JobSQL.cancel, values)
            return try connection.job(JobSQL.one, values)
        }
    }

    /// Records from where a running job can go on.
    package func checkpointJob(_ id: String, _ state: [UInt8]) throws(CatalogueError) {
        try writing { (connection) throws(CatalogueError) in
            _ = try connection.run(JobSQL.checkpoint, [.text(id), .bytes(state)])
        }
    }

    /// What was recorded last.
    package func jobCheckpoint(_ id: String) throws(CatalogueError) -> [UInt8]? {
        try reading { (connection) throws(CatalogueError) in
            try connection.first(JobSQL.checkpointOf, [.text(id)]) { (row) throws(CatalogueError) in
                try row.optionalBytes(0)
            } ?? nil
        }
    }

    /// Puts the jobs that a crash ended back into the queue; answers how many they were.
    package func requeueInterruptedJobs() throws(CatalogueError) -> Int {
        try writing { (connection) throws(CatalogueError) in
            // Triggers change rows too: the rows are counted before.
            let count = try connection.first("SELECT count FROM job_totals WHERE state = 'running'") {
                (row) throws(CatalogueError) in Int(try row.integer(0))
            }
            try connection.run(JobSQL.interrupted)
            return count ?? 0
        }
    }

    /// Whether a job of this identifier is not finished: its work folder is needed.
    package func needsWork(_ id: String) throws(CatalogueError) -> Bool {
        try reading { (connection) throws(CatalogueError) in
            if try connection.finds(JobSQL.contains, [.text(id)]) { return true }
            return try connection.finds("SELECT 1 FROM uploads WHERE id = ?1 AND location IS NULL", [.text(id)])
        }
    }

    /// Removes a finished job's row; false when this owner has no such job or it is not finished.
    package func removeJob(_ id: String, owner: String) throws(CatalogueError) -> Bool {
        try writing { (connection) throws(CatalogueError) in
            try connection.run(JobSQL.remove, [.text(id), .text(owner)]) > 0
        }
    }

    /// Jobs by state, of all owners.
    package func jobTotals() throws(CatalogueError) -> [JobState: Int] {
        try reading { (connection) throws(CatalogueError) in
            var totals: [JobState: Int] = [:]
            try connection.run(JobSQL.totals) { (row) throws(CatalogueError) in
                guard let state = JobState(rawValue: try row.text(0)) else { throw .corruptRow(column: 0) }
                totals[state] = Int(try row.integer(1))
            }
            return totals
        }
    }
}

extension Connection {
    fileprivate mutating func job(_ sql: StaticString, _ values: [SQLValue]) throws(CatalogueError) -> JobRecord? {
        try first(sql, values) { (row) throws(CatalogueError) in try JobRecord(row) }
    }

    fileprivate mutating func jobs(
        _ sql: StaticString, _ values: [SQLValue], upTo isLast: (JobRecord) -> Bool
    ) throws(CatalogueError) -> [JobRecord] {
        try all(sql, values, upTo: isLast) { (row) throws(CatalogueError) in try JobRecord(row) }
    }
}
