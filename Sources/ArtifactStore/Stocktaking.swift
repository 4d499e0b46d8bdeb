import Glibc

/// What `gc` and `fsck` do with the files; which of them anybody needs is the catalogue's to say.
extension ArtifactStore {
    /// The names of all things of a kind, in ascending order; entries that the store did not make are left out.
    package func identifiers(of kind: StoredKind) throws(StoreError) -> [String] {
        try folders[kind].folder.entries().filter(kind.allows).sorted()
    }

    /// Bytes of the disk that the file system gave to a thing, its folders included (st_blocks): what a removal gives
    /// back, unless somebody has it open.
    package func allocatedBytes(of kind: StoredKind, _ id: String) throws(StoreError) -> Int {
        try validate(id, kind)
        do {
            return try folders[kind].folder.allocatedBytes(id)
        } catch {
            throw error.isAbsence ? .notFound(id) : error
        }
    }

    /// Removes a thing: first its name, in one durable step, then its bytes.
    package func remove(_ kind: StoredKind, _ id: String) throws(StoreError) {
        try validate(id, kind)
        guard kind != .staged else { return try discard(id) }
        let name = freshName()
        try folders[kind].give(id, to: folders.staging.folder, as: name)
        try discard(name)
    }

    /// Moves a thing that failed its check to `quarantine/`, durably; answers its name there, `<kind>-<id>-<n>`.
    package func quarantine(_ kind: StoredKind, _ id: String) throws(StoreError) -> String {
        try validate(id, kind)
        // rename(2) would replace a file with a file, and puts none in a folder's place or the other way round.
        let kept = Set(try folders.quarantine.folder.entries())
        var number = 0
        while true {
            number += 1
            let name = "\(kind.rawValue)-\(id)-\(number)"
            if kept.contains(name) { continue }
            do {
                if try folders.quarantine.take(id, from: folders[kind].folder, as: name) {
                    try folders[kind].synchronize()
                    return name
                }
            } catch {
                throw error.isAbsence ? .notFound(id) : error
            }
        }
    }
}
