import Foundation
import Jobs
import Testing

@testable import Catalogue

@Suite struct DurabilityTests {
    let folder: TemporaryFolder
    let path: String

    init() throws {
        folder = try TemporaryFolder()
        path = folder.path + "/catalogue.sqlite"
    }

    @Test func rowsOutliveTheConnection() throws {
        do { #expect(try Catalogue(path: path).insert(record("a"))) }
        let again = try Catalogue(path: path)
        #expect(try again.artifact("a", owner: "ann") == record("a"))
        #expect(try again.totals().count == 1)
    }

    /// A killed process leaves the files as they are at that moment: a copy made while the catalogue is open.
    @Test func acknowledgedRowsOutliveAKilledProcess() throws {
        let catalogue = try Catalogue(path: path)
        for number in 0..<10 { #expect(try catalogue.insert(record("t\(number)"))) }
        #expect(try catalogue.remove("t3", owner: "ann"))
        let copy = folder.path + "/copy.sqlite"
        for suffix in ["", "-wal"] {
            try FileManager.default.copyItem(atPath: path + suffix, toPath: copy + suffix)
        }
        let survivor = try Catalogue(path: copy)
        #expect(try survivor.totals() == (9, 9 * 1_234))
        #expect(try survivor.artifact("t9", owner: "ann") == record("t9"))
        #expect(try survivor.artifact("t3", owner: "ann") == nil)
    }

    /// The torn tail of a log is a commit that was never acknowledged: it is dropped, the rest stands.
    @Test func aTornLogLosesOnlyItsTail() throws {
        let catalogue = try Catalogue(path: path)
        #expect(try catalogue.insert(record("a")))
        let wal = try Data(contentsOf: URL(fileURLWithPath: path + "-wal"))
        #expect(try catalogue.insert(record("b")))
        let longer = try Data(contentsOf: URL(fileURLWithPath: path + "-wal"))
        #expect(longer.count > wal.count)
        let copy = folder.path + "/copy.sqlite"
        try FileManager.default.copyItem(atPath: path, toPath: copy)
        try longer.prefix(longer.count - 100).write(to: URL(fileURLWithPath: copy + "-wal"))
        let survivor = try Catalogue(path: copy)
        #expect(try survivor.contains("a"))
        #expect(try !survivor.contains("b"))
        #expect(try survivor.totals().count == 1)
    }

    @Test func theFileIsAWriteAheadLogOfThisVersion() throws {
        let catalogue = try Catalogue(path: path)
        let database = try Database(path)
        #expect(try database.rows("PRAGMA journal_mode") == [["wal"]])
        #expect(try database.rows("PRAGMA user_version") == [["\(Schema.version)"]])
        #expect(try database.rows("PRAGMA integrity_check") == [["ok"]])
        try catalogue.check()
    }

    /// 2 is FULL (sqlite.org/pragma.html#pragma_synchronous).
    private static let settings: [(StaticString, Int64)] = [
        ("PRAGMA synchronous", 2), ("PRAGMA foreign_keys", 1), ("PRAGMA busy_timeout", 5_000),
    ]

    @Test(arguments: settings)
    func aCommitWaitsForTheDisk(pragma: StaticString, expected: Int64) throws {
        var connection = try Connection(path: path)
        try Catalogue.configure(&connection)
        var found: Int64?
        try connection.run(pragma) { (row) throws(CatalogueError) in found = try row.integer(0) }
        #expect(found == expected)
    }

    @Test func aLaterVersionIsRefusedAndLeftUntouched() throws {
        do { #expect(try Catalogue(path: path).insert(record("a"))) }
        let later = Schema.version + 1
        do { _ = try Database(path).rows("PRAGMA user_version = \(later)") }
        let before = try Data(contentsOf: URL(fileURLWithPath: path))
        #expect(throws: CatalogueError.newerSchema(found: later, supported: Schema.version)) {
            _ = try Catalogue(path: path)
        }
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
    }

    /// Files as earlier versions made them, from their own steps.
    @Test(arguments: 1..<Schema.steps.count) func anOlderFileIsBroughtUpToDate(version: Int) throws {
        do {
            var older = try Connection(path: path)
            try Catalogue.configure(&older)
            for step in Schema.steps[..<version] { try older.execute(step) }
            try older.run(ArtifactSQL.insert, record("a", bytes: 10).values)
        }
        let catalogue = try Catalogue(path: path)
        #expect(try catalogue.artifacts(owner: "ann", ofInput: "sha256:00", limit: 9).map(\.id) == ["a"])
        #expect(try Database(path).rows("PRAGMA user_version") == [["\(Schema.version)"]])
        #expect(try catalogue.usage(of: "ann").bytes == 10)
        #expect(try catalogue.remove("a", owner: "ann"))
        #expect(try catalogue.usage(of: "ann").bytes == 0)
    }

    @Test func jobsOfAnOlderFileCountAgainstTheirOwners() throws {
        let jobs = [("a", "ann", "{}"), ("b", "ann", "{\"é\":1}"), ("c", "bob", "{ }")].map { (id, owner, recipe) in
            var job = JobRecord(id: id, owner: owner, input: "i", recipe: recipe, artifact: id, createdAt: 1)
            job.reserved = 100
            return job
        }
        do {
            var older = try Connection(path: path)
            try Catalogue.configure(&older)
            for step in Schema.steps[..<3] { try older.execute(step) }
            for job in jobs { try older.run(JobSQL.insert, job.values) }
        }
        let catalogue = try Catalogue(path: path)
        #expect(try catalogue.usage(of: "ann") == (200 + 2 + 8, 2))
        #expect(try catalogue.usage(of: "bob") == (100 + 3, 1))
        let ended = try #require(jobs[2].after(.cancelled, at: 2))
        #expect(try catalogue.moveJob(ended, from: .queued))
        #expect(try catalogue.removeJob("c", owner: "bob"))
        #expect(try catalogue.usage(of: "bob") == (0, 0))
    }

    @Test func aFileThatIsNoDatabaseIsRefused() throws {
        let garbage = Data(repeating: 0x41, count: 8192)
        try garbage.write(to: URL(fileURLWithPath: path))
        let error = try #require(throws: CatalogueError.self) { _ = try Catalogue(path: path) }
        guard case .database(_, let code, _) = error else {
            Issue.record("unexpected \(error)")
            return
        }
        // SQLITE_NOTADB (sqlite.org/rescode.html).
        #expect(code == 26)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == garbage)
    }

    @Test func anUnusablePathIsAnError() {
        #expect(throws: CatalogueError.self) { _ = try Catalogue(path: "/nowhere/at/all.sqlite") }
        #expect(throws: CatalogueError.self) { _ = try Catalogue(path: ":memory:") }
    }

    @Test func aFailedTransactionLeavesNothing() throws {
        do { _ = try Catalogue(path: path) }
        var connection = try Connection(path: path)
        #expect(throws: CatalogueError.self) {
            try connection.transaction { (connection) throws(CatalogueError) in
                try connection.run("UPDATE totals SET count = 77")
                try connection.run("INSERT INTO totals VALUES (2, 0, 0)")
            }
        }
        #expect(try Database(path).rows("SELECT count FROM totals") == [["0"]])
    }

    @Test func fullIsToldApart() {
        // SQLITE_FULL is 13, SQLITE_IOERR_FSYNC 1034 (sqlite.org/rescode.html).
        #expect(CatalogueError.database(operation: "step", code: 13, message: "").isDiskFull)
        #expect(!CatalogueError.database(operation: "step", code: 1034, message: "").isDiskFull)
        #expect(!CatalogueError.invalidCursor("").isDiskFull)
    }

    /// `SEARCH` with the row values in the index; `SCAN` or a sort would read an owner's whole list for one page.
    @Test(arguments: [
        (ArtifactSQL.page, "artifacts_by_owner", "owner=? AND (created_at,id)<(?,?)"),
        (ArtifactSQL.pageByMethod, "artifacts_by_method", "owner=? AND method=? AND (created_at,id)<(?,?)"),
        (ArtifactSQL.pageByName, "artifacts_by_name", "owner=? AND name=? AND (created_at,id)<(?,?)"),
        (ArtifactSQL.pageByNameAndMethod, "artifacts_by_name", "owner=? AND name=? AND (created_at,id)<(?,?)"),
        (ArtifactSQL.ofInput, "artifacts_by_input", "owner=? AND input_digest=?"),
        (ArtifactSQL.one, "sqlite_autoindex_artifacts_1", "id=?"),
        (ArtifactSQL.contains, "sqlite_autoindex_artifacts_1", "id=?"),
        (ArtifactSQL.remove, "sqlite_autoindex_artifacts_1", "id=?"),
    ])
    func everyStatementUsesAnIndex(sql: StaticString, index: String, columns: String) throws {
        let catalogue = try Catalogue(path: path)
        for number in 0..<50 { #expect(try catalogue.insert(record("t\(number)", owner: "o\(number % 2)"))) }
        let database = try Database(path)
        _ = try database.rows("ANALYZE")
        let plan = try database.rows("EXPLAIN QUERY PLAN \(sql)").compactMap(\.last)
        #expect(plan.count == 1)
        #expect(
            plan.allSatisfy { $0.hasPrefix("SEARCH artifacts USING ") && $0.hasSuffix("INDEX \(index) (\(columns))") })
    }

    /// No list, claim, removal or quota may read more rows than it answers.
    @Test(arguments: [
        InputSQL.one, InputSQL.page, InputSQL.use, InputSQL.needs, InputSQL.remove, InputSQL.anyOwner,
        InputSQL.unused, UploadSQL.one, UploadSQL.state, UploadSQL.advance, UploadSQL.setLength, UploadSQL.seal,
        UploadSQL.remove, UploadSQL.expired, JobSQL.one, JobSQL.liveOfArtifact, JobSQL.page,
        JobSQL.pageByState, JobSQL.nextOwner, JobSQL.firstQueued, JobSQL.move, JobSQL.cancel, JobSQL.checkpoint,
        JobSQL.checkpointOf, JobSQL.interrupted, JobSQL.contains, JobSQL.remove, JobSQL.removeOld, JobSQL.keyed,
        JobSQL.forget, KeySQL.one, KeySQL.revoke, KeySQL.notes, KeySQL.forgetNotes, KeySQL.usage,
        ArtifactSQL.everyOne,
    ])
    func noStatementScansOrSorts(sql: StaticString) throws {
        let catalogue = try Catalogue(path: path)
        for number in 0..<200 {
            let owner = "o\(number % 3)"
            var job = JobRecord(
                id: "j\(number)", owner: owner, input: "sha256:\(number)", recipe: "{}", artifact: "a\(number)",
                createdAt: Int64(number))
            let input = InputRecord(
                owner: owner, digest: "sha256:\(number)", bytes: 1, container: "npy", createdAt: Int64(number))
            #expect(try catalogue.insert(input))
            if number % 4 == 0 { job.state = .succeeded }
            #expect(try catalogue.enqueue(job) != .keyInUse)
        }
        let database = try Database(path)
        _ = try database.rows("ANALYZE")
        let plan = try database.rows("EXPLAIN QUERY PLAN \(sql)").compactMap(\.last)
        #expect(!plan.isEmpty)
        #expect(plan.allSatisfy { !$0.contains("SCAN") && !$0.contains("TEMP B-TREE") }, "\(plan)")
    }

    @Test func totalsReadOneRow() throws {
        let catalogue = try Catalogue(path: path)
        try catalogue.check()
        let plan = try Database(path).rows("EXPLAIN QUERY PLAN \(ArtifactSQL.totals)").compactMap(\.last)
        #expect(plan == ["SCAN totals"])
        #expect(try Database(path).rows("SELECT COUNT(*) FROM totals") == [["1"]])
    }
}
