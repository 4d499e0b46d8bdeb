import Catalogue
import Glibc
import Jobs

/// Times the catalogue with few rows and with many, and the disk's own commits in the same run.
///
/// `catalogue-bench FOLDER [ROWS] [JOBS]` fills a new catalogue in the folder with `ROWS` artifacts (100,000) and
/// queues `JOBS` jobs (10,000), each by its own durable commit. Prints one line a case, fields separated by tabs:
/// case, operations a second, ratio and what it is a ratio to.
@main
struct CatalogueBench {
    let folder: String
    let rows: Int
    let jobs: Int

    static func main() throws {
        let arguments = CommandLine.arguments
        guard arguments.count > 1 else {
            print("usage: catalogue-bench FOLDER [ROWS] [JOBS]")
            exit(2)
        }
        let numbers = arguments.dropFirst(2).map { Int($0) ?? 0 }
        try CatalogueBench(
            folder: arguments[1], rows: numbers.first ?? 100_000, jobs: numbers.dropFirst().first ?? 10_000
        ).run()
    }

    private func run() throws {
        let commits = diskCommits()
        report("a page of 4 KiB written and fsynced", commits, nil)
        let catalogue = try Catalogue(path: "\(folder)/catalogue.sqlite")
        try fill(catalogue, from: 0, to: 1_000)
        let few = try pages(catalogue)
        try fill(catalogue, from: 1_000, to: rows)
        let many = try pages(catalogue)
        for (before, after) in zip(few, many) {
            report("\(after.name), \(rows) artifacts", after.rate, (before.rate, "with 1,000"))
        }
        for owner in 0..<4 {
            let input = InputRecord(
                owner: "owner-\(owner)", digest: "sha256:input", bytes: 1, container: "npy", createdAt: 1)
            _ = try catalogue.insert(input)
        }
        let enqueued = try rate(jobs) { number in _ = try catalogue.enqueue(job(number)) }
        report("enqueue a job", enqueued, (commits, "the fsyncs"))
        let listed = try rate(500) { _ in
            _ = try catalogue.jobs(owner: "owner-1", state: .queued, after: nil, limit: 100)
        }
        report("list 100 queued of \(jobs) jobs", listed, nil)
        var owner = ""
        let claimed = try rate(jobs) { number in
            guard var job = try catalogue.claimJob(after: owner, memory: .max, now: 1) else { return }
            owner = job.owner
            job.state = .succeeded
            job.finishedAt = 2
            _ = try catalogue.succeedJob(job, with: nil)
        }
        report("claim a job and end it", claimed, (commits, "the fsyncs"))
    }

    private func job(_ number: Int) -> JobRecord {
        JobRecord(
            id: "job-\(number)", owner: "owner-\(number % 4)", input: "sha256:input", recipe: #"{"method":"nf4"}"#,
            artifact: "of-\(number)", createdAt: Int64(number))
    }

    private func fill(_ catalogue: Catalogue, from: Int, to: Int) throws {
        for start in stride(from: from, to: to, by: 1_000) {
            _ = try catalogue.insert(
                (start..<min(start + 1_000, to)).map { number in
                    ArtifactRecord(
                        id: "artifact-\(number)", owner: "owner-\(number % 4)", name: "layer-\(number % 100)",
                        method: number % 2 == 0 ? "nf4" : "int8", format: "bitsandbytes", mode: "best",
                        inputDigest: "sha256:\(number)", inputBytes: 1, bytes: 1, digest: "sha256:\(number)",
                        manifest: String(repeating: "m", count: 1_500), createdAt: Int64(number))
                })
        }
    }

    /// Pages of 100 from the newest, from the middle, by method, and one artifact.
    private func pages(_ catalogue: Catalogue) throws -> [(name: String, rate: Double)] {
        func page(_ cursor: String?, _ method: String?) throws -> String? {
            try catalogue.artifacts(owner: "owner-1", after: cursor, limit: 100, method: method, name: nil).next
        }
        let second = try page(nil, nil)
        return [
            ("list the newest 100", try rate(500) { _ in _ = try page(nil, nil) }),
            ("list the next 100", try rate(500) { _ in _ = try page(second, nil) }),
            ("list 100 of a method", try rate(500) { _ in _ = try page(nil, "int8") }),
            ("one artifact", try rate(20_000) { _ in _ = try catalogue.artifact("artifact-501", owner: "owner-1") }),
        ]
    }

    /// How often a second the disk makes 4 KiB durable: what a commit cannot beat.
    private func diskCommits() -> Double {
        let file = open("\(folder)/commits", O_RDWR | O_CREAT, 0o600)
        defer { close(file) }
        let page = [UInt8](repeating: 1, count: 4096)
        return rate(500) { number in
            pwrite(file, page, page.count, number * page.count)
            fsync(file)
        }
    }

    private func rate(_ count: Int, _ body: (Int) throws -> Void) rethrows -> Double {
        let clock = ContinuousClock()
        let start = clock.now
        for number in 0..<count { try body(number) }
        return Double(count) / ((clock.now - start) / .seconds(1))
    }

    private func report(_ name: String, _ rate: Double, _ other: (rate: Double, name: String)?) {
        let ratio = other.map { "\(Double(Int(rate / $0.rate * 100)) / 100)\tof \($0.name)" } ?? "\t"
        print(name, Int(rate), ratio, separator: "\t")
    }
}
