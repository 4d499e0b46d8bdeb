import CSQLite

/// A value for a parameter of a statement.
enum SQLValue: Sendable {
    case integer(Int64)
    case text(String)
    case bytes([UInt8])
    case null

    init(_ text: String?) {
        self = text.map(SQLValue.text) ?? .null
    }

    init(_ number: Int64?) {
        self = number.map(SQLValue.integer) ?? .null
    }

    init(_ bytes: [UInt8]?) {
        self = bytes.map(SQLValue.bytes) ?? .null
    }
}

/// One connection to SQLite with its prepared statements; used by one thread at a time.
///
/// All SQL is a `StaticString`: a value can reach a statement as a parameter only. This file holds every unsafe call of
/// the module. Invariant: `database` is open, and the statements in `prepared` belong to it, while the value lives. It
/// may move between threads: SQLite asks only that one at a time uses it, which the mutex around it sees to.
@safe
struct Connection: ~Copyable, @unchecked Sendable {
    private let database: OpaquePointer
    /// Whether a commit waits for the disk.
    var isDurable = true
    private var prepared: [UnsafePointer<UInt8>: OpaquePointer] = unsafe [:]

    /// How long a statement waits for another connection's lock.
    static let busyTimeoutMilliseconds: Int32 = 5_000

    /// Opens the file, creating it where it is missing.
    init(path: String) throws(CatalogueError) {
        var handle: OpaquePointer?
        // Every connection sits behind a mutex of ours, so SQLite's own would only cost time.
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
        let code = unsafe sqlite3_open_v2(path, &handle, flags, nil)
        guard code == SQLITE_OK, let handle = unsafe handle else {
            let error = unsafe Self.error("open", code, handle)
            unsafe sqlite3_close(handle)
            throw error
        }
        unsafe database = handle
        unsafe sqlite3_busy_timeout(handle, Self.busyTimeoutMilliseconds)
    }

    /// Runs statements that take no parameters and whose rows do not matter.
    func execute(_ script: StaticString) throws(CatalogueError) {
        let code = unsafe sqlite3_exec(database, Self.text(script), nil, nil, nil)
        guard code == SQLITE_OK else { throw unsafe Self.error("execute", code, database) }
    }

    /// Makes each commit from now on wait for the disk.
    mutating func beDurable() throws(CatalogueError) {
        guard !isDurable else { return }
        try execute("PRAGMA synchronous = FULL")
        isDurable = true
    }

    /// Runs one statement and hands each of its rows to `body`; answers the number of rows it changed.
    @discardableResult
    mutating func run(
        _ sql: StaticString, _ values: [SQLValue] = [],
        row body: (borrowing Row) throws(CatalogueError) -> Void = { _ in }
    ) throws(CatalogueError) -> Int {
        try rows(of: sql, values) { (row) throws(CatalogueError) in
            try body(row)
            return true
        }
    }

    /// The same, for as long as `body` wants another row.
    @discardableResult
    private mutating func rows(
        of sql: StaticString, _ values: [SQLValue], _ body: (borrowing Row) throws(CatalogueError) -> Bool
    ) throws(CatalogueError) -> Int {
        let statement = try unsafe statement(sql)
        defer {
            unsafe sqlite3_reset(statement)
            unsafe sqlite3_clear_bindings(statement)
        }
        for (index, value) in values.enumerated() {
            try unsafe bind(value, at: Int32(index + 1), of: statement)
        }
        let before = unsafe sqlite3_total_changes64(database)
        while true {
            let code = unsafe sqlite3_step(statement)
            switch code {
            case SQLITE_ROW:
                if try unsafe body(Row(statement: statement)) { continue }
                fallthrough
            case SQLITE_DONE: return Int(unsafe sqlite3_total_changes64(database) - before)
            default: throw unsafe Self.error("step", code, database)
            }
        }
    }

    /// Runs `body` in one transaction that holds the write lock from the start; undone when it throws.
    mutating func transaction<Outcome>(
        _ body: (inout Connection) throws(CatalogueError) -> Outcome
    ) throws(CatalogueError) -> Outcome {
        try execute("BEGIN IMMEDIATE")
        do {
            let outcome = try body(&self)
            try execute("COMMIT")
            return outcome
        } catch {
            // SQLite may have rolled back by itself, and the first error is the evidence.
            try? execute("ROLLBACK")
            throw error
        }
    }

    /// What `read` makes of every row of a statement, or of those up to the one that `isLast` of.
    mutating func all<Item>(
        _ sql: StaticString, _ values: [SQLValue] = [], upTo isLast: (Item) -> Bool = { _ in false },
        _ read: (borrowing Row) throws(CatalogueError) -> Item
    ) throws(CatalogueError) -> [Item] {
        var items: [Item] = []
        try rows(of: sql, values) { (row) throws(CatalogueError) in
            let item = try read(row)
            items.append(item)
            return !isLast(item)
        }
        return items
    }

    /// The same of its first row, or nil.
    mutating func first<Item>(
        _ sql: StaticString, _ values: [SQLValue] = [], _ read: (borrowing Row) throws(CatalogueError) -> Item
    ) throws(CatalogueError) -> Item? {
        try all(sql, values, read).first
    }

    /// Whether a statement has a row.
    mutating func finds(_ sql: StaticString, _ values: [SQLValue]) throws(CatalogueError) -> Bool {
        try first(sql, values) { _ in true } ?? false
    }

    private mutating func statement(_ sql: StaticString) throws(CatalogueError) -> OpaquePointer {
        if let known = unsafe prepared[sql.utf8Start] { return unsafe known }
        var handle: OpaquePointer?
        let code = unsafe sqlite3_prepare_v3(
            database, Self.text(sql), -1, UInt32(SQLITE_PREPARE_PERSISTENT), &handle, nil)
        guard code == SQLITE_OK, let handle = unsafe handle else {
            throw unsafe Self.error("prepare", code, database)
        }
        unsafe prepared[sql.utf8Start] = handle
        return unsafe handle
    }

    private func bind(_ value: SQLValue, at index: Int32, of statement: OpaquePointer) throws(CatalogueError) {
        let code: Int32
        // SQLITE_TRANSIENT: SQLite copies the bytes before the call returns.
        let copied = unsafe unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        switch value {
        case .integer(let number): code = unsafe sqlite3_bind_int64(statement, index, number)
        case .null: code = unsafe sqlite3_bind_null(statement, index)
        case .bytes(let bytes):
            code = unsafe bytes.withUnsafeBytes { bytes in
                // As below: no address would mean NULL.
                guard let base = bytes.baseAddress else { return unsafe sqlite3_bind_zeroblob(statement, index, 0) }
                return unsafe sqlite3_bind_blob64(statement, index, base, UInt64(bytes.count), copied)
            }
        case .text(var text):
            code = text.withUTF8 { bytes in
                unsafe bytes.withMemoryRebound(to: CChar.self) { characters in
                    // An empty buffer may have no address, which SQLite would take for NULL.
                    guard let base = characters.baseAddress else {
                        return unsafe sqlite3_bind_text(statement, index, "", 0, copied)
                    }
                    return unsafe sqlite3_bind_text64(
                        statement, index, base, UInt64(characters.count), copied, UInt8(SQLITE_UTF8))
                }
            }
        }
        guard code == SQLITE_OK else { throw unsafe Self.error("bind", code, database) }
    }

    private static func text(_ sql: StaticString) -> UnsafePointer<CChar> {
        unsafe UnsafeRawPointer(sql.utf8Start).assumingMemoryBound(to: CChar.self)
    }

    private static func error(_ operation: String, _ code: Int32, _ database: OpaquePointer?) -> CatalogueError {
        let message =
            if let database = unsafe database, let text = unsafe sqlite3_errmsg(database) {
                unsafe String(cString: text)
            } else {
                unsafe String(cString: sqlite3_errstr(code))
            }
        return .database(operation: operation, code: code, message: message)
    }

    deinit {
        unsafe prepared.values.forEach { unsafe sqlite3_finalize($0) }
        // With every statement finalized this cannot be refused; the last one to close moves the log into the file.
        unsafe sqlite3_close(database)
    }
}

/// The current row of a running statement; lent to a closure and gone with the next step.
@safe
struct Row: ~Copyable {
    private let statement: OpaquePointer

    fileprivate init(statement: OpaquePointer) {
        unsafe self.statement = statement
    }

    /// The text in a column, which must not be NULL.
    func text(_ column: Int32) throws(CatalogueError) -> String {
        guard let text = try optionalText(column) else { throw .corruptRow(column: column) }
        return text
    }

    /// The text in a column, or nil for NULL.
    func optionalText(_ column: Int32) throws(CatalogueError) -> String? {
        switch unsafe sqlite3_column_type(statement, column) {
        case SQLITE_NULL: return nil
        case SQLITE_TEXT:
            guard let start = unsafe sqlite3_column_text(statement, column) else { throw .corruptRow(column: column) }
            let count = Int(unsafe sqlite3_column_bytes(statement, column))
            return unsafe String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
        default: throw .corruptRow(column: column)
        }
    }

    /// The integer in a column, which must not be NULL.
    func integer(_ column: Int32) throws(CatalogueError) -> Int64 {
        guard let number = try optionalInteger(column) else { throw .corruptRow(column: column) }
        return number
    }

    /// The integer in a column, or nil for NULL.
    func optionalInteger(_ column: Int32) throws(CatalogueError) -> Int64? {
        switch unsafe sqlite3_column_type(statement, column) {
        case SQLITE_NULL: return nil
        case SQLITE_INTEGER: return unsafe sqlite3_column_int64(statement, column)
        default: throw .corruptRow(column: column)
        }
    }

    /// The bytes in a column, or nil for NULL.
    func optionalBytes(_ column: Int32) throws(CatalogueError) -> [UInt8]? {
        switch unsafe sqlite3_column_type(statement, column) {
        case SQLITE_NULL: return nil
        case SQLITE_BLOB:
            let count = Int(unsafe sqlite3_column_bytes(statement, column))
            guard count > 0, let start = unsafe sqlite3_column_blob(statement, column) else { return [] }
            return unsafe [UInt8](UnsafeRawBufferPointer(start: start, count: count))
        default: throw .corruptRow(column: column)
        }
    }
}
