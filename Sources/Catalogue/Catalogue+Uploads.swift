/// The statements over the table `uploads`.
enum UploadSQL {
    static let insert: StaticString = """
        INSERT INTO uploads (
            id, owner, length, received, reserved, metadata, query, location, created_at, expires_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
        """

    static let unfinished: StaticString = "SELECT count(*) FROM uploads WHERE owner = ?1 AND location IS NULL"

    static let one: StaticString = """
        SELECT id, owner, length, received, reserved, metadata, query, location, created_at, expires_at
        FROM uploads WHERE id = ?1 AND owner = ?2
        """

    static let state: StaticString = "SELECT state FROM uploads WHERE id = ?1"

    /// An acknowledged offset never goes back.
    static let advance: StaticString = """
        UPDATE uploads SET received = ?2, reserved = ?3, state = ?4, expires_at = ?5
        WHERE id = ?1 AND received <= ?2 AND location IS NULL
        """

    static let setLength: StaticString = """
        UPDATE uploads SET length = ?2, reserved = ?3 WHERE id = ?1 AND length IS NULL AND received <= ?2
        """

    static let seal: StaticString = """
        UPDATE uploads SET location = ?2, received = ?3, reserved = 0, state = NULL, expires_at = ?4 WHERE id = ?1
        """

    static let remove: StaticString = "DELETE FROM uploads WHERE id = ?1 AND owner = ?2"

    static let expired: StaticString = """
        SELECT id, owner, length, received, reserved, metadata, query, location, created_at, expires_at
        FROM uploads WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2
        """
}

extension Catalogue {
    /// Adds an upload, whose identifier must be new; false, and nothing added, where its owner has `limit` uploads
    /// already that are not finished.
    @discardableResult
    package func insert(_ upload: UploadRecord, atMost limit: Int = .max) throws(CatalogueError) -> Bool {
        try writing { (connection) throws(CatalogueError) in
            let count = try connection.first(UploadSQL.unfinished, [.text(upload.owner)]) {
                (row) throws(CatalogueError) in Int(try row.integer(0))
            }
            guard count ?? 0 < limit else { return false }
            try connection.run(UploadSQL.insert, upload.values)
            return true
        }
    }

    /// The upload of this identifier and owner, expired or not, or nil.
    package func upload(_ id: String, owner: String) throws(CatalogueError) -> UploadRecord? {
        try reading { (connection) throws(CatalogueError) in
            try connection.first(UploadSQL.one, [.text(id), .text(owner)]) { (row) throws(CatalogueError) in
                try UploadRecord(row)
            }
        }
    }

    /// What was recorded with the upload's offset.
    package func uploadState(_ id: String) throws(CatalogueError) -> [UInt8]? {
        try reading { (connection) throws(CatalogueError) in
            try connection.first(UploadSQL.state, [.text(id)]) { (row) throws(CatalogueError) in
                try row.optionalBytes(0)
            } ?? nil
        }
    }

    /// Acknowledges `offset` and what belongs to it, in one durable step; false when the upload is gone, sealed, or
    /// further on already.
    package func advanceUpload(
        _ id: String, to offset: Int, reserved: Int, state: [UInt8]?, expiresAt: Int64
    ) throws(CatalogueError) -> Bool {
        try writing { (connection) throws(CatalogueError) in
            try connection.run(
                UploadSQL.advance,
                [
                    .text(id), .integer(Int64(offset)), .integer(Int64(reserved)), SQLValue(state),
                    .integer(expiresAt),
                ]) > 0
        }
    }

    /// Sets the length of an upload that was begun without one; false when it has one or got more bytes.
    package func setUploadLength(_ id: String, _ length: Int, reserved: Int) throws(CatalogueError) -> Bool {
        try writing { (connection) throws(CatalogueError) in
            try connection.run(
                UploadSQL.setLength, [.text(id), .integer(Int64(length)), .integer(Int64(reserved))]) > 0
        }
    }

    /// Ends an upload whose result is an input: its row and the note where it went, in one step.
    package func sealUpload(
        _ id: String, as input: InputRecord, location: String, expiresAt: Int64
    ) throws(CatalogueError) {
        try writing { (connection) throws(CatalogueError) in
            try Self.insert(input, connection: &connection)
            try connection.run(
                UploadSQL.seal, [.text(id), .text(location), .integer(Int64(input.bytes)), .integer(expiresAt)])
        }
    }

    /// Ends an upload whose result is an artifact, likewise; false when the artifact was there already.
    package func sealUpload(
        _ id: String, length: Int, as artifact: ArtifactRecord, location: String, expiresAt: Int64
    ) throws(CatalogueError) -> Bool {
        try writing { (connection) throws(CatalogueError) in
            let isNew = try connection.run(ArtifactSQL.insert, artifact.values) > 0
            try connection.run(
                UploadSQL.seal, [.text(id), .text(location), .integer(Int64(length)), .integer(expiresAt)])
            return isNew
        }
    }

    /// Removes an upload's row; false when this owner has no such upload.
    package func removeUpload(_ id: String, owner: String) throws(CatalogueError) -> Bool {
        try writing { (connection) throws(CatalogueError) in
            try connection.run(UploadSQL.remove, [.text(id), .text(owner)]) > 0
        }
    }

    /// Uploads whose time is over, at most `maximumPageSize`.
    package func expiredUploads(at time: Int64) throws(CatalogueError) -> [UploadRecord] {
        try reading { (connection) throws(CatalogueError) in
            try connection.all(UploadSQL.expired, [.integer(time), .integer(Int64(Self.maximumPageSize))]) {
                (row) throws(CatalogueError) in try UploadRecord(row)
            }
        }
    }
}
