import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import Jobs
import OpenSSL
import Quantization
import Tensors

/// The inputs of a job, as `sha256:<hex>`.
struct JobInputs: Equatable {
    let input: String
    /// Calibration data, where it is an input of its own.
    var calibration: String?

    /// The names of all.
    var names: [String] { [input] + (calibration.map { [$0] } ?? []) }
}

/// Makes a job of a request: looks at the input's header and refuses whatever it shows to be impossible, so that a job
/// that was accepted fails for its weights or for the machine only.
struct JobPlanner {
    let facilities: Facilities
    let limits: JobLimits

    /// What was found out before a job is recorded.
    struct Planned {
        let job: JobRecord
        /// Bytes of disk that it will take.
        let disk: Int
    }

    /// A job of `request` over `inputs`; one whose artifact exists already has succeeded.
    func plan(_ request: JobRequest, _ inputs: JobInputs, _ principal: Principal) throws(Problem) -> Planned {
        let recipe = try request.recipe()
        let record = try input(inputs.input, principal.owner)
        if let calibration = inputs.calibration { _ = try input(calibration, principal.owner) }
        var request = request
        if request.dtype == nil, request.shape == nil { (request.dtype, request.shape) = (record.dtype, record.shape) }
        let declaration = try request.declaration()
        let (memory, disk) = try needs(record, inputs.calibration, recipe, declaration)
        guard memory <= limits.memoryBytes else {
            throw Problem(.memory(needed: memory, limit: limits.memoryBytes))
        }
        let publisher = ArtifactPublisher(
            store: facilities.store, catalogue: facilities.catalogue, owner: principal.owner)
        let artifact = try publisher.identifier(
            input: inputs.input, declaration: declaration, recipe: recipe, calibration: inputs.calibration)
        var job = JobRecord(
            id: try Self.freshIdentifier(), owner: principal.owner, input: inputs.input, recipe: request.json.text(),
            artifact: artifact, createdAt: Clock.milliseconds())
        job.calibration = inputs.calibration
        job.memory = memory
        job.totalBytes = record.bytes
        if try publisher.known(artifact) != nil {
            job.state = .succeeded
            job.finishedAt = job.createdAt
        } else {
            job.reserved = disk
        }
        return Planned(job: job, disk: job.reserved + job.recipe.utf8.count)
    }

    /// What tells requests apart that use the same idempotency key: what was asked for, whatever is there now.
    static func fingerprint(_ request: JobRequest, _ inputs: JobInputs) throws(Problem) -> String {
        let recipe = try request.recipe()
        let own = [
            recipe.canonical, recipe.gates.text, request.name ?? "", request.dtype ?? "", request.shape ?? "",
        ]
        let parts = [inputs.input] + own + (inputs.calibration.map { [$0] } ?? [])
        do throws(OpenSSLError) {
            return try SHA256.digest(of: Array(parts.joined(separator: "\n").utf8)).hex
        } catch {
            throw Problem(error)
        }
    }

    /// 128 random bits in hexadecimal.
    static func freshIdentifier() throws(Problem) -> String {
        do throws(OpenSSLError) {
            return hexadecimal(try RandomBytes.fresh(16))
        } catch {
            throw Problem(error)
        }
    }

    private func input(_ name: String, _ owner: String) throws(Problem) -> InputRecord {
        do throws(CatalogueError) {
            if let record = try facilities.catalogue.input(name, owner: owner) { return record }
        } catch {
            throw Problem(error)
        }
        throw .inputNotFound(name)
    }

    private func open(_ name: String, _ owner: String) throws(Problem) -> OpenedSource {
        do throws(StoreError) {
            return OpenedSource(try facilities.store.openInput(String(name.dropFirst(InputName.prefix.count))))
        } catch {
            // Removed since its row was read; with a row it is lost.
            if case .notFound = error { _ = try input(name, owner) }
            throw Problem(error)
        }
    }

    /// Bytes of memory and of disk that the work takes.
    private func needs(
        _ record: InputRecord, _ calibration: String?, _ recipe: Recipe, _ declaration: InputDeclaration
    ) throws(Problem) -> (memory: Int, disk: Int) {
        let source = try open(record.digest, record.owner)
        let beside = try calibration.map { (name) throws(Problem) in try open(name, record.owner) }
        do throws(QuantizationError) {
            let input = try InputDescription.of(
                source, declaration: declaration, codec: ZlibArchiveCodec(), limits: facilities.limits,
                memory: facilities.memory)
            if input.container == .gguf {
                throw .nothingToQuantize(
                    detail: "An importance matrix holds no weights: it goes beside them, as the job's calibration.")
            }
            if recipe.usesMatrices { try MatrixBackend.require() }
            let file = try beside.map { (source) throws(QuantizationError) in
                try CalibrationFile(
                    source: source, limits: facilities.limits, memory: MemoryShare(facilities.memory))
            }
            let layout = try ArtifactLayout(
                input: input, recipe: recipe, engine: Engine.name, limits: facilities.limits, calibrationFile: file)
            let headers = input.dataOffset + (file?.input.dataOffset ?? 0)
            let header = headers.multipliedReportingOverflow(by: MemoryBudget.bytesForHeaderByte)
            let memory =
                ProcessWorker.residentBytes
                + layout.workingBytes(of: layout.input, threads: facilities.limits.maximumThreads)
                + (header.overflow ? .max / 2 : header.partialValue)
            let disk = layout.fileBytes + layout.scratchBytes + (input.container == .npz ? record.bytes : 0)
            return (memory, disk)
        } catch {
            throw Problem(error)
        }
    }
}
