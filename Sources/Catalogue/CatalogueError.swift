/// What went wrong in the catalogue, with the evidence.
package enum CatalogueError: Error, Sendable, Equatable {
    /// SQLite refused an operation; `code` is its extended result code (sqlite.org/rescode.html).
    case database(operation: String, code: Int32, message: String)
    /// A later version of the program wrote this catalogue; it is left untouched.
    case newerSchema(found: Int, supported: Int)
    /// The file system cannot hold a write-ahead log; SQLite fell back to this journal mode.
    case unsupportedJournal(String)
    /// The page cursor was not given out by this catalogue.
    case invalidCursor(String)
    /// A row does not hold what the schema promises.
    case corruptRow(column: Int32)

    /// True when the request failed for want of disk room (SQLITE_FULL), which a client sees as 507.
    package var isDiskFull: Bool {
        if case .database(_, let code, _) = self { return code & 0xff == 13 }
        return false
    }
}
