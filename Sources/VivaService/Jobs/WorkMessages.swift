import Catalogue
import HTTPServer
import Processes
import Tensors

/// The descriptors that a worker process is born with.
enum WorkDescriptor {
    static let channel: Int32 = 3
    /// The input, for reading.
    static let input: Int32 = 4
    /// The artifact's bytes, and what is needed on the way to them.
    static let content: Int32 = 5
    static let scratch: Int32 = 6
    /// The calibration data, for reading; only where the order names some.
    static let calibration: Int32 = 7
    /// Where an archive is unpacked from; only for an archive.
    static func archive(besideCalibration: Bool) -> Int32 { besideCalibration ? 8 : 7 }
}

/// What a server tells a worker process.
enum WorkCommand: UInt8 {
    /// The order; comes first.
    case order = 1
    /// Where an earlier worker stood; empty when there was none. Comes second.
    case resume
    /// Leave a checkpoint and end.
    case stop
    /// The checkpoint is recorded: from here on what lies behind it may be written.
    case recorded
}

/// What a worker process tells its server.
enum WorkAnswer: UInt8 {
    /// How far it has come.
    case progress = 1
    /// From where another worker can go on: what lies before it is on the disk.
    case checkpoint
    /// The report of the artifact, as it is stored.
    case report
    /// The artifact is made; comes after its report, and last.
    case finished
    /// It is not; comes last.
    case failed
    /// It has ended as it was told to; comes last.
    case stopped
}

/// Everything that a worker process needs to know.
struct WorkOrder: Equatable {
    /// The most bytes of an order.
    static let maximumBytes = 4 << 20

    var request: JobRequest
    /// The identifier that the artifact will have.
    var artifact: String
    var owner: String
    /// The input, as `sha256:<hex>`, and its length.
    var input: String
    var inputBytes: Int
    /// A second input with calibration data, as `sha256:<hex>`.
    var calibration: String?
    /// Threads that code a tensor, and bytes of memory that header and tensors may need.
    var threads: Int
    var workingBytes: Int

    init(
        request: JobRequest, artifact: String, owner: String, input: String, inputBytes: Int,
        calibration: String? = nil, threads: Int, workingBytes: Int
    ) {
        self.request = request
        self.artifact = artifact
        self.owner = owner
        self.input = input
        self.inputBytes = inputBytes
        self.calibration = calibration
        self.threads = threads
        self.workingBytes = workingBytes
    }

    init(_ frame: Frame?) throws(WorkError) {
        guard let frame, frame.kind == WorkCommand.order.rawValue else { throw .unreadable("an order") }
        let value = try WorkError.reading("an order") { () throws(TensorFormatError) in
            try .parse(unsafe frame.payload.span.bytes)
        }
        guard let artifact = value["artifact"]?.string, let owner = value["owner"]?.string,
            let input = value["input"]?.string, let inputBytes = value["input_bytes"]?.integer,
            let threads = value["threads"]?.integer, let workingBytes = value["working_bytes"]?.integer
        else { throw .unreadable("an order") }
        self.init(
            request: try JobRequest(value["request"]), artifact: artifact, owner: owner, input: input,
            inputBytes: inputBytes, calibration: value["calibration"]?.string, threads: threads,
            workingBytes: workingBytes)
    }

    var frame: Frame {
        let json = JSON.object([
            ("request", request.json), ("artifact", .string(artifact)), ("owner", .string(owner)),
            ("input", .string(input)), ("input_bytes", .integer(inputBytes)),
            ("calibration", .optional(calibration)), ("threads", .integer(threads)),
            ("working_bytes", .integer(workingBytes)),
        ])
        return Frame(kind: WorkCommand.order.rawValue, payload: json.bytes())
    }
}

/// How far a worker process has come.
struct WorkProgress: Equatable {
    var bytes: Int
    var tensors: Int
    var totalTensors: Int

    init(bytes: Int, tensors: Int, totalTensors: Int) {
        self.bytes = bytes
        self.tensors = tensors
        self.totalTensors = totalTensors
    }

    init(_ frame: Frame) throws(WorkError) {
        guard frame.payload.count == 24 else { throw .unreadable("progress") }
        let values = (0..<3).map { part in
            (0..<8).reversed().reduce(0) { $0 << 8 | Int(frame.payload[8 * part + $1]) }
        }
        self.init(bytes: values[0], tensors: values[1], totalTensors: values[2])
    }

    var frame: Frame {
        let payload = [bytes, tensors, totalTensors].flatMap { value in
            (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
        }
        return Frame(kind: WorkAnswer.progress.rawValue, payload: payload)
    }
}

/// Why a worker process made no artifact.
struct WorkFailure: Error, Equatable {
    /// Whether the reason lies outside of the job and may pass.
    let isOutside: Bool
    /// The problem as JSON text, for whoever made the job.
    let problem: String
    /// What only the server's log is told.
    let evidence: String?

    init(isOutside: Bool, _ problem: Problem, trace: String) {
        self.isOutside = isOutside
        self.problem = String(decoding: problem.render(traceID: trace), as: UTF8.self)
        evidence = problem.evidence
    }

    init(_ frame: Frame) throws(WorkError) {
        let value = try WorkError.reading("a failure") { () throws(TensorFormatError) in
            try .parse(unsafe frame.payload.span.bytes)
        }
        guard case .bool(let isOutside)? = value["is_outside"], let problem = value["problem"]?.string else {
            throw .unreadable("a failure")
        }
        self.isOutside = isOutside
        self.problem = problem
        evidence = value["evidence"]?.string
    }

    var frame: Frame {
        let json = JSON.object([
            ("is_outside", .bool(isOutside)), ("problem", .string(problem)), ("evidence", .optional(evidence)),
        ])
        return Frame(kind: WorkAnswer.failed.rawValue, payload: json.bytes())
    }
}

extension ArtifactRecord {
    /// What a worker process tells of the artifact that it made.
    var frame: Frame {
        let json = JSON.object([
            ("id", .string(id)), ("owner", .string(owner)), ("name", .optional(name)), ("method", .string(method)),
            ("format", .string(format)), ("mode", .string(mode)), ("input_digest", .string(inputDigest)),
            ("input_bytes", .integer(inputBytes)), ("bytes", .integer(bytes)), ("digest", .string(digest)),
            ("manifest", .string(manifest)), ("created_at", .integer(Int(createdAt))),
        ])
        return Frame(kind: WorkAnswer.finished.rawValue, payload: json.bytes())
    }

    /// Reads what `frame` wrote.
    init(_ frame: Frame) throws(WorkError) {
        let value = try WorkError.reading("an artifact") { () throws(TensorFormatError) in
            try .parse(unsafe frame.payload.span.bytes)
        }
        func text(_ name: String) throws(WorkError) -> String {
            guard let text = value[name]?.string else { throw .unreadable("an artifact's \(name)") }
            return text
        }
        func number(_ name: String) throws(WorkError) -> Int {
            guard let number = value[name]?.integer else { throw .unreadable("an artifact's \(name)") }
            return number
        }
        self.init(
            id: try text("id"), owner: try text("owner"), name: value["name"]?.string, method: try text("method"),
            format: try text("format"), mode: try text("mode"), inputDigest: try text("input_digest"),
            inputBytes: try number("input_bytes"), bytes: try number("bytes"), digest: try text("digest"),
            manifest: try text("manifest"), createdAt: Int64(try number("created_at")))
    }
}
