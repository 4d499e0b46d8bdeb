import Glibc
import Synchronization

/// A folder whose entries come and go by rename, each change on the disk before the call returns.
final class DurableFolder: Sendable {
    let folder: Folder
    /// The first failed fsync: names given before it may be lost, so nothing is built on this folder after it.
    private let lost = Mutex<StoreError?>(nil)

    init(_ folder: consuming Folder) {
        self.folder = folder
    }

    /// Takes an entry of `source` under the name `id`; false when that name is taken, and the entry stays in `source`.
    func take(_ name: String, from source: borrowing Folder, as id: String) throws(StoreError) -> Bool {
        let isNew: Bool
        do {
            try source.rename(name, into: folder, as: id)
            isNew = true
        } catch {
            // rename(2) replaces an empty folder only, and what is published is never empty.
            guard case .system(_, _, let code) = error, code == ENOTEMPTY || code == EEXIST else { throw error }
            isNew = false
        }
        do {
            // Also for the older one: whoever renamed it may not have come this far yet.
            try synchronize()
        } catch {
            // The first error is the evidence; an entry that stays behind is unknown to the catalogue.
            if isNew { try? folder.rename(id, into: source, as: name) }
            throw error
        }
        return isNew
    }

    /// Gives an entry away under the name `name`; `notFound` when there is none.
    func give(_ id: String, to target: borrowing Folder, as name: String) throws(StoreError) {
        do {
            try folder.rename(id, into: target, as: name)
        } catch {
            throw error.isAbsence ? .notFound(id) : error
        }
        try synchronize()
    }

    /// Makes an empty folder in it; `exists` when the name is taken.
    func create(_ id: String) throws(StoreError) {
        do {
            try folder.create(id)
        } catch {
            guard case .system(_, let path, EEXIST) = error else { throw error }
            throw .exists(path: path)
        }
        try synchronize()
    }

    /// Forces its names to the disk; after one failure they count as lost and this throws for ever.
    func synchronize() throws(StoreError) {
        do {
            try folder.synchronize()
        } catch {
            lost.withLock { $0 = $0 ?? error }
        }
        if let error = lost.withLock({ $0 }) { throw error }
    }
}
