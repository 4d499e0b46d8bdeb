import CSQLite
import Foundation

/// A folder of its own for one test, removed with the object.
final class TemporaryFolder: Sendable {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "viva-catalogue-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }
}

/// A second pair of eyes: plain SQLite on the same file, without a line of the module under test.
@safe
final class Database {
    struct Failed: Error {
        let message: String
    }

    private let handle: OpaquePointer

    init(_ path: String) throws {
        var handle: OpaquePointer?
        guard unsafe sqlite3_open(path, &handle) == SQLITE_OK, let handle = unsafe handle else {
            throw Failed(message: "open")
        }
        unsafe self.handle = handle
    }

    /// The rows of a statement, every column as text.
    func rows(_ sql: String) throws -> [[String]] {
        var statement: OpaquePointer?
        guard unsafe sqlite3_prepare_v2(handle, sql, -1, &statement, nil) == SQLITE_OK else {
            throw Failed(message: unsafe String(cString: sqlite3_errmsg(handle)))
        }
        defer { unsafe sqlite3_finalize(statement) }
        var rows: [[String]] = []
        while unsafe sqlite3_step(statement) == SQLITE_ROW {
            rows.append(
                (0..<(unsafe sqlite3_column_count(statement))).map { column in
                    guard let text = unsafe sqlite3_column_text(statement, column) else { return "NULL" }
                    return unsafe String(cString: text)
                })
        }
        return rows
    }

    deinit {
        unsafe sqlite3_close(handle)
    }
}
