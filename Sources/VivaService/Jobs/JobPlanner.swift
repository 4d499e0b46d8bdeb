import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import Jobs
import OpenSSL
import Quantization
import Tensors

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

    /// A job of `request` over `input`; one whose artifact exists already has succeeded.
    func plan(_ request: JobRequest, input name: String, _ principal: Principal) throws(Problem) -> Planned {
        let recipe = try request.recipe()
        let record = try input(name, principal.owner)
        var request = request
        if request.dtype == nil, request.shape == nil { (request.dtype, request.shape) = (record.dtype, record.shape) }
        let declaration = try request.declaration()
        let (memory, disk) = try needs(record, recipe, declaration)
        guard memory <= limits.memoryBytes else {
            throw Problem(.memory(needed: memory, limit: limits.memoryBytes))
        }
        let publisher = ArtifactPublisher(
            store: facilities.store, catalogue: facilities.catalogue, owner: principal.owner)
        let artifact = try publisher.identifier(input: name, declaration: declaration, recipe: recipe)
        var job = JobRecord(
            id: try Self.freshIdentifier(), owner: principal.owner, input: name, recipe: request.json.text(),
            artifact: artifact, createdAt: Clock.milliseconds())
        job.memory = memory
        job.totalBytes = record.bytes
        if try publisher.known(artifact) != nil {
            job.state = .succeeded
            job.finishedAt = job.createdAt
        } else {
            job.reserved = disk
        }
        return Planned(job: job, disk: job.reserved)
    }

    /// What tells requests apart that use the same idempotency key: what was asked for, whatever is there now.
    static func fingerprint(_ request: JobRequest, input: String) throws(Problem) -> String {
        let parts = [
            input, try request.recipe().canonical, request.name ?? "", request.dtype ?? "", request.shape ?? "",
        ]
        do throws(OpenSSLError) {
            return try SHA256.digest(of: Array(parts.joined(separator: "\n").utf8)).hex
        } catch {
            throw Problem(error)
        }
    }

    /// 128 random bits in hexadecimal.
    static func freshIdentifier() throws(Problem) -> String {
        do throws(OpenSSLError) {
            let bytes = try RandomBytes.fresh(16)
            return bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
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

    /// Bytes of memory and of disk that the work takes.
    private func needs(
        _ record: InputRecord, _ recipe: Recipe, _ declaration: InputDeclaration
    ) throws(Problem) -> (memory: Int, disk: Int) {
        let source: OpenedSource
        do throws(StoreError) {
            source = OpenedSource(try facilities.store.openInput(String(record.digest.dropFirst("sha256:".count))))
        } catch {
            throw Problem(error)
        }
        do throws(QuantizationError) {
            let input = try InputDescription.of(
                source, declaration: declaration, codec: ZlibArchiveCodec(), limits: facilities.limits,
                memory: facilities.memory)
            let layout = try ArtifactLayout(
                input: input, recipe: recipe, engine: Engine.name, limits: facilities.limits)
            let header = input.dataOffset.multipliedReportingOverflow(by: MemoryBudget.bytesForHeaderByte)
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
