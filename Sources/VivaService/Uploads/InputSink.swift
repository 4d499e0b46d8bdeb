import ArtifactStore
import Catalogue
import HTTPServer
import OpenSSL
import Quantization
import Tensors

/// The sink of an upload that becomes an input: its bytes as they come.
final class InputSink: UploadSink {
    private let facilities: Facilities
    private let record: UploadRecord
    private let question: InputQuestion
    private let work: WorkFolder
    private let receiver: InputReceiver

    init(
        _ facilities: Facilities, _ record: UploadRecord, _ question: InputQuestion, state: [UInt8]?,
        permit: WorkPermit
    ) throws(Problem) {
        let reservation = facilities.reservation(permit)
        self.facilities = facilities
        self.record = record
        self.question = question
        do {
            work = try facilities.store.work(of: record)
            // What was not acknowledged is forgotten.
            if try work.content.length() != record.offset { try work.content.truncate(to: record.offset) }
            var inspection = try InputInspection(
                declaration: question.declaration, declaredBytes: record.length, limits: facilities.limits,
                memory: facilities.memory)
            var hash = try InputHash()
            if let state {
                guard let state = InputSinkState(state) else { throw Problem.unfit(.damaged) }
                hash = try InputHash(state: state.hash)
                try Self.resume(&inspection, record, work, state.finding)
            }
            let held = try facilities.store.allocatedBytes(of: .work, record.id)
            receiver = try InputReceiver(
                facilities, file: work.content, offset: record.offset, length: record.length,
                before: (held, record.reserved), inspection: inspection, hash: hash, reservation: reservation)
        } catch let error as QuantizationError {
            throw reservation.problem(error)
        } catch {
            throw Problem(sink: error)
        }
    }

    var offset: Int { receiver.offset }
    var reservedBytes: Int { max(receiver.reserved, record.length ?? 0) }

    func take(
        _ receive: (inout MutableRawSpan) throws(Problem) -> Int
    ) throws(TransferError<Problem>) -> Int { try receiver.take(receive) }

    func checkpoint() throws(Problem) -> [UInt8]? {
        do throws(StoreError) {
            try work.synchronize()
        } catch {
            throw Problem(error)
        }
        receiver.settle()
        return InputSinkState(finding: receiver.finding, hash: receiver.hashState).bytes
    }

    func seal(expiresAt: Int64) throws(Problem) -> String {
        do {
            let (finding, digest) = try receiver.finish()
            _ = try InputDescription.of(
                StagedSource(work.content, byteCount: offset), declaration: question.declaration,
                codec: ZlibArchiveCodec(), limits: facilities.limits, memory: facilities.memory)
            let input = InputRecord(
                owner: record.owner, digest: InputName.of(digest), bytes: offset,
                container: finding.container.rawValue, dtype: question.dtype, shape: question.shape,
                createdAt: Clock.milliseconds())
            let location = InputName.location(input.digest)
            let publisher = InputPublisher(store: facilities.store, catalogue: facilities.catalogue)
            try publisher.publish(facilities.store.stage(work), as: digest) { () throws(CatalogueError) in
                try facilities.catalogue.sealUpload(record.id, as: input, location: location, expiresAt: expiresAt)
            }
            // The result stands; a folder that stays behind is swept at the next start.
            try? facilities.store.removeWork(record.id)
            return location
        } catch {
            throw Problem(sink: error)
        }
    }

    /// What the inspection has seen of the bytes before is told to it, or read again while the header is not whole.
    private static func resume(
        _ inspection: inout InputInspection, _ record: UploadRecord, _ work: WorkFolder,
        _ finding: InputInspection.Finding?
    ) throws(QuantizationError) {
        if let finding { return try inspection.resume(finding, received: record.offset) }
        let source = StagedSource(work.content, byteCount: record.offset)
        try source.readAll { (piece) throws(QuantizationError) in try inspection.take(piece) }
    }
}

/// What is recorded with the offset of an upload that becomes an input.
struct InputSinkState: Equatable {
    private static let version: UInt8 = 1

    /// What the bytes have shown to be; nil before the header is whole.
    let finding: InputInspection.Finding?
    /// The state of the running SHA-256.
    let hash: [UInt8]

    init(finding: InputInspection.Finding?, hash: [UInt8]) {
        self.finding = finding
        self.hash = hash
    }

    /// Reads what `bytes` wrote; nil for anything else.
    init?(_ bytes: [UInt8]) {
        guard bytes.count >= 10, bytes[0] == Self.version, bytes.count >= 10 + Int(bytes[9]) else { return nil }
        let total = bytes[1..<9].reduce(0) { $0 << 8 | UInt64($1) }
        let name = String(decoding: bytes[10..<10 + Int(bytes[9])], as: UTF8.self)
        hash = Array(bytes[(10 + Int(bytes[9]))...])
        guard !name.isEmpty else {
            finding = nil
            return
        }
        guard let container = Container(rawValue: name) else { return nil }
        finding = .init(container: container, totalBytes: Int(exactly: total))
    }

    /// A version, the length in eight bytes (all ones: unknown), the name of the container behind its length (0:
    /// unknown), the state of the hash.
    var bytes: [UInt8] {
        let total = finding?.totalBytes.map { UInt64($0) } ?? .max
        let name = Array((finding?.container.rawValue ?? "").utf8)
        return [Self.version] + (0..<8).map { UInt8(truncatingIfNeeded: total >> (56 - 8 * $0)) }
            + [UInt8(name.count)] + name + hash
    }
}
