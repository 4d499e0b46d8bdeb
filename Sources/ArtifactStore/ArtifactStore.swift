import Glibc

/// Artifacts and inputs as files: complete and durable, or not there at all.
///
/// The folder holds `lock`, `staging/` (what requests are making; emptied at every start), `work/<id>/` (what uploads
/// and jobs are making; kept), `artifacts/<id>/` with `content` and `report.json`, `inputs/<hex>/` with `content`,
/// `quarantine/`, and `turns`. It knows nothing of owners or names: the catalogue decides which of them exist. A
/// publish is write, fsync of the files, rename, fsync of the folder, in this order: what was acknowledged survives a
/// power cut.
package final class ArtifactStore: Sendable {
    /// A file of a published artifact.
    package enum Part: String, Sendable, CaseIterable {
        case content
        case report = "report.json"
    }

    /// The most characters of the identifier of an artifact or of work; a file name may have 255 bytes.
    package static let maximumIdentifierLength = 80

    /// How long a server waits for the lock: a killed one before it, or a process that it was just starting, may hold
    /// it for a moment longer.
    package static let lockWait: Duration = .seconds(2)

    let folders: StoredFolders
    private let root: Folder
    /// Held for as long as a server has the folder open; nil beside it.
    private let lock: FileLock?
    private let turns = IdentifierTurns()
    private let processTurns: ProcessTurns

    /// Opens the store as its server, creating its folders with mode 0700, taking its lock and emptying `staging/`.
    ///
    /// Throws `locked` when another server has the folder open and keeps it open for `lockWait`.
    package init(folder: String, lockWait: Duration = ArtifactStore.lockWait) throws(StoreError) {
        let root = try Folder(creating: folder)
        let lock = try FileLock("lock", in: root)
        guard try lock.attempt(LOCK_EX, within: lockWait) else { throw .locked(path: root.path) }
        let folders = try StoredFolders(in: root)
        for name in try folders.staging.folder.entries() { try folders.staging.folder.removeTree(name) }
        self.processTurns = try ProcessTurns(in: root)
        self.root = root
        self.lock = consume lock
        self.folders = folders
    }

    /// Opens the store beside a server that may be running: takes no lock and leaves `staging/` alone.
    ///
    /// Throws `noStore` when no server has been there yet, unless the folder is to be made.
    package init(beside folder: String, creating: Bool = false) throws(StoreError) {
        let root = creating ? try Folder(creating: folder) : try Self.existing(folder)
        folders = try StoredFolders(in: root)
        processTurns = try ProcessTurns(in: root)
        self.root = root
        lock = nil
    }

    private static func existing(_ path: String) throws(StoreError) -> Folder {
        do {
            let root = try Folder(opening: path)
            if try root.holds(StoredKind.artifact.folder) { return root }
        } catch {
            guard error.isAbsence else { throw error }
        }
        throw .noStore(path: path)
    }

    /// Whether a server has the folder open, this one or another.
    package func isServed() throws(StoreError) -> Bool {
        if lock != nil { return true }
        // Closed with its description, hence released at once.
        return try !FileLock("lock", in: root).attempt(LOCK_SH)
    }

    /// Starts an artifact or an input with empty content.
    package func stage() throws(StoreError) -> StagedContent {
        try stage { (folder) throws(StoreError) in
            let content = try folder.file(Part.content.rawValue, O_RDWR | O_CREAT | O_EXCL)
            return StagedFile(content, path: folder.pathOf(Part.content.rawValue))
        }
    }

    /// Stages the content of a piece of work to be published, under a second name (link(2)).
    ///
    /// The work stays whole until it is removed, which its owner does when the row of the result stands; nobody may
    /// write to it any more, unless the publish fails.
    package func stage(_ work: WorkFolder) throws(StoreError) -> StagedContent {
        try stage { (folder) throws(StoreError) in
            let name = Part.content.rawValue
            try work.folder.folder.link(name, into: folder, as: name)
            return work.content
        }
    }

    private func stage(
        _ fill: (borrowing Folder) throws(StoreError) -> StagedFile
    ) throws(StoreError) -> StagedContent {
        let name = freshName()
        try folders.staging.folder.create(name)
        do {
            let folder = try folders.staging.folder.folder(name)
            let content = try fill(folder)
            return StagedContent(name: name, folder: folder, content: content, store: self)
        } catch {
            // The first error is the evidence; the folder is removed at the next start if not now.
            try? discard(name)
            throw error
        }
    }

    /// A file without a name for bytes that must not outlive the request, not even a crash.
    package func scratch() throws(StoreError) -> StagedFile {
        try StagedFile.anonymous(in: folders.staging.folder)
    }

    /// Makes a staged artifact durable and visible under its identifier, all at once.
    ///
    /// When the identifier exists already the older artifact stays and the staged one is dropped. After an error
    /// nothing is visible and the artifact must be staged anew: a failed fsync is never tried again.
    package func publish(_ staged: StagedContent, report: [UInt8], as id: String) throws(StoreError) {
        try validate(id, .artifact)
        let reportFile = try staged.folder.file(Part.report.rawValue, O_WRONLY | O_CREAT | O_EXCL)
        let reportPath = staged.folder.pathOf(Part.report.rawValue)
        try writeAll(report, to: reportFile.raw, path: reportPath)
        try synchronizeToDisk(reportFile.raw, path: reportPath)
        try publish(staged, in: folders.artifacts, as: id)
    }

    /// Makes a staged input durable and visible under the SHA-256 of its content, as `publish` does an artifact.
    ///
    /// That the content has this digest is the caller's to know.
    package func publishInput(_ staged: StagedContent, as hex: String) throws(StoreError) {
        try validate(hex, .input)
        try publish(staged, in: folders.inputs, as: hex)
    }

    private func publish(
        _ staged: StagedContent, in target: DurableFolder, as id: String
    ) throws(StoreError) {
        try staged.content.giveBackSurplus()
        try staged.content.synchronize()
        try staged.folder.synchronize()
        if try !target.take(staged.name, from: folders.staging.folder, as: id) { try discard(staged.name) }
        staged.markGone()
    }

    /// Calls `body`, which changes the files of `ids` and what is recorded of them, while no other such call does, and
    /// none of `exclusively`.
    ///
    /// Not to be nested: a second turn would wait for the first.
    package func inTurn<Outcome: Sendable, Failure: Error>(
        _ ids: [String], _ body: () throws(Failure) -> Outcome
    ) throws(Failure) -> Outcome {
        try turns.take(ids) { () throws(Failure) in try processTurns.share(body) }
    }

    /// Calls `body` while no process is in a turn of `inTurn`: what it sees without a row has none on its way.
    ///
    /// Waits for the turns that have begun, and makes new ones wait, those of the server too: not to be used for long.
    /// `body` takes no turn itself.
    package func exclusively<Outcome: Sendable, Failure: Error>(
        _ body: () throws(Failure) -> Outcome
    ) throws(Failure) -> Outcome {
        try processTurns.exclude(body)
    }

    /// Opens a part of a published artifact.
    package func open(_ id: String, _ part: Part) throws(StoreError) -> OpenedFile {
        try open(.artifact, id, part)
    }

    /// Opens an input.
    package func openInput(_ hex: String) throws(StoreError) -> OpenedFile {
        try open(.input, hex, .content)
    }

    private func open(_ kind: StoredKind, _ id: String, _ part: Part) throws(StoreError) -> OpenedFile {
        try validate(id, kind)
        do {
            let folder = try folders[kind].folder.folder(id)
            // A pipe in place of the file is refused, not waited for.
            return try OpenedFile(
                folder.file(part.rawValue, O_RDONLY | O_NONBLOCK), path: folder.pathOf(part.rawValue))
        } catch {
            throw error.isAbsence ? .notFound(id) : error
        }
    }

    /// Bytes that may still be written, and bytes in all, of the file system that holds the store.
    package func space() throws(StoreError) -> (free: Int, total: Int) {
        try root.space()
    }

    /// Removes what is staged under a name, published or not.
    func discard(_ name: String) throws(StoreError) {
        try folders.staging.folder.removeTree(name)
    }

    func validate(_ id: String, _ kind: StoredKind) throws(StoreError) {
        guard kind.allows(id) else { throw .invalidIdentifier(id) }
    }
}
