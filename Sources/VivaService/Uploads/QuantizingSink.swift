import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import OpenSSL
import Quantization
import Synchronization
import Tensors

/// The quantization that an upload's bytes feed while they arrive: of the input only its head is kept.
///
/// On disk lie the artifact and the session's scratch, both of lengths that the header decides, and the head.
final class QuantizingSink: UploadSink {
    private(set) var offset: Int
    private let wanted: QuantizeRequest
    private let record: UploadRecord
    private let work: WorkFolder
    private let head: StagedFile
    private let facilities: Facilities
    private let room: WorkRoom
    private let pump: InputPump
    /// Bytes in `head`.
    private var headBytes = 0
    /// Whether the session may still ask for what arrives when it is resumed.
    private var isInHead = true

    /// The sink of `record`, whose work is as it was left, perhaps by a crash; it goes on from `state`, or begins.
    init(
        _ facilities: Facilities, _ record: UploadRecord, _ wanted: QuantizeRequest, state: [UInt8]?,
        permit: WorkPermit
    ) throws(Problem) {
        try wanted.requireStreaming()
        let reservation = facilities.reservation(permit)
        self.facilities = facilities
        self.record = record
        self.wanted = wanted
        offset = record.offset
        do {
            work = try facilities.store.work(of: record)
            let scratch = try work.scratch()
            head = try work.head()
            let room = WorkRoom(work.content, scratch, isTaken: state != nil, reservation)
            self.room = room
            let session = try QuantizingSession(
                recipe: wanted.recipes[0], declaration: wanted.declaration, declaredBytes: record.length,
                engine: Engine.name, limits: facilities.limits, output: StagedStorage(work.content),
                scratch: StagedStorage(scratch), memory: facilities.memory,
                onPlan: { (layout) throws(QuantizationError) in try room.take(layout) })
            var hash = try InputHash()
            if let state {
                guard let checkpoint = try QuantizationCheckpoint(state) else { throw Problem.unfit(.damaged) }
                headBytes = checkpoint.headBytes
                try StagedSource(head, byteCount: checkpoint.headBytes).readAll { (piece) throws(QuantizationError) in
                    try session.consume(piece)
                }
                try session.resume(checkpoint.session)
                room.isTaken = false
                hash = try InputHash(state: checkpoint.hash)
            }
            guard session.consumedBytes == record.offset else { throw Problem.unfit(.contradiction) }
            isInHead = session.headBytes == record.offset
            if room.bytes == nil {
                // What a process that died left here may belong to an input with another header.
                try work.content.truncate(to: 0)
                try scratch.truncate(to: 0)
            }
            pump = InputPump(
                sessions: [session], inputBytes: record.length.map { $0 - record.offset }, pool: facilities.pool,
                hash: hash)
        } catch let error as QuantizationError {
            throw reservation.problem(error)
        } catch {
            throw Problem(sink: error)
        }
    }

    /// Known when the header has come.
    var reservedBytes: Int { room.bytes ?? 0 }

    func take(
        _ receive: (inout MutableRawSpan) throws(Problem) -> Int
    ) throws(TransferError<Problem>) -> Int {
        let position = offset
        var lost: StoreError?
        let count: Int
        do {
            count = try pump.take { (span) throws(Problem) in
                let count = try receive(&span)
                guard isInHead else { return count }
                let bytes = span.bytes.extracting(first: min(max(count, 0), span.byteCount))
                if position == 0, wanted.declaration == .recognise, ZipArchive.begins(bytes) {
                    throw Problem.notStreaming("An npz archive says only at its end what it holds.")
                }
                // Nobody knows yet how much of it is header.
                do throws(StoreError) {
                    try head.write(bytes, at: position)
                } catch {
                    lost = error
                    throw Problem(error)
                }
                return count
            }
        } catch {
            guard let lost else { throw room.reservation.transferred(error) }
            throw .session(.storage(StagedStorage.failure("write", lost)))
        }
        offset += count
        guard isInHead, count > 0 else { return count }
        do throws(QuantizationError) {
            headBytes = try pump.settled { (sessions) throws(QuantizationError) in sessions[0].headBytes }
        } catch {
            throw room.reservation.transferred(.session(error))
        }
        isInHead = headBytes == offset
        return count
    }

    func checkpoint() throws(Problem) -> [UInt8]? {
        do {
            let (session, hash) = try pump.settled { (sessions) throws(QuantizationError) in
                (try sessions[0].snapshot(), pump.hashState)
            }
            try work.synchronize()
            return try QuantizationCheckpoint(headBytes: headBytes, hash: hash, session: session).bytes()
        } catch {
            throw problem(error)
        }
    }

    func seal(expiresAt: Int64) throws(Problem) -> String {
        let publisher = ArtifactPublisher(
            store: facilities.store, catalogue: facilities.catalogue, owner: record.owner)
        do {
            let outcome = try pump.finish(inputBytes: offset)
            facilities.metrics.quantized(wanted.recipes[0].method, outcome)
            try work.content.truncate(to: outcome.results[0].artifactBytes)
            let finished = try publisher.describe(
                try facilities.store.stage(work), outcome.results[0], recipe: wanted.recipes[0], name: wanted.name,
                input: (outcome.inputDigest, outcome.inputBytes), declaration: wanted.declaration)
            let location = try publisher.publish(
                finished, sealing: record.id, length: outcome.inputBytes, expiresAt: expiresAt)
            // The result stands; a folder that stays behind is swept at the next start.
            try? facilities.store.removeWork(record.id)
            return location
        } catch {
            throw problem(error)
        }
    }

    /// What the session throws may stand for a quota without room.
    private func problem(_ error: any Error) -> Problem {
        (error as? QuantizationError).map { room.reservation.problem($0) } ?? Problem(sink: error)
    }
}

/// The room on disk that a quantization takes as soon as its header has come.
private final class WorkRoom: Sendable {
    private let content: StagedFile
    private let scratch: StagedFile
    let reservation: DiskReservation
    private let state: Mutex<(isTaken: Bool, bytes: Int?)>

    /// Room for `content` and `scratch`; `isTaken` where both have it already.
    init(_ content: StagedFile, _ scratch: StagedFile, isTaken: Bool, _ reservation: DiskReservation) {
        self.content = content
        self.scratch = scratch
        self.reservation = reservation
        state = Mutex((isTaken, nil))
    }

    /// Whether the next plan was made before, so that its room is not free any more, and is its own.
    var isTaken: Bool {
        get { state.withLock { $0.isTaken } }
        set { state.withLock { $0.isTaken = newValue } }
    }

    /// Bytes of both files, nil before the plan is known.
    var bytes: Int? { state.withLock { $0.bytes } }

    func take(_ layout: ArtifactLayout) throws(QuantizationError) {
        let wanted = layout.fileBytes + layout.scratchBytes
        if !isTaken { try reservation.add(wanted) }
        do throws(StoreError) {
            try content.reserve(layout.fileBytes)
            try scratch.reserve(layout.scratchBytes)
        } catch {
            throw .storage(StagedStorage.failure("fallocate", error))
        }
        state.withLock { $0.bytes = wanted }
    }
}

extension QuantizeRequest {
    /// Refuses what cannot be made while the bytes arrive.
    func requireStreaming() throws(Problem) {
        if budget != nil { throw Problem.notStreaming("A budget is spent when all weights have been measured.") }
        guard recipes.count == 1 else { throw Problem.notStreaming("An upload becomes one artifact.") }
        guard recipes[0].format != .awq || !recipes[0].usesData else {
            throw Problem.notStreaming("AWQ by calibration data begins when all of it has come.")
        }
    }
}

extension Problem {
    /// The answer to whatever a sink throws.
    init(sink error: any Error) {
        self =
            switch error {
            case let error as Problem: error
            case let error as QuantizationError: Problem(error)
            case let error as StoreError: Problem(error)
            case let error as OpenSSLError: Problem(error)
            case is SHA256StateError: .unfit(.contradiction)
            default: Problem(unexpected: error)
            }
    }

    /// The answer where what was recorded does not fit what lies on the disk, or this version of the service.
    static func unfit(_ flaw: SnapshotFlaw) -> Problem { Problem(QuantizationError.snapshot(flaw)) }

    /// The answer to a quantization that needs all of its input before it can begin.
    static func notStreaming(_ reason: String) -> Problem {
        Problem(
            .unprocessableContent, code: "upload.not_streaming", title: "This cannot be made while the bytes arrive",
            detail: reason + " Upload the input without a method, then start a job that quantizes it.")
    }
}
