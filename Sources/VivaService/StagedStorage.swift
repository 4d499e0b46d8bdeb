import ArtifactStore
import Quantization

/// Lends a staged file to a quantizing session, which knows files only as positions.
final class StagedStorage: ScratchStorage {
    let file: StagedFile

    /// The `errno` that means a full disk: ENOSPC of Linux.
    static let diskFull: Int32 = 28
    /// The `errno` of a device that fails: EIO of Linux.
    static let deviceFailed: Int32 = 5

    init(_ file: StagedFile) {
        self.file = file
    }

    /// Opens a file for a session, to which a failure of the store is one of the storage.
    static func opening(_ open: () throws(StoreError) -> StagedFile) throws(StorageFailure) -> StagedStorage {
        do throws(StoreError) {
            return StagedStorage(try open())
        } catch {
            throw failure("open", error)
        }
    }

    func write(_ bytes: RawSpan, at offset: Int) throws(StorageFailure) {
        do throws(StoreError) {
            try file.write(bytes, at: offset)
        } catch {
            throw Self.failure("write", error)
        }
    }

    func read(into bytes: inout MutableRawSpan, at offset: Int) throws(StorageFailure) {
        do throws(StoreError) {
            try file.read(into: &bytes, at: offset)
        } catch {
            throw Self.failure("read", error)
        }
    }

    /// What a failure of the store means to a session.
    static func failure(_ operation: String, _ error: StoreError) -> StorageFailure {
        if error.isDiskFull { return StorageFailure(operation: operation, code: diskFull) }
        if case .system(_, _, let code) = error { return StorageFailure(operation: operation, code: code) }
        return StorageFailure(operation: operation, code: deviceFailed)
    }
}
