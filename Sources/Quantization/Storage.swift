/// A failed read or write of the storage that a quantizing session was given.
package struct StorageFailure: Error, Sendable, Equatable {
    /// What was tried, for instance `write`.
    package let operation: String
    /// The `errno` of the failure.
    package let code: Int32

    /// Names the operation and its `errno`.
    package init(operation: String, code: Int32) {
        self.operation = operation
        self.code = code
    }
}

/// Where an artifact's bytes go: positioned writes, each byte written exactly once.
package protocol ArtifactOutput: AnyObject {
    /// Writes all of `bytes` at `offset` bytes from the start of the artifact.
    func write(_ bytes: RawSpan, at offset: Int) throws(StorageFailure)
}

/// Bytes that lie somewhere: positioned reads.
package protocol StoredBytes: AnyObject {
    /// Fills all of `bytes` from `offset`; a short read is a failure.
    func read(into bytes: inout MutableRawSpan, at offset: Int) throws(StorageFailure)
}

/// Room on disk for what must be read again before it can be written: never published, gone when the session ends.
package protocol ScratchStorage: ArtifactOutput, StoredBytes {}
