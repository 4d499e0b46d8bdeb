import ArtifactStore
import Foundation
import HTTPServer
import Jobs
import Logging
import Observability
import Processes
import Quantization
import Synchronization
import Testing

@testable import Catalogue
@testable import VivaService

/// What went wrong inside is told to whoever runs the server, and to nobody else.
@Suite struct FailureTests {
    private final class Log: Sendable {
        private let written = Mutex<[UInt8]>([])

        var logger: Logger {
            Logger(label: "test") { [self] label in
                JSONLogHandler(label: label, now: { 0 }, write: append)
            }
        }

        private func append(_ bytes: [UInt8]) { written.withLock { $0 += bytes } }

        /// The lines with this message.
        func lines(_ message: String) throws -> [[String: Any]] {
            try written.withLock { $0 }.split(separator: UInt8(ascii: "\n")).compactMap {
                try JSONSerialization.jsonObject(with: Data($0)) as? [String: Any]
            }.filter { $0["message"] as? String == message }
        }
    }

    private static let failures: [(Problem, code: String, evidence: [String])] = [
        (
            Problem(StoreError.system(operation: "open", path: "/srv/secret/a", code: 5)), "storage.failed",
            ["/srv/secret/a", "open"]
        ),
        (
            Problem(CatalogueError.database(operation: "SELECT secret", code: 11, message: "malformed secret")),
            "catalogue.failed", ["SELECT secret", "malformed secret", "11"]
        ),
        (
            Problem(QuantizationError.storage(StorageFailure(operation: "pwrite secret", code: 5))), "storage.failed",
            ["pwrite secret", "errno 5"]
        ),
        (Problem(unreadable: StoreError.noStore(path: "/srv/secret")), "report.unreadable", ["/srv/secret"]),
        (Problem(unexpected: StoreError.noStore(path: "/srv/secret")), "server.failed", ["/srv/secret"]),
    ]

    @Test(arguments: 0..<5) func theEvidenceStaysWithTheServer(_ number: Int) throws {
        let (problem, code, evidence) = Self.failures[number]
        let text = String(decoding: problem.render(traceID: "0af7651916cd43dd8448eb211c80319c"), as: UTF8.self)
        let told = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(told["status"] as? Int == 500 && told["code"] as? String == code)
        #expect(told["detail"] as? String == "The server failed: its log says why, under this trace_id.")
        #expect(told["trace_id"] as? String == "0af7651916cd43dd8448eb211c80319c")
        #expect(!text.contains("secret") && !text.contains("errno"))
        for piece in evidence { #expect(problem.evidence?.contains(piece) == true) }
        // On the command line there is no log to look into.
        #expect(ProblemText.detail(any: problem) == "\(try #require(problem.evidence)) (\(code))")
    }

    @Test func neitherProbesNorAnswersTellOfSQL() throws {
        let (folder, log) = (DataFolder(), Log())
        let life = try TestLife(folder.path, logger: log.logger)
        do {
            let other = try Connection(path: "\(folder.path)/catalogue.sqlite")
            try other.execute("DROP TABLE totals; DROP TABLE jobs")
        }
        let ready = try life.send("GET /readyz")
        let checks = try #require(ready.json["checks"] as? [[String: Any]])
        #expect(ready.status == 503 && checks.last?["name"] as? String == "catalogue")
        #expect(checks.last?["detail"] as? String == "does not answer, the log says why")
        let check = try #require(try log.lines("a check failed").first)
        #expect(check["check"] as? String == "catalogue")
        #expect((check["detail"] as? String)?.contains("no such table: totals") == true)

        let failed = try life.send("GET /v1/jobs")
        #expect(failed.status == 500 && failed.json["code"] as? String == "catalogue.failed")
        #expect(failed.json["detail"] as? String == "The server failed: its log says why, under this trace_id.")
        let line = try #require(try log.lines("a request failed").first)
        #expect((line["detail"] as? String)?.contains("no such table: jobs") == true)
        #expect(line["trace_id"] as? String == failed.json["trace_id"] as? String)
    }

    @Test func theRowOfAJobTellsNoMoreThanAnAnswer() throws {
        let (folder, log) = (DataFolder(), Log())
        var limits = JobLimits()
        limits.retryDelays = []
        var program = ChildPlan.script("")
        program.path = "/nonexistent/secret"
        let life = try TestLife(folder.path, jobLimits: limits, worker: program, logger: log.logger)
        let made = try life.order(["input": try life.store(SampleInput.safetensors()), "method": "nf4"])
        let job = try life.wait(try #require(made.json["id"] as? String), until: ["failed"])
        let problem = try #require(job["problem"] as? [String: Any])
        #expect(problem["code"] as? String == "worker.failed" && problem["status"] as? Int == 500)
        #expect(problem["detail"] as? String == "The server failed: its log says why, under this trace_id.")
        let line = try #require(try log.lines("job disturbed").first)
        #expect((line["detail"] as? String)?.contains("spawn") == true)
        // What the client has finds the line.
        let trace = try #require(problem["trace_id"] as? String)
        #expect(trace.count == 32 && (line["problem"] as? String)?.contains(trace) == true)
    }
}
