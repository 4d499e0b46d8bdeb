import Catalogue
import HTTPServer
import HTTPTypes
import HTTPWire
import Quantization

/// What one request adds to an upload, as its head says.
struct UploadDelivery {
    /// Where its first byte belongs.
    let offset: Int
    /// The length of the upload, where it is said with this request.
    let length: Int?
    /// Bytes of the body, where its head says so.
    let bytes: Int?
    let checksum: UploadChecksum?
    /// Whether the body counts as a whole or not at all: a digest is promised.
    let isWhole: Bool
    /// Why more must not be added: an upload is changed by its offset and has no entity tag.
    private let refusal: Problem?

    init(_ request: borrowing Request, offset: Int, length: Int?) throws(Problem) {
        let fields = request.head.fields
        let coding = fields[.contentEncoding]?.lowercased() ?? ""
        guard coding.isEmpty || coding == "identity" else {
            throw Problem(
                .unsupportedMediaType, code: "body.unsupported_coding",
                detail: "Offsets count the bytes that are sent: the body of an upload is not coded.",
                fields: [.acceptEncoding: "identity"])
        }
        self.offset = offset
        self.length = length
        bytes = request.body.declaredLength
        checksum = try UploadChecksum.of(fields)
        isWhole = checksum != nil || fields[.contentDigest] != nil || fields[.reprDigest] != nil
        refusal = request.head.method == .patch ? request.head.failedPrecondition(etag: "") : nil
    }

    /// Refuses what the row shows to be wrong, before a byte of the body is read.
    func check(_ record: UploadRecord) throws(Problem) {
        guard offset == record.offset else {
            throw Problem(
                .conflict, code: "upload.offset_mismatch", title: "The offset is another one",
                detail: "The upload stands at \(record.offset), not at \(offset).",
                members: [("expected_offset", .integer(record.offset)), ("provided_offset", .integer(offset))],
                fields: [.uploadOffset: String(record.offset)])
        }
        if let length, let known = record.length, length != known {
            throw UploadFields.malformed("Upload-Length was \(known) before; it does not change.")
        }
        let end = record.location != nil ? record.offset : length ?? record.length ?? .max
        guard end >= record.offset else {
            throw UploadFields.malformed("Upload-Length is \(end); \(record.offset) bytes have come.")
        }
        if let bytes, bytes > end - record.offset { throw Self.tooLong(end) }
        if let refusal { throw refusal }
    }

    static func tooLong(_ length: Int) -> Problem {
        Problem(
            .contentTooLarge, code: "upload.too_long", title: "The upload is shorter",
            detail: "The body goes on behind the upload's \(length) bytes.", members: [("length", .integer(length))])
    }
}

/// Why a request ended before its bytes were acknowledged.
struct UploadRefusal: Error {
    let problem: Problem
    /// Whether no later request can mend it: what was sent is not what it should be.
    let endsUpload: Bool

    /// A refusal of the bytes themselves; those of the server, and of a quota, leave the upload as it was.
    init(content problem: Problem) {
        self.init(problem, endsUpload: problem.status.kind == .clientError && problem.status != .forbidden)
    }

    /// A failure of this request alone.
    init(request problem: Problem) {
        self.init(problem, endsUpload: false)
    }

    fileprivate init(_ problem: Problem, endsUpload: Bool) {
        self.problem = problem
        self.endsUpload = endsUpload
    }
}

/// Carries the body of one request into a sink, and acknowledges it.
struct UploadReception {
    var record: UploadRecord
    let sink: any UploadSink
    let checksum: UploadChecksum?
    let isWhole: Bool
    let permit: WorkPermit
    let uploads: Uploads

    /// Takes the body to its end; answers the upload as it stands then.
    mutating func run(_ request: inout Request) throws(UploadRefusal) -> UploadRecord {
        do throws(TransferError<Problem>) {
            try receive(&request)
        } catch {
            switch error {
            case .receive(let problem):
                throw keeping(problem)
            case .session(let error): throw UploadRefusal(content: Problem(error))
            }
        }
        do throws(Problem) {
            try checksum?.verify()
        } catch {
            throw UploadRefusal(request: error)
        }
        guard isComplete else {
            try acknowledge()
            return record
        }
        try seal()
        return record
    }

    private var isComplete: Bool { sink.offset == record.length }

    private mutating func receive(_ request: inout Request) throws(TransferError<Problem>) {
        let end = record.length ?? uploads.facilities.limits.maximumInputBytes
        let step = uploads.facilities.intake.acknowledgeBytes
        while true {
            let left = end - sink.offset
            let count = try sink.take { (span) throws(Problem) in
                guard left > 0 else { return try Self.expectEnd(&request, of: end) }
                var room = span._mutatingExtracting(first: min(left, span.byteCount))
                let count = try request.body.read(into: &room)
                checksum?.update(room.bytes.extracting(first: count))
                return count
            }
            if count == 0 { return }
            guard !isWhole, !isComplete, sink.offset - record.offset >= step else { continue }
            do throws(UploadRefusal) {
                try acknowledge()
            } catch {
                throw .receive(error.problem)
            }
        }
    }

    /// Reads the end of a body whose bytes have all come; there may be no more of them.
    private static func expectEnd(_ request: inout Request, of length: Int) throws(Problem) -> Int {
        var one: [UInt8] = [0]
        var span = one.mutableSpan
        var bytes = unsafe span.mutableBytes
        guard try request.body.read(into: &bytes) == 0 else { throw UploadDelivery.tooLong(length) }
        return 0
    }

    /// The refusal of a request whose bytes ended with `problem`; what came before is kept.
    private mutating func keeping(_ problem: Problem) -> UploadRefusal {
        do throws(UploadRefusal) {
            if !isWhole, !isComplete { try acknowledge() }
            return UploadRefusal(request: problem)
        } catch {
            // A sink that failed cannot keep anything either: why it failed first is the answer.
            return UploadRefusal(problem, endsUpload: error.endsUpload)
        }
    }

    private mutating func acknowledge() throws(UploadRefusal) {
        guard sink.offset > record.offset else { return }
        let state: [UInt8]?
        do throws(Problem) {
            state = try sink.checkpoint()
        } catch {
            // What was taken last may turn out to be wrong only now.
            throw UploadRefusal(content: error)
        }
        do throws(Problem) {
            record.expiresAt = try uploads.acknowledge(
                record, offset: sink.offset, reserved: sink.reservedBytes, state: state)
            record.offset = sink.offset
            permit.keep()
        } catch {
            throw UploadRefusal(request: error)
        }
    }

    private mutating func seal() throws(UploadRefusal) {
        let expiresAt = Clock.milliseconds() + uploads.facilities.intake.uploadTimeToLive.milliseconds
        do throws(Problem) {
            record.location = try sink.seal(expiresAt: expiresAt)
        } catch {
            throw UploadRefusal(content: error)
        }
        record.offset = sink.offset
        record.expiresAt = expiresAt
    }
}
