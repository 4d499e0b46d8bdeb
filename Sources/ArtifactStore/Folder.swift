import Glibc
import OpenSSL

/// An open folder; its entries are named relative to it, so moving the folder or changing directory changes nothing.
struct Folder: ~Copyable, Sendable {
    let path: String
    private let descriptor: Descriptor

    private init(path: String, descriptor: consuming Descriptor) {
        self.path = path
        self.descriptor = descriptor
    }

    /// Opens an existing folder.
    init(opening path: String) throws(StoreError) {
        let raw = try retrying("open", path: path) { unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        self.init(path: path, descriptor: Descriptor(owning: raw))
    }

    /// Opens a folder after creating it, and the folders above it, with mode 0700 where they are missing.
    init(creating path: String) throws(StoreError) {
        // `mkdir -p`: each prefix that ends before a slash, then the whole path. Each new name is made durable.
        var parent = path.hasPrefix("/") ? "/" : "."
        var prefix = ""
        for part in path.split(separator: "/", omittingEmptySubsequences: true) {
            prefix += (prefix.isEmpty && !path.hasPrefix("/")) ? String(part) : "/\(part)"
            do {
                _ = try retrying("mkdir", path: prefix) { unsafe mkdir(prefix, 0o700) }
                try Folder(opening: parent).synchronize()
            } catch {
                guard case .system(_, _, EEXIST) = error else { throw error }
            }
            parent = prefix
        }
        try self.init(opening: path)
    }

    /// Opens a folder in this one, created with mode 0700 where it is missing.
    func folder(creating name: String) throws(StoreError) -> Folder {
        do {
            try create(name)
            try synchronize()
        } catch {
            guard case .system(_, _, EEXIST) = error else { throw error }
        }
        return try folder(name)
    }

    /// Opens an existing folder in this one; a symbolic link is refused.
    func folder(_ name: String) throws(StoreError) -> Folder {
        let raw = try openEntry(name, O_RDONLY | O_DIRECTORY, mode: 0)
        return Folder(path: pathOf(name), descriptor: Descriptor(owning: raw))
    }

    /// Creates a folder, with mode 0700 unless told otherwise; EEXIST when the name is taken.
    func create(_ name: String, mode: mode_t = 0o700) throws(StoreError) {
        _ = try retrying("mkdir", path: pathOf(name)) { unsafe mkdirat(descriptor.raw, name, mode) }
    }

    /// Opens a file in this folder; a symbolic link is refused and the descriptor does not survive `exec`.
    func file(_ name: String, _ flags: Int32, mode: mode_t = 0o600) throws(StoreError) -> Descriptor {
        Descriptor(owning: try openEntry(name, flags, mode: mode))
    }

    private func openEntry(_ name: String, _ flags: Int32, mode: mode_t) throws(StoreError) -> Int32 {
        try retrying("open", path: pathOf(name)) {
            unsafe openat(descriptor.raw, name, flags | O_CLOEXEC | O_NOFOLLOW, mode)
        }
    }

    /// Renames an entry, in one atomic step, into a folder of the same file system.
    func rename(_ name: String, into target: borrowing Folder, as newName: String) throws(StoreError) {
        let (source, destination) = (descriptor.raw, target.descriptor.raw)
        _ = try retrying("rename", path: target.pathOf(newName)) {
            unsafe renameat(source, name, destination, newName)
        }
    }

    /// Gives a file a second name in a folder of the same file system; EEXIST when the name is taken.
    func link(_ name: String, into target: borrowing Folder, as newName: String) throws(StoreError) {
        let (source, destination) = (descriptor.raw, target.descriptor.raw)
        _ = try retrying("link", path: target.pathOf(newName)) {
            unsafe linkat(source, name, destination, newName, 0)
        }
    }

    /// Opens an entry for reading wherever its links lead; to open a pipe does not wait for its writer.
    func linkedFile(_ name: String) throws(StoreError) -> Descriptor {
        Descriptor(
            owning: try retrying("open", path: pathOf(name)) {
                unsafe openat(descriptor.raw, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
            })
    }

    /// Whether the name is taken, by a link that leads nowhere too.
    func holds(_ name: String) throws(StoreError) -> Bool {
        do {
            _ = try status(name)
            return true
        } catch {
            if error.isAbsence { return false }
            throw error
        }
    }

    /// Whether nothing has this name, or a plain file; links are not followed.
    func mayReplace(_ name: String) throws(StoreError) -> Bool {
        do {
            return try status(name).st_mode & S_IFMT == S_IFREG
        } catch {
            if error.isAbsence { return true }
            throw error
        }
    }

    /// Bytes of the disk that the file system gave to an entry and all that is in it; links are not followed.
    func allocatedBytes(_ name: String) throws(StoreError) -> Int {
        let status = try status(name)
        // st_blocks counts pieces of 512 bytes whatever the block size (stat(3type)).
        var bytes = status.st_blocks * 512
        guard status.st_mode & S_IFMT == S_IFDIR else { return bytes }
        let inner = try folder(name)
        for entry in try inner.entries() { bytes += try inner.allocatedBytes(entry) }
        return bytes
    }

    private func status(_ name: String) throws(StoreError) -> stat {
        var status = stat()
        _ = try retrying("stat", path: pathOf(name)) {
            unsafe fstatat(descriptor.raw, name, &status, AT_SYMLINK_NOFOLLOW)
        }
        return status
    }

    /// The path of this folder without links.
    func truePath() throws(StoreError) -> String { try resolvedPath(of: descriptor.raw, path: path) }

    /// Removes the name of a file; the bytes stay for those who have it open.
    func unlink(_ name: String) throws(StoreError) {
        _ = try retrying("unlink", path: pathOf(name)) { unsafe unlinkat(descriptor.raw, name, 0) }
    }

    /// Removes a file, or a folder with everything in it; links are removed, not followed.
    ///
    /// What another process removed meanwhile is no error: it is gone.
    func removeTree(_ name: String) throws(StoreError) {
        do {
            return try unlink(name)
        } catch {
            if error.isAbsence { return }
            guard case .system(_, _, EISDIR) = error else { throw error }
        }
        do {
            let inner = try folder(name)
            for entry in try inner.entries() { try inner.removeTree(entry) }
            _ = try retrying("rmdir", path: pathOf(name)) { unsafe unlinkat(descriptor.raw, name, AT_REMOVEDIR) }
        } catch {
            guard error.isAbsence else { throw error }
        }
    }

    /// The names in this folder, in no particular order, without `.` and `..`.
    func entries() throws(StoreError) -> [String] {
        // A fresh description of the folder, because the stream owns its descriptor and moves its position.
        let own = try file(".", O_RDONLY | O_DIRECTORY).take()
        guard let stream = unsafe fdopendir(own) else {
            let code = errno
            _ = close(own)
            throw StoreError("fdopendir", path: path, code: code)
        }
        defer { unsafe closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = unsafe readdir(stream) else {
                guard errno == 0 else { throw StoreError("readdir", path: path, code: errno) }
                return names
            }
            // Invariant: the kernel ends `d_name` with a zero byte; the entry is valid until the next `readdir`.
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
    }

    /// Forces the names in this folder to the disk: a created or renamed entry survives a power cut only after this.
    func synchronize() throws(StoreError) {
        try synchronizeToDisk(descriptor.raw, path: path)
    }

    /// Bytes that an unprivileged writer may still use, and bytes in all, of the file system below this folder.
    func space() throws(StoreError) -> (free: Int, total: Int) {
        var status = statvfs()
        _ = try retrying("statvfs", path: path) { unsafe fstatvfs(descriptor.raw, &status) }
        return (Self.bytes(status.f_bavail, status.f_frsize), Self.bytes(status.f_blocks, status.f_frsize))
    }

    private static func bytes(_ blocks: UInt, _ size: UInt) -> Int {
        let (product, overflow) = blocks.multipliedReportingOverflow(by: size)
        return overflow ? Int.max : Int(clamping: product)
    }

    func pathOf(_ name: String) -> String {
        "\(path)/\(name)"
    }
}

/// A name that no one else uses: 128 random bits in hexadecimal, always 32 characters.
func freshName() -> String {
    hexadecimal((0..<16).map { _ in UInt8.random(in: .min ... .max) })
}
