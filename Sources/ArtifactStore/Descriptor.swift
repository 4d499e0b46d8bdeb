import Glibc
import OpenSSL

/// An open file descriptor that is closed exactly once: here, or by whoever took it.
///
/// This file and `Folder.swift` hold every unsafe system call of the module. Invariant: `raw` is open for as long as
/// the value lives, and pointers handed to the kernel come from spans and strings that outlive the call.
struct Descriptor: ~Copyable, Sendable {
    let raw: Int32

    init(owning raw: Int32) {
        self.raw = raw
    }

    /// Hands the open descriptor to the caller, who must close it.
    consuming func take() -> Int32 {
        let taken = raw
        discard self
        return taken
    }

    deinit {
        // Nothing is learnt from the answer: data that matters was synchronized before.
        _ = close(raw)
    }
}

/// Repeats a system call for as long as signals interrupt it; answers what it answered, or throws its error number.
func retrying<Answer: SignedInteger>(
    _ operation: String, path: String, _ call: () -> Answer
) throws(StoreError) -> Answer {
    while true {
        let answer = call()
        if answer >= 0 { return answer }
        let code = errno
        if code != EINTR { throw StoreError(operation, path: path, code: code) }
    }
}

/// Writes all bytes at an offset, however many short writes the kernel makes of it (pwrite(2)).
func writeAll(_ bytes: RawSpan, at offset: Int, to descriptor: Int32, path: String) throws(StoreError) {
    guard offset >= 0, !offset.addingReportingOverflow(bytes.byteCount).overflow else {
        throw .system(operation: "pwrite", path: path, code: EINVAL)
    }
    try unsafe bytes.withUnsafeBytes { (buffer) throws(StoreError) in
        guard let base = buffer.baseAddress else { return }
        var done = 0
        while done < buffer.count {
            done += try retrying("pwrite", path: path) {
                unsafe pwrite(descriptor, base + done, buffer.count - done, offset + done)
            }
        }
    }
}

/// Reads until the buffer is filled or the file ends; answers the bytes read (pread(2)).
func readMost(
    into bytes: inout MutableRawSpan, at offset: Int, from descriptor: Int32, path: String
) throws(StoreError) -> Int {
    guard offset >= 0, !offset.addingReportingOverflow(bytes.byteCount).overflow else {
        throw .system(operation: "pread", path: path, code: EINVAL)
    }
    return try unsafe bytes.withUnsafeMutableBytes { (buffer) throws(StoreError) -> Int in
        guard let base = buffer.baseAddress else { return 0 }
        var done = 0
        while done < buffer.count {
            let count = try retrying("pread", path: path) {
                unsafe pread(descriptor, base + done, buffer.count - done, offset + done)
            }
            if count == 0 { break }
            done += count
        }
        return done
    }
}

/// Reads exactly the buffer's length, or throws `truncated`.
func readExactly(
    into bytes: inout MutableRawSpan, at offset: Int, from descriptor: Int32, path: String
) throws(StoreError) {
    let count = try readMost(into: &bytes, at: offset, from: descriptor, path: path)
    guard count == bytes.byteCount else {
        throw .truncated(path: path, offset: offset, missing: bytes.byteCount - count)
    }
}

/// Writes an array to the start of a file.
func writeAll(_ bytes: [UInt8], to descriptor: Int32, path: String) throws(StoreError) {
    try writeAll(unsafe bytes.span.bytes, at: 0, to: descriptor, path: path)
}

/// The first `count` bytes of a file, or `truncated` where it has fewer.
func readAll(_ count: Int, from descriptor: Int32, path: String) throws(StoreError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var span = bytes.mutableSpan
    var raw = unsafe span.mutableBytes
    try readExactly(into: &raw, at: 0, from: descriptor, path: path)
    return bytes
}

/// Reads a file from start to end through one buffer of `size` bytes.
private func readInChunks(
    of size: Int, from descriptor: Int32, path: String, _ body: (RawSpan) -> Void
) throws(StoreError) {
    var buffer = [UInt8](repeating: 0, count: size)
    var offset = 0
    while true {
        var span = buffer.mutableSpan
        var raw = unsafe span.mutableBytes
        let count = try readMost(into: &raw, at: offset, from: descriptor, path: path)
        body(unsafe buffer.span.bytes.extracting(first: count))
        offset += count
        if count < size { return }
    }
}

/// The SHA-256 of a whole file, in one pass through a buffer of 1 MiB.
func digestOfFile(_ descriptor: Int32, path: String) throws(StoreError) -> Digest {
    let hash: SHA256
    do {
        hash = try SHA256()
    } catch {
        throw .digest(path: path, error)
    }
    try readInChunks(of: digestChunkBytes, from: descriptor, path: path) { hash.update($0) }
    return hash.finish()
}

/// The piece in which files are read for their digest.
private let digestChunkBytes = 1 << 20

/// Forces a file, or the names in a folder, to the disk (fsync(2)).
func synchronizeToDisk(_ descriptor: Int32, path: String) throws(StoreError) {
    _ = try retrying("fsync", path: path) { fsync(descriptor) }
}

/// The length in bytes of an open regular file, and how many names it has; anything else is refused.
func regularFile(_ descriptor: Int32, path: String) throws(StoreError) -> (length: Int, names: Int) {
    var status = stat()
    _ = try retrying("fstat", path: path) { unsafe fstat(descriptor, &status) }
    guard status.st_mode & S_IFMT == S_IFREG else {
        throw .system(operation: "open", path: path, code: EISDIR)
    }
    return (status.st_size, Int(clamping: status.st_nlink))
}

/// Where an open file or folder is, every link followed: what the kernel opened, not what the name says now.
func resolvedPath(of descriptor: Int32, path: String) throws(StoreError) -> String {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    let capacity = buffer.count
    let count = try retrying("readlink", path: path) {
        unsafe readlink("/proc/self/fd/\(descriptor)", &buffer, capacity)
    }
    return String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// What the C library says about an error number.
func errorText(_ code: Int32) -> String {
    // Invariant: for the numbers of this system glibc answers constant strings.
    unsafe strerror(code).map { unsafe String(cString: $0) } ?? "error \(code)"
}

/// The regular file that this process inherited as descriptor `number`, and what it is called in errors.
func inheritedFile(_ number: Int32) throws(StoreError) -> (Int32, String) {
    let path = "descriptor \(number)"
    _ = try regularFile(number, path: path)
    return (number, path)
}
