import Glibc

extension OpenedFile {
    /// Opens a regular file anywhere, for reads at positions.
    package init(path: String) throws(StoreError) {
        let raw = try retrying("open", path: path) { unsafe open(path, O_RDONLY | O_CLOEXEC) }
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
}
