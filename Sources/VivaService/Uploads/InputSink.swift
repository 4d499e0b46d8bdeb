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
    /// Whether the running digest began with the first byte.
    private let isHashWhole: Bool

    init(
        _ facilities: Facilities, _ record: UploadRecord, _ question: InputQuestion, state: [UInt8]?
    ) throws(Problem) {
        self.facilities = facilities
        self.record = record
        self.question = question
        isHashWhole = record.offset == 0
        do {
            work = try facilities.store.work(of: record)
            var inspection = try InputInspection(
                declaration: question.declaration, declaredBytes: record.length, limits: facilities.limits,
                memory: facilities.memory)
            if record.offset > 0 { try Self.resume(&inspection, record, work, state) }
            receiver = try InputReceiver(
                facilities, file: work.content, offset: record.offset, length: record.length,
                held: facilities.store.allocatedBytes(of: .work, record.id), inspection: inspection, hash: InputHash())
        } catch let error as QuantizationError {
            throw Problem(error)
        } catch let error as StoreError {
            throw Problem(error)
        } catch let error as OpenSSLError {
            throw Problem(error)
        } catch {
            throw Problem(unexpected: error)
        }
    }

    var offset: Int { receiver.offset }
    var reservedBytes: Int { receiver.reserved }

    func take(
        _ receive: (inout MutableRawSpan) throws(Problem) -> Int
    ) throws(TransferError<Problem>) -> Int { try receiver.take(receive) }

    func checkpoint() throws(Problem) -> [UInt8]? {
        do throws(StoreError) {
            try work.synchronize()
        } catch {
            throw Problem(error)
        }
        return receiver.finding.map { InputSinkState(finding: $0).bytes }
    }

    func seal(expiresAt: Int64) throws(Problem) -> String {
        let (finding, digest) = try ended()
        do throws(QuantizationError) {
            let source = StagedSource(work.content, byteCount: offset)
            _ = try InputDescription.of(
                source, declaration: question.declaration, codec: ZlibArchiveCodec(), limits: facilities.limits,
                memory: facilities.memory)
        } catch {
            throw Problem(error)
        }
        let input = InputRecord(
            owner: record.owner, digest: InputName.of(digest), bytes: offset, container: finding.container.rawValue,
            dtype: question.dtype, shape: question.shape, createdAt: Clock.milliseconds())
        let location = InputName.location(input.digest)
        try publish(as: digest) { () throws(CatalogueError) in
            try facilities.catalogue.sealUpload(record.id, as: input, location: location, expiresAt: expiresAt)
        }
        // The result stands; a folder that stays behind is swept at the next start.
        try? facilities.store.removeWork(record.id)
        return location
    }

    private func ended() throws(Problem) -> (finding: InputInspection.Finding, digest: Digest) {
        do {
            let (finding, running) = try receiver.finish()
            return (finding, try isHashWhole ? running : work.content.digest())
        } catch let error as QuantizationError {
            throw Problem(error)
        } catch let error as StoreError {
            throw Problem(error)
        } catch {
            throw Problem(unexpected: error)
        }
    }

    private func publish(as digest: Digest, _ record: () throws(CatalogueError) -> Void) throws(Problem) {
        let staged: StagedContent
        do throws(StoreError) {
            staged = try facilities.store.stage(work)
        } catch {
            throw Problem(error)
        }
        try InputPublisher(store: facilities.store, catalogue: facilities.catalogue)
            .publish(staged, as: digest, record: record)
    }

    /// Forgets what was not acknowledged, and what the inspection has seen of the rest is told to it, or read again.
    private static func resume(
        _ inspection: inout InputInspection, _ record: UploadRecord, _ work: WorkFolder, _ state: [UInt8]?
    ) throws {
        if let finding = state.flatMap({ InputSinkState($0) })?.finding {
            return try inspection.resume(finding, received: record.offset)
        }
        let source = StagedSource(work.content, byteCount: record.offset)
        try source.readAll { (piece) throws(QuantizationError) in try inspection.take(piece) }
    }
}

/// What is recorded with the offset of an upload that becomes an input.
struct InputSinkState: Equatable {
    private static let version: UInt8 = 1

    let finding: InputInspection.Finding

    init(finding: InputInspection.Finding) {
        self.finding = finding
    }

    /// Reads what `bytes` wrote; nil for anything else.
    init?(_ bytes: [UInt8]) {
        guard bytes.count >= 9, bytes[0] == Self.version,
            let container = Container(rawValue: String(decoding: bytes[9...], as: UTF8.self))
        else { return nil }
        let total = bytes[1..<9].reduce(0) { $0 << 8 | UInt64($1) }
        finding = .init(container: container, totalBytes: Int(exactly: total))
    }

    /// A version, the length in eight bytes (all ones: unknown), the container.
    var bytes: [UInt8] {
        let total = finding.totalBytes.map { UInt64($0) } ?? .max
        return [Self.version] + (0..<8).map { UInt8(truncatingIfNeeded: total >> (56 - 8 * $0)) }
            + Array(finding.container.rawValue.utf8)
    }
}

extension ArtifactStore {
    /// The work of an upload, made if nothing of it was acknowledged, with its content cut to what was.
    func work(of record: UploadRecord) throws(StoreError) -> WorkFolder {
        let work: WorkFolder
        do {
            work = try self.work(record.id)
        } catch {
            guard case .notFound = error, record.offset == 0 else { throw error }
            // A folder without content is what a crash in the middle of its making leaves.
            try removeWork(record.id)
            return try createWork(record.id)
        }
        if try work.content.length() != record.offset { try work.content.truncate(to: record.offset) }
        return work
    }
}
