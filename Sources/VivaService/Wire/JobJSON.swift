import Jobs
import Observability
import Quantization

/// A job as the contract describes it.
struct JobJSON {
    let job: JobRecord
    /// How far it has come, while it runs.
    let progress: JobProgress?

    var json: JSON {
        let path = "/v1/jobs/\(job.id)"
        var links: [(String, JSON)] = [
            ("self", .string(path)), ("events", .string("\(path)/events")),
            ("input", .string("/v1/inputs/\(job.input)")),
        ]
        if let calibration = job.calibration {
            links.append(("calibration", .string("/v1/inputs/\(calibration)")))
        }
        if job.state == .succeeded { links.append(("artifact", .string("/v1/artifacts/\(job.artifact)"))) }
        var members: [(String, JSON)] = [
            ("id", .string(job.id)), ("state", .string(job.state.rawValue)), ("input", .string(job.input)),
            ("calibration", .optional(job.calibration)),
        ]
        members += Self.request(job)
        members += [
            ("artifact", job.state == .succeeded ? .string(job.artifact) : .null),
            ("attempts", .integer(job.attempts)), ("cancel_requested", .bool(job.isCancelWanted)),
            ("memory_bytes", .integer(job.memory)), ("reserved_bytes", .integer(job.reserved)),
            ("progress", progress.map { Self.json($0) } ?? Self.atRest(job)),
            ("problem", job.problem.map { .raw($0) } ?? .null), ("created_at", Self.time(job.createdAt)),
            ("started_at", Self.time(job.startedAt)), ("finished_at", Self.time(job.finishedAt)),
            ("links", .object(links)),
        ]
        return .object(members)
    }

    /// How far a job has come, with what is left.
    static func json(_ progress: JobProgress) -> JSON {
        .object([
            ("bytes", .integer(progress.bytes)), ("total_bytes", .integer(progress.totalBytes)),
            ("tensors", .integer(progress.tensors)), ("total_tensors", .integer(progress.totalTensors)),
            ("bytes_per_second", .optional(progress.rate)), ("eta_seconds", .optional(progress.secondsLeft)),
        ])
    }

    private static func atRest(_ job: JobRecord) -> JSON {
        guard job.state == .succeeded else { return .null }
        return .object([("bytes", .integer(job.totalBytes)), ("total_bytes", .integer(job.totalBytes))])
    }

    /// Method, name and options; of a row that an unknown version wrote, nothing.
    private static func request(_ job: JobRecord) -> [(String, JSON)] {
        // The row is shown without them rather than not at all.
        guard let request = try? JobRequest(text: job.recipe), let recipe = try? Recipe(options: request.options) else {
            return []
        }
        return [
            ("name", .optional(request.name)), ("method", .string(recipe.method.rawValue)),
            ("format", .string(recipe.format.rawValue)), ("mode", .string(recipe.mode.rawValue)),
            ("options", .object(recipe.saidMembers.map { ($0.0, .raw($0.1)) })),
        ]
    }

    private static func time(_ milliseconds: Int64?) -> JSON {
        milliseconds.map { .string(rfc3339(milliseconds: $0)) } ?? .null
    }
}
