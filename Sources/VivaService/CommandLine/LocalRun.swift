import ArtifactStore
import OpenSSL
import Quantization
import Sockets

/// What the files of one command share: the recipe, the progress, and whether somebody has pressed Ctrl-C.
struct LocalRun {
    let recipe: Recipe
    /// A file of calibration data.
    let calibration: String?
    let progress: ProgressBar
    let interruption: Interruption
    private let pool = BufferPool()

    /// Why the next bytes of a file did not come.
    enum ReadFailure: Error {
        case store(StoreError)
        case interrupted
    }

    init(
        recipe: Recipe, calibration: String?, totalBytes: Int, interruption: Interruption
    ) throws(SocketError) {
        self.recipe = recipe
        self.calibration = calibration
        self.interruption = interruption
        progress = try ProgressBar(total: totalBytes)
    }

    /// Quantizes the rest of `file` into `staged`; an archive reaches the session through `intake`.
    func quantize(
        _ file: borrowing InputFile, _ declaration: InputDeclaration, isShard: Bool, into staged: StagedFile,
        scratch: StagedFile, intake: sending ArchiveIntake? = nil
    ) throws(ServiceError) -> (result: SessionResult, bytes: Int, digest: Digest) {
        do {
            let session = try QuantizingSession(
                recipe: recipe, declaration: declaration, declaredBytes: file.length, engine: Engine.name,
                limits: .ofThisMachine, isShard: isShard, calibrationFile: try Self.open(calibration),
                output: StagedStorage(staged), scratch: StagedStorage(scratch))
            let pump = InputPump(
                sessions: [session], intake: intake, inputBytes: file.length, pool: pool, hash: try InputHash())
            let outcome = try pump.run { (_, layer) throws(QuantizationError) in
                if interruption.isWanted { throw .interrupted }
                progress.subject = "layer \(min(layer.finished + 1, layer.total)) of \(layer.total)"
                progress.advance(by: 0)
            } _: { (span) throws(ReadFailure) in
                try read(file, &span)
            }
            return (outcome.results[0], outcome.inputBytes, outcome.inputDigest)
        } catch let error as TransferError<ReadFailure> {
            switch error {
            case .receive(.interrupted), .session(.interrupted): throw .interrupted
            case .receive(.store(let error)): throw .failed("\(error)")
            case .session(let error): throw .failed(ProblemText.detail(error))
            }
        } catch let error as QuantizationError {
            throw .failed(ProblemText.detail(error))
        } catch {
            throw .failed("\(error)")
        }
    }

    /// The calibration data of a command, if it names any.
    static func open(_ path: String?) throws -> CalibrationFile? {
        guard let path else { return nil }
        return try CalibrationFile(
            source: OpenedSource(try OpenedFile(path: path)), limits: .ofThisMachine, memory: nil)
    }

    /// The name of the calibration data's bytes, for a report.
    static func digest(_ path: String?) throws -> String? {
        guard let path else { return nil }
        let hash = try SHA256()
        try OpenedSource(try OpenedFile(path: path)).readAll { hash.update($0) }
        return InputName.of(hash.finish())
    }

    /// Copies `file` into `staged` byte for byte.
    func copy(_ file: borrowing InputFile, into staged: StagedFile) throws(ServiceError) {
        do {
            var offset = 0
            while true {
                if interruption.isWanted { throw ServiceError.interrupted }
                let bytes = try file.next(Self.copiedPiece)
                try staged.write(unsafe bytes.span.bytes, at: offset)
                offset += bytes.count
                if bytes.count < Self.copiedPiece { return }
            }
        } catch let error as ServiceError {
            throw error
        } catch {
            throw .failed("\(error)")
        }
    }

    private static let copiedPiece = 1 << 20

    private func read(_ file: borrowing InputFile, _ span: inout MutableRawSpan) throws(ReadFailure) -> Int {
        if interruption.isWanted { throw .interrupted }
        do throws(StoreError) {
            let count = try file.read(into: &span)
            progress.advance(by: count)
            return count
        } catch {
            throw .store(error)
        }
    }
}
