import CPlatform
import Glibc

/// A file descriptor that is closed exactly once, when its only owner ends.
package struct Descriptor: ~Copyable, Sendable {
    /// The number; valid while this value lives.
    package let number: Int32

    /// Takes over `number`; nobody else may close it.
    package init(owning number: Int32) {
        self.number = number
    }

    deinit {
        // A failing close has released the number on Linux; repeating it could hit somebody else's.
        _ = close(number)
    }
}

/// A regular file that is open for reading at any offset.
package struct FileSource: ~Copyable, Sendable {
    let descriptor: Descriptor
    /// The file's length in bytes when it was handed over.
    package let length: Int

    /// Takes over an open descriptor and asks for its length.
    package init(owning number: Int32) throws(SocketError) {
        descriptor = Descriptor(owning: number)
        let length = viva_file_length(number)
        guard length >= 0 else { throw .system(call: "fstat", errno: Int32(clamping: -length)) }
        self.length = Int(length)
    }

    /// Reads at most `buffer.byteCount` bytes at `offset`; 0 at the end of the file.
    package func read(into buffer: inout MutableRawSpan, at offset: Int) throws(SocketError) -> Int {
        let descriptor = descriptor.number
        let count = unsafe buffer.withUnsafeMutableBytes { bytes in
            unsafe viva_read_at(descriptor, bytes.baseAddress, bytes.count, Int64(offset))
        }
        guard count >= 0 else { throw .system(call: "pread", errno: Int32(-count)) }
        return count
    }
}
