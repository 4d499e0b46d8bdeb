import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import Jobs
import OpenSSL
import Quantization
import Tensors

/// Makes artifacts durable and visible to their owner.
///
/// The order is the promise: fsync of the files, rename, fsync of the folder, rows. Files without a row are swept at
/// the next start, so that whatever fails before the rows leaves nothing behind.
struct ArtifactPublisher: Sendable {
    let store: ArtifactStore
    let catalogue: Catalogue
    let owner: String

    /// An artifact that is made and nobody can see yet.
    struct Finished {
        let staged: StagedContent
        let description: ArtifactDescription
    }

    /// An artifact that its owner can see; not new when it was there before.
    typealias Published = (record: ArtifactRecord, isNew: Bool)

    /// Publishes all of them or none: the rows are one transaction.
    func publish(_ finished: [Finished]) throws(Problem) -> [Published] {
        try store.inTurn(finished.map(\.description.id)) { () throws(Problem) in
            var made: [Published] = []
            for item in finished { made.append(try place(item)) }
            return try record(made)
        }
    }

    /// Publishes an artifact that an upload became, and ends the upload in the same step; returns where it is.
    func publish(
        _ finished: Finished, sealing upload: String, length: Int, expiresAt: Int64
    ) throws(Problem) -> String {
        let id = finished.description.id
        let location = "/v1/artifacts/\(id)"
        try store.inTurn([id]) { () throws(Problem) in
            let record = try place(finished).record
            do throws(CatalogueError) {
                // Where the artifact was there before, its row stays as it is.
                _ = try catalogue.sealUpload(
                    upload, length: length, as: record, location: location, expiresAt: expiresAt)
            } catch {
                // Published work cannot be gone on with. The row's failure is the evidence; files that stay behind are
                // swept at the next start.
                if (try? catalogue.contains(id)) == false { try? store.remove(.artifact, id) }
                throw Problem(error)
            }
        }
        return location
    }

    /// What a session made, described; nil of `name` is none.
    func describe(
        _ staged: StagedContent, _ result: SessionResult, recipe: Recipe, name: String?,
        input: (digest: Digest, bytes: Int), declaration: InputDeclaration, budget: BudgetOutcome? = nil
    ) throws(Problem) -> Finished {
        let digest = "sha256:\(input.digest.hex)"
        let id = try identifier(input: digest, declaration: declaration, recipe: recipe, budget: budget?.budget)
        return Finished(
            staged: staged,
            description: ArtifactDescription(
                id: id, name: name, recipe: recipe, inputDigest: digest, inputBytes: input.bytes, result: result,
                budget: budget))
    }

    /// Publishes what a job has made and ends the job, in one commit; false, and nothing published, when the job is not
    /// running any more.
    func publish(
        _ work: WorkFolder, _ record: ArtifactRecord, report: [UInt8], ending job: JobRecord
    ) throws(Problem) -> Bool {
        try store.inTurn([record.id]) { () throws(Problem) in
            let isNew = try known(record.id) == nil
            do {
                if isNew { try store.publish(try store.stage(work), report: report, as: record.id) }
                if try catalogue.succeedJob(job, with: isNew ? record : nil) { return true }
                if isNew { try store.remove(.artifact, record.id) }
                return false
            } catch let error as StoreError {
                throw Problem(error)
            } catch let error as CatalogueError {
                throw Problem(error)
            } catch {
                throw Problem(unexpected: error)
            }
        }
    }

    /// The same owner, bytes, what is declared of them, calibration data, recipe and engine give the same identifier;
    /// where codes are chosen through products of matrices, what computes these is part of the engine.
    func identifier(
        input: String, declaration: InputDeclaration = .recognise, recipe: Recipe, calibration: String? = nil,
        budget: Budget? = nil
    ) throws(Problem) -> String {
        var identity = "\(owner)\n\(input)\n\(recipe.canonical)\n\(Engine.version)"
        // The bytes are the same; but nobody who asks for gates may be given what was made without them.
        if !recipe.gates.areOpen { identity += "\n\(recipe.gates.text)" }
        if let budget { identity += "\n\(budget.option.name)=\(budget.option.text)" }
        if case .raw(let type, let shape) = declaration { identity += "\n\(type.rawValue) \(shape)" }
        if let calibration { identity += "\ncalibration=\(calibration)" }
        if recipe.usesMatrices { identity += "\n\(MatrixBackend.name ?? "")" }
        do throws(OpenSSLError) {
            return String(try SHA256.digest(of: Array(identity.utf8)).hex.prefix(32))
        } catch {
            throw Problem(error)
        }
    }

    /// Gives the files their place.
    private func place(_ item: Finished) throws(Problem) -> Published {
        let id = item.description.id
        if let known = try known(id) { return (known, false) }
        do throws(StoreError) {
            let digest = try item.staged.content.digest()
            try store.publish(item.staged, report: item.description.report().bytes(), as: id)
            let record = item.description.record(
                digest: "sha256:\(digest.hex)", owner: owner, createdAt: Clock.milliseconds())
            return (record, true)
        } catch {
            throw Problem(error)
        }
    }

    /// Writes the rows of the new artifacts.
    private func record(_ made: [Published]) throws(Problem) -> [Published] {
        let fresh = made.filter(\.isNew).map(\.record)
        guard !fresh.isEmpty else { return made }
        let inserted: [Bool]
        do throws(CatalogueError) {
            inserted = try catalogue.insert(fresh)
        } catch {
            throw Problem(error)
        }
        var remaining = inserted[...]
        var recorded: [Published] = []
        for item in made {
            guard item.isNew, remaining.popFirst() == false else {
                recorded.append(item)
                continue
            }
            // Somebody sent the same bytes at the same time and was first; the file is the same.
            guard let known = try known(item.record.id) else {
                throw Problem(
                    .conflict, code: "artifact.removed_meanwhile",
                    detail: "The artifact existed and was deleted while this request ran; send it again.")
            }
            recorded.append((known, false))
        }
        return recorded
    }

    /// The owner's artifact of this identifier, or nil.
    func known(_ id: String) throws(Problem) -> ArtifactRecord? {
        do throws(CatalogueError) {
            return try catalogue.artifact(id, owner: owner)
        } catch {
            throw Problem(error)
        }
    }
}
