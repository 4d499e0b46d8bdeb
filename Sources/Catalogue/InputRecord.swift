/// What the catalogue remembers of one input that an owner has sent; its bytes lie in the artifact store.
package struct InputRecord: Sendable, Equatable {
    /// Whose it is; the bytes may be shared underneath.
    package var owner: String
    /// The digest of the bytes, as `sha256:<hex>`.
    package var digest: String
    /// The length in bytes.
    package var bytes: Int
    /// What the bytes are: `safetensors`, `npy`, `npz` or `raw`.
    package var container: String
    /// The element type that its sender declared for raw bytes.
    package var dtype: String?
    /// The shape that its sender declared for raw bytes, as `4096,4096`.
    package var shape: String?
    /// Milliseconds since 1970-01-01T00:00:00Z.
    package var createdAt: Int64
    /// When it was sent or used last: it expires some time after.
    package var usedAt: Int64

    /// An input that is used for the first time.
    package init(
        owner: String, digest: String, bytes: Int, container: String, dtype: String? = nil, shape: String? = nil,
        createdAt: Int64
    ) {
        self.owner = owner
        self.digest = digest
        self.bytes = bytes
        self.container = container
        self.dtype = dtype
        self.shape = shape
        self.createdAt = createdAt
        usedAt = createdAt
    }
}

/// What became of the wish to remove something that others may need.
package enum Removal: Sendable, Equatable {
    /// It is gone.
    case removed
    /// This owner has no such thing.
    case absent
    /// A job that is not finished needs it.
    case needed(job: String)
}

extension InputRecord {
    init(_ row: borrowing Row) throws(CatalogueError) {
        try self.init(
            owner: row.text(0), digest: row.text(1), bytes: Int(row.integer(2)), container: row.text(3),
            dtype: row.optionalText(4), shape: row.optionalText(5), createdAt: row.integer(6))
        usedAt = try row.integer(7)
    }

    var values: [SQLValue] {
        [
            .text(owner), .text(digest), .integer(Int64(bytes)), .text(container), SQLValue(dtype), SQLValue(shape),
            .integer(createdAt), .integer(usedAt),
        ]
    }
}
