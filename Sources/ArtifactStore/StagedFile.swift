import CPlatform
import Glibc
package import OpenSSL
import Synchronization

/// A file under construction: written and read at positions, then synchronized; forgotten unless it is published.
///
/// One open description serves writer and reader, so several threads may use disjoint ranges at once.
package final class StagedFile: Sendable {
    private struct State {
        /// The name in `folder` to remove when this object goes; nil when the file has none, or when it was published.
        var name: String?
        /// The first failed fsync. Linux reports a lost write once and then forgets it, so asking again would lie.
        var lost: StoreError?
        /// Bytes written since the disk was last set to work.
        var unwritten = 0
        /// Bytes from the start for which room was taken.
        var reserved = 0
    }

    /// After so many bytes the disk begins to write, while the rest is still being made: the fsync at the end would
    /// otherwise wait for all of them.
    static let writebackBytes = 8 << 20

    private let file: Descriptor
    private let path: String
    /// The folder of `State.name`; nil when the file has no name or its owner looks after it.
    private let folder: Folder?
    private let state: Mutex<State>
    /// Scratch is never meant to reach the disk.
    private let isKept: Bool

    init(
        _ file: consuming Descriptor, path: String, folder: consuming Folder? = nil, name: String? = nil,
        isKept: Bool = true
    ) {
        self.file = file
        self.path = path
        self.folder = folder
        self.isKept = isKept
        self.state = Mutex(State(name: name, lost: nil))
    }

    /// A file without a name in `folder`: its room is given back when it is closed, even by a crash.
    package static func anonymous(in folder: String) throws(StoreError) -> StagedFile {
        try anonymous(in: Folder(opening: folder))
    }

    static func anonymous(in folder: borrowing Folder) throws(StoreError) -> StagedFile {
        let name = ".viva-\(freshName())"
        let file = try folder.file(name, O_RDWR | O_CREAT | O_EXCL)
        try folder.unlink(name)
        return StagedFile(file, path: folder.pathOf(name), isKept: false)
    }

    /// A file that another process opened and this one inherited; `isKept` when it is to reach the disk.
    ///
    /// The descriptor is this object's from now on. Throws when it is none, or not one of a regular file.
    package static func inherited(_ number: Int32, isKept: Bool) throws(StoreError) -> StagedFile {
        let (file, path) = try inheritedFile(number)
        return StagedFile(Descriptor(owning: file), path: path, isKept: isKept)
    }

    /// A hidden file beside `path`, which `commit(to:)` turns into `path` in one step; permissions follow the umask.
    ///
    /// Throws `notReplaced` where something else than a plain file is there: a rename over /dev/null would end it.
    package static func beside(path: String) throws(StoreError) -> StagedFile {
        let (parent, last) = try split(path)
        let folder = try Folder(opening: parent)
        guard try folder.mayReplace(last) else { throw .notReplaced(path: path) }
        let name = ".\(last.utf8.count > 200 ? "viva" : last).\(freshName())"
        let file = try folder.file(name, O_RDWR | O_CREAT | O_EXCL, mode: 0o666)
        return StagedFile(file, path: folder.pathOf(name), folder: folder, name: name)
    }

    /// Writes all bytes at the offset; retries interrupted and short writes.
    package func write(_ bytes: RawSpan, at offset: Int) throws(StoreError) {
        try writeAll(bytes, at: offset, to: file.raw, path: path)
        guard isKept else { return }
        let isTime = state.withLock { state in
            state.unwritten += bytes.byteCount
            guard state.unwritten >= Self.writebackBytes else { return false }
            state.unwritten = 0
            return true
        }
        if isTime { viva_start_writeback(file.raw) }
    }

    /// Writes all bytes at the start of the file.
    package func write(_ bytes: [UInt8]) throws(StoreError) {
        try writeAll(bytes, to: file.raw, path: path)
    }

    /// Fills `bytes` from the offset, or throws `truncated` where the file ends too early.
    package func read(into bytes: inout MutableRawSpan, at offset: Int) throws(StoreError) {
        try readExactly(into: &bytes, at: offset, from: file.raw, path: path)
    }

    /// Forces the content to the disk (fsync); after one failure the file counts as lost and this throws for ever.
    package func synchronize() throws(StoreError) {
        if let lost = state.withLock({ $0.lost }) { throw lost }
        do {
            try synchronizeToDisk(file.raw, path: path)
        } catch {
            state.withLock { $0.lost = error }
            throw error
        }
    }

    /// The SHA-256 of the whole content, in one pass through a 1 MiB buffer.
    package func digest() throws(StoreError) -> Digest {
        try digestOfFile(file.raw, path: path)
    }

    /// The length in bytes.
    package func length() throws(StoreError) -> Int {
        try regularFile(file.raw, path: path).length
    }

    /// Takes room on the disk for the first `count` bytes, so that writing them does not fail for want of it.
    ///
    /// The length stays what it is (fallocate(2) with FALLOC_FL_KEEP_SIZE): a file that was cut short is never taken
    /// for a whole one. Throws `full`, and holds nothing then. Where the file system has no reservation (EOPNOTSUPP,
    /// ENOSYS) this does nothing, and a full disk shows when it is written to.
    package func reserve(_ count: Int) throws(StoreError) {
        guard count > 0 else { return }
        switch -viva_reserve(file.raw, Int64(count)) {
        case 0: state.withLock { $0.reserved = max($0.reserved, count) }
        case EOPNOTSUPP, ENOSYS: break
        case let code:
            // What was taken until the room ran out is given back; the first error is the evidence.
            try? truncate(to: length())
            throw StoreError("fallocate", path: path, code: code)
        }
    }

    /// Gives back the room that was reserved behind the end of the file.
    func giveBackSurplus() throws(StoreError) {
        let length = try length()
        if state.withLock({ $0.reserved }) > length { try truncate(to: length) }
    }

    /// Drops what lies behind the first `count` bytes, reserved room too.
    ///
    /// Throws `truncated` when the file has fewer: what was acknowledged is gone.
    package func truncate(to count: Int) throws(StoreError) {
        let length = try length()
        guard count <= length else { throw .truncated(path: path, offset: length, missing: count - length) }
        _ = try retrying("ftruncate", path: path) { ftruncate(file.raw, count) }
        state.withLock { $0.reserved = 0 }
    }

    /// The open descriptor, lent: valid while this object lives, and not the borrower's to close.
    package var descriptor: Int32 { file.raw }

    /// Makes a file that was staged beside `path` durable and gives it that name, replacing what was there.
    package func commit(to path: String) throws(StoreError) {
        let (parent, last) = try Self.split(path)
        let target = try Folder(opening: parent)
        try synchronize()
        guard let name = state.withLock({ $0.name }) else {
            throw .system(operation: "rename", path: path, code: ENOENT)
        }
        try folder?.rename(name, into: target, as: last)
        state.withLock { $0.name = nil }
        try target.synchronize()
    }

    static func split(_ path: String) throws(StoreError) -> (parent: String, last: String) {
        guard let slash = path.lastIndex(of: "/") else {
            guard !path.isEmpty else { throw .system(operation: "open", path: path, code: ENOENT) }
            return (".", path)
        }
        let last = String(path[path.index(after: slash)...])
        guard !last.isEmpty else { throw .system(operation: "open", path: path, code: EISDIR) }
        return (slash == path.startIndex ? "/" : String(path[..<slash]), last)
    }

    deinit {
        guard let name = state.withLock({ $0.name }) else { return }
        // A failure leaves a file that no one asked for; there is no one left to tell.
        try? folder?.unlink(name)
    }
}
