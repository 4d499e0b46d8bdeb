import Glibc
import Synchronization

/// What an upload or a job is making: the files below `work/<id>/`, which outlive the process and the machine's power.
///
/// Protocol: write, `synchronize`, then record how far the work has come, then acknowledge it. Whoever takes the work
/// up again goes on from what is recorded and writes anew whatever lies behind it. After a failed fsync this object is
/// of no more use: the work is opened again, and goes on from what was recorded before.
///
/// Published work keeps its folder until the row of the result stands: `ArtifactStore.stage(_:)` gives the content a
/// second name. A crash on the way thus leaves the work as it was acknowledged, and a result without a row, which the
/// next start removes. Until then the work cannot be opened, so that nobody writes into what is published.
package final class WorkFolder: Sendable {
    /// The bytes of the result, to be filled at positions.
    package let content: StagedFile
    /// The name of the folder below `work/`.
    package let id: String

    private struct State {
        /// The files beside the content that were opened, by their names.
        var others: [String: StagedFile] = [:]
        /// Files may have got their names after the folder was last on the disk, by a process that died since too.
        var hasNewNames = true
    }

    let folder: DurableFolder
    /// Keeps the store, and with it the folder's lock, alive for as long as the work is open.
    private let store: ArtifactStore
    private let state = Mutex(State())

    init(_ folder: DurableFolder, id: String, content: StagedFile, store: ArtifactStore) {
        self.folder = folder
        self.id = id
        self.content = content
        self.store = store
    }

    /// What is needed on the way and not part of the result; empty when it is new.
    package func scratch() throws(StoreError) -> StagedFile {
        try file("scratch")
    }

    /// What came first and is needed to the end, such as the header of the input; empty when it is new.
    package func head() throws(StoreError) -> StagedFile {
        try file("head")
    }

    /// Forces every file that was opened to the disk, and their names.
    package func synchronize() throws(StoreError) {
        try content.synchronize()
        try state.withLock { (state) throws(StoreError) in
            for file in state.others.values { try file.synchronize() }
            if state.hasNewNames { try folder.synchronize() }
            state.hasNewNames = false
        }
    }

    private func file(_ name: String) throws(StoreError) -> StagedFile {
        try state.withLock { (state) throws(StoreError) in
            if let known = state.others[name] { return known }
            let file = try folder.folder.workingFile(name, O_CREAT)
            state.others[name] = file
            state.hasNewNames = true
            return file
        }
    }
}

extension ArtifactStore {
    /// Begins a piece of work with empty content; its name is durable when this returns.
    ///
    /// Throws `exists` when there is one of this name.
    package func createWork(_ id: String) throws(StoreError) -> WorkFolder {
        try validate(id, .work)
        try folders.work.create(id)
        return try work(id, O_CREAT | O_EXCL)
    }

    /// Opens a piece of work to go on with it.
    ///
    /// Throws `notFound` when there is none, or it has no content, and `published` when its content is part of an
    /// artifact or an input already.
    package func work(_ id: String) throws(StoreError) -> WorkFolder {
        try validate(id, .work)
        do {
            return try work(id, 0)
        } catch {
            throw error.isAbsence ? .notFound(id) : error
        }
    }

    private func work(_ id: String, _ flags: Int32) throws(StoreError) -> WorkFolder {
        let folder = DurableFolder(try folders.work.folder.folder(id))
        let content = try folder.folder.workingFile(Part.content.rawValue, flags)
        return WorkFolder(folder, id: id, content: content, store: self)
    }

    /// Removes a piece of work, first its name, durably; it is no error when there is none.
    package func removeWork(_ id: String) throws(StoreError) {
        do {
            try remove(.work, id)
        } catch {
            guard case .notFound = error else { throw error }
            // Whoever removed it may not have come this far yet.
            try folders.work.synchronize()
        }
    }
}

extension Folder {
    /// Opens a file that outlives the process, for reads and writes; `published` when it has a second name.
    func workingFile(_ name: String, _ flags: Int32) throws(StoreError) -> StagedFile {
        let file = try file(name, O_RDWR | flags)
        guard try regularFile(file.raw, path: pathOf(name)).names < 2 else { throw .published(path: pathOf(name)) }
        return StagedFile(file, path: pathOf(name))
    }
}
