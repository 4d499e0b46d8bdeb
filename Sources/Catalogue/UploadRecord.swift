/// What the catalogue remembers of an upload: an input, or a quantization, whose bytes are still arriving.
package struct UploadRecord: Sendable, Equatable {
    /// The identifier, unique over all owners.
    package var id: String
    /// Whose it is.
    package var owner: String
    /// Bytes in all; nil while its sender has not said it.
    package var length: Int?
    /// The acknowledged offset: so many bytes are durable.
    package var offset = 0
    /// Bytes of disk that it may take, counted against its owner.
    package var reserved = 0
    /// `Upload-Metadata` as it was sent.
    package var metadata: String
    /// The options of the quantization that the bytes feed; nil for a plain input.
    package var query: String?
    /// Where the result is, when all bytes came and it was made.
    package var location: String?
    /// Milliseconds since 1970-01-01T00:00:00Z.
    package var createdAt: Int64
    /// When it ends if nothing more comes.
    package var expiresAt: Int64

    /// An upload of which nothing has come.
    package init(
        id: String, owner: String, length: Int?, metadata: String, query: String?, createdAt: Int64, expiresAt: Int64
    ) {
        self.id = id
        self.owner = owner
        self.length = length
        self.metadata = metadata
        self.query = query
        self.createdAt = createdAt
        self.expiresAt = expiresAt
    }
}

extension UploadRecord {
    init(_ row: borrowing Row) throws(CatalogueError) {
        try self.init(
            id: row.text(0), owner: row.text(1), length: row.optionalInteger(2).map { Int($0) },
            metadata: row.text(5), query: row.optionalText(6), createdAt: row.integer(8), expiresAt: row.integer(9))
        offset = Int(try row.integer(3))
        reserved = Int(try row.integer(4))
        location = try row.optionalText(7)
    }

    var values: [SQLValue] {
        [
            .text(id), .text(owner), SQLValue(length.map { Int64($0) }), .integer(Int64(offset)),
            .integer(Int64(reserved)), .text(metadata), SQLValue(query), SQLValue(location), .integer(createdAt),
            .integer(expiresAt),
        ]
    }
}
