import Glibc
import Synchronization

/// A folder under construction beside its place: it appears there whole and durable, or nothing of it stays.
///
/// A process that is killed leaves the hidden folder `.<name>.<random>`, which nobody takes for the result.
package final class StagedFolder: Sendable {
    private struct State {
        /// Files that are not yet on the disk.
        var open: [StagedFile] = []
        var isGone = false
    }

    private let parent: Folder
    private let folder: Folder
    private let name: String
    private let last: String
    private let state = Mutex(State())

    /// A hidden folder beside `path`, where nothing must be yet; permissions follow the umask.
    ///
    /// Throws `exists` when something is there, and `insideSource` when that place lies in `source`.
    package static func beside(path: String, outside source: borrowing SourceFolder) throws(StoreError) -> StagedFolder
    {
        var trimmed = Substring(path)
        while trimmed.utf8.count > 1, trimmed.utf8.last == UInt8(ascii: "/") { trimmed.removeLast() }
        let (parent, last) = try StagedFile.split(String(trimmed))
        let folder = try Folder(opening: parent)
        guard last != ".", last != "..", try !folder.holds(last) else { throw .exists(path: path) }
        guard try !source.contains(folder.truePath()) else {
            throw .insideSource(path: path, source: source.path)
        }
        return try StagedFolder(parent: folder, last: last)
    }

    private init(parent: consuming Folder, last: String) throws(StoreError) {
        let name = ".\(last.utf8.count > 200 ? "viva" : last).\(freshName())"
        try parent.create(name, mode: 0o777)
        folder = try parent.folder(name)
        self.parent = parent
        self.name = name
        self.last = last
    }

    /// A new empty file; its name must be free.
    package func file(_ name: String) throws(StoreError) -> StagedFile {
        let file = StagedFile(
            try folder.file(name, O_RDWR | O_CREAT | O_EXCL, mode: 0o666), path: folder.pathOf(name))
        state.withLock { $0.open.append(file) }
        return file
    }

    /// Forces a finished file to the disk, so that it need not stay open until the end.
    package func finish(_ file: StagedFile) throws(StoreError) {
        try file.synchronize()
        state.withLock { $0.open.removeAll { $0 === file } }
    }

    /// A new file that holds these bytes.
    package func write(_ bytes: [UInt8], to name: String) throws(StoreError) {
        let file = try file(name)
        try file.write(bytes)
        try finish(file)
    }

    /// A file without a name, gone when it is closed.
    package func scratch() throws(StoreError) -> StagedFile { try StagedFile.anonymous(in: folder) }

    /// Bytes that may still be written to the file system that holds the folder.
    package func freeBytes() throws(StoreError) -> Int { try folder.space().free }

    /// Makes everything durable and gives the folder its place in one step; `exists` when that was taken meanwhile.
    package func commit() throws(StoreError) {
        for file in state.withLock({ $0.open }) { try finish(file) }
        try folder.synchronize()
        guard try !parent.holds(last) else { throw .exists(path: parent.pathOf(last)) }
        do {
            // What came between these two calls is not lost: rename(2) replaces nothing but an empty folder.
            try parent.rename(name, into: parent, as: last)
        } catch {
            guard case .system(_, _, let code) = error, code == ENOTEMPTY || code == ENOTDIR else { throw error }
            throw .exists(path: parent.pathOf(last))
        }
        state.withLock { $0.isGone = true }
        try parent.synchronize()
    }

    deinit {
        if state.withLock({ $0.isGone }) { return }
        // A failure leaves a hidden folder that no one asked for; there is no one left to tell.
        try? parent.removeTree(name)
    }
}
