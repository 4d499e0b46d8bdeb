import Glibc
import Synchronization

/// Artifacts as files: complete and durable under `artifacts/<id>/`, or not there at all.
///
/// The folder holds `lock`, `staging/` (what is being made; emptied at every start) and `artifacts/<id>/` with
/// `content` and `report.json`. It knows nothing of owners or names: the catalogue decides which artifacts exist. A
/// publish is write, fsync of the files, rename, fsync of the folder, in this order: what was acknowledged survives a
/// power cut.
package final class ArtifactStore: Sendable {
    /// A file of a published artifact.
    package enum Part: String, Sendable, CaseIterable {
        case content
        case report = "report.json"
    }

    /// The most characters of an identifier; a file name may have 255 bytes.
    package static let maximumIdentifierLength = 80

    private let root: Folder
    private let artifacts: Folder
    private let staging: Folder
    /// Its flock(2) is held by this one description, hence released by the kernel however the process ends.
    private let lock: Descriptor
    /// The first failed fsync of `artifacts/`: renames before it may be lost, so nothing is published after it.
    private let lost = Mutex<StoreError?>(nil)
    private let turns = IdentifierTurns()

    /// Opens the store, creating its folders with mode 0700, taking its lock and emptying `staging/`.
    ///
    /// Throws `locked` when another store has the folder open.
    package init(folder: String) throws(StoreError) {
        let root = try Folder(creating: folder)
        let lock = try root.file("lock", O_RDWR | O_CREAT)
        do {
            _ = try retrying("flock", path: root.pathOf("lock")) { flock(lock.raw, LOCK_EX | LOCK_NB) }
        } catch {
            guard case .system(_, _, EWOULDBLOCK) = error else { throw error }
            throw .locked(path: root.path)
        }
        let artifacts = try root.folder(creating: "artifacts")
        let staging = try root.folder(creating: "staging")
        for name in try staging.entries() { try staging.removeTree(name) }
        self.root = root
        self.lock = lock
        self.artifacts = artifacts
        self.staging = staging
    }

    /// Starts an artifact with empty content.
    package func stage() throws(StoreError) -> StagedArtifact {
        let name = freshName()
        try staging.create(name)
        do {
            let folder = try staging.folder(name)
            let content = try folder.file(Part.content.rawValue, O_RDWR | O_CREAT | O_EXCL)
            let path = folder.pathOf(Part.content.rawValue)
            return StagedArtifact(name: name, folder: folder, content: StagedFile(content, path: path), store: self)
        } catch {
            // The first error is the evidence; the folder is removed at the next start if not now.
            try? discard(name)
            throw error
        }
    }

    /// A file without a name for bytes that must not outlive the request, not even a crash.
    package func scratch() throws(StoreError) -> StagedFile {
        try StagedFile.anonymous(in: staging)
    }

    /// Makes a staged artifact durable and visible under its identifier, all at once.
    ///
    /// When the identifier exists already the older artifact stays and the staged one is dropped. After an error
    /// nothing is visible and the staged artifact must be made anew: a failed fsync is never tried again.
    package func publish(_ staged: StagedArtifact, report: [UInt8], as id: String) throws(StoreError) {
        try Self.validate(id)
        let reportFile = try staged.folder.file(Part.report.rawValue, O_WRONLY | O_CREAT | O_EXCL)
        let reportPath = staged.folder.pathOf(Part.report.rawValue)
        try writeAll(report, to: reportFile.raw, path: reportPath)
        try staged.content.synchronize()
        try synchronizeToDisk(reportFile.raw, path: reportPath)
        try staged.folder.synchronize()
        let isNew: Bool
        do {
            try staging.rename(staged.name, into: artifacts, as: id)
            staged.markGone()
            isNew = true
        } catch {
            // rename(2) replaces an empty folder only, and an artifact is never empty.
            guard case .system(_, _, let code) = error, code == ENOTEMPTY || code == EEXIST else { throw error }
            isNew = false
        }
        do {
            // Also for the older one: whoever renamed it may not have come this far yet.
            try synchronizeArtifacts()
        } catch {
            // The first error is the evidence; an artifact that stays behind is unknown to the catalogue.
            if isNew { try? artifacts.rename(id, into: staging, as: staged.name) }
            throw error
        }
        if !isNew {
            try discard(staged.name)
            staged.markGone()
        }
    }

    /// Calls `body`, which changes the files of `ids` and what is recorded of them, while no other such call does.
    ///
    /// Not to be nested: a second turn would wait for the first.
    package func inTurn<Outcome: Sendable, Failure: Error>(
        _ ids: [String], _ body: () throws(Failure) -> Outcome
    ) throws(Failure) -> Outcome {
        try turns.take(ids, body)
    }

    /// Opens a part of a published artifact.
    package func open(_ id: String, _ part: Part) throws(StoreError) -> OpenedFile {
        try Self.validate(id)
        do {
            let folder = try artifacts.folder(id)
            return try OpenedFile(folder.file(part.rawValue, O_RDONLY), path: folder.pathOf(part.rawValue))
        } catch {
            throw error.isAbsence ? .notFound(id) : error
        }
    }

    /// Removes an artifact: first its name, in one durable step, then its bytes.
    package func remove(_ id: String) throws(StoreError) {
        try Self.validate(id)
        let name = freshName()
        do {
            try artifacts.rename(id, into: staging, as: name)
        } catch {
            throw error.isAbsence ? .notFound(id) : error
        }
        try synchronizeArtifacts()
        try discard(name)
    }

    /// The identifiers of all published artifacts, in ascending order.
    package func identifiers() throws(StoreError) -> [String] {
        try artifacts.entries().filter(Self.isValid).sorted()
    }

    /// Removes every published artifact that is not to be kept; answers how many there were.
    ///
    /// Meant for the start, before requests are served: an artifact just published is not yet in the catalogue.
    package func sweep(keeping isKept: (String) -> Bool) throws(StoreError) -> Int {
        var count = 0
        for id in try identifiers() where !isKept(id) {
            try remove(id)
            count += 1
        }
        return count
    }

    /// Bytes that may still be written, and bytes in all, of the file system that holds the store.
    package func space() throws(StoreError) -> (free: Int, total: Int) {
        try root.space()
    }

    /// Removes what is staged under a name, published or not.
    func discard(_ name: String) throws(StoreError) {
        try staging.removeTree(name)
    }

    private func synchronizeArtifacts() throws(StoreError) {
        do {
            try artifacts.synchronize()
        } catch {
            lost.withLock { $0 = $0 ?? error }
        }
        if let error = lost.withLock({ $0 }) { throw error }
    }

    private static func validate(_ id: String) throws(StoreError) {
        guard isValid(id) else { throw .invalidIdentifier(id) }
    }

    private static func isValid(_ id: String) -> Bool {
        let range = 1...maximumIdentifierLength
        return range.contains(id.utf8.count)
            && id.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
                case UInt8(ascii: "-"), UInt8(ascii: "_"): true
                default: false
                }
            }
    }
}
