import Synchronization

/// An artifact or an input under construction in a folder of its own: removed with it unless it is published.
package final class StagedContent: Sendable {
    /// The bytes, to be filled at positions.
    package let content: StagedFile

    /// The name of the folder below `staging/`.
    let name: String
    let folder: Folder
    /// Keeps the store, and with it the folder's lock, alive for as long as something is staged.
    private let store: ArtifactStore
    private let isGone = Mutex(false)

    init(name: String, folder: consuming Folder, content: StagedFile, store: ArtifactStore) {
        self.name = name
        self.folder = folder
        self.content = content
        self.store = store
    }

    /// Notes that the folder is no longer below `staging/`, so that nothing is left to remove.
    func markGone() {
        isGone.withLock { $0 = true }
    }

    deinit {
        if isGone.withLock({ $0 }) { return }
        // What cannot be removed now is removed when the store is opened next.
        try? store.discard(name)
    }
}
