import Glibc

extension OpenedFile {
    /// Opens a regular file anywhere, for reads at positions.
    package init(path: String) throws(StoreError) {
        // A pipe that nobody writes to is refused, not waited for; a regular file never waits.
        let raw = try retrying("open", path: path) { unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
        try self.init(Descriptor(owning: raw), path: path)
    }
}

/// A file, or standard input, read once from start to end.
package struct InputFile: ~Copyable {
    private let file: Descriptor
    private let path: String
    /// The length in bytes; nil for a pipe.
    package let length: Int?

    /// Opens a file; `-` is standard input.
    package init(path: String) throws(StoreError) {
        let raw = try retrying("open", path: path) {
            path == "-" ? dup(STDIN_FILENO) : unsafe open(path, O_RDONLY | O_CLOEXEC)
        }
        let opened = Descriptor(owning: raw)
        length = try Self.length(of: raw, path: path)
        file = opened
        self.path = path
    }

    init(_ file: consuming Descriptor, path: String) throws(StoreError) {
        length = try regularFile(file.raw, path: path).length
        self.file = file
        self.path = path
    }

    /// Whether a path names a folder, or a link to one.
    package static func isFolder(_ path: String) -> Bool {
        (try? Folder(opening: path)) != nil
    }

    /// Whether two paths lead to one file; false where one of them leads to none.
    package static func isSame(_ path: String, _ other: String) -> Bool {
        var (one, two) = (stat(), stat())
        guard unsafe stat(path, &one) == 0, unsafe stat(other, &two) == 0 else { return false }
        return one.st_dev == two.st_dev && one.st_ino == two.st_ino
    }

    private static func length(of raw: Int32, path: String) throws(StoreError) -> Int? {
        var status = stat()
        _ = try retrying("fstat", path: path) { unsafe fstat(raw, &status) }
        guard status.st_mode & S_IFMT != S_IFDIR else {
            throw .system(operation: "open", path: path, code: EISDIR)
        }
        return status.st_mode & S_IFMT == S_IFREG && path != "-" ? status.st_size : nil
    }

    /// Fills the start of `bytes` with what comes next; 0 at the end.
    package borrowing func read(into bytes: inout MutableRawSpan) throws(StoreError) -> Int {
        try unsafe bytes.withUnsafeMutableBytes { (buffer) throws(StoreError) -> Int in
            try retrying("read", path: path) { unsafe Glibc.read(file.raw, buffer.baseAddress, buffer.count) }
        }
    }

    /// The next `count` bytes, fewer where the file ends.
    package borrowing func next(_ count: Int) throws(StoreError) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            // In pieces: what a header announces is not allocated before it has come.
            var piece = [UInt8](repeating: 0, count: min(count - bytes.count, 1 << 20))
            var span = piece.mutableSpan
            var raw = unsafe span.mutableBytes
            let read = try read(into: &raw)
            if read == 0 { break }
            bytes += piece.prefix(read)
        }
        return bytes
    }
}
