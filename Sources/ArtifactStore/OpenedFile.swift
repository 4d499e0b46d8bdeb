package import OpenSSL

/// A part of a published artifact, or an input, open for reading: it stays readable to the end after it is removed.
package struct OpenedFile: ~Copyable, Sendable {
    /// The length in bytes.
    package let length: Int
    private let file: Descriptor
    private let path: String

    init(_ file: consuming Descriptor, path: String) throws(StoreError) {
        self.length = try regularFile(file.raw, path: path).length
        self.file = file
        self.path = path
    }

    /// A file that another process opened and this one inherited; the descriptor is this value's from now on.
    package static func inherited(_ number: Int32) throws(StoreError) -> OpenedFile {
        let (file, path) = try inheritedFile(number)
        return try OpenedFile(Descriptor(owning: file), path: path)
    }

    /// The open descriptor, lent: valid while this value lives, and not the borrower's to close.
    package var descriptor: Int32 { file.raw }

    /// Hands the open descriptor over; the caller must close it.
    package consuming func takeDescriptor() -> Int32 {
        file.take()
    }

    /// Fills `bytes` from the offset, or throws `truncated` where the file ends too early.
    package borrowing func read(into bytes: inout MutableRawSpan, at offset: Int) throws(StoreError) {
        try readExactly(into: &bytes, at: offset, from: file.raw, path: path)
    }

    /// The whole part in memory, or its beginning: meant for reports, not for contents.
    package borrowing func bytes(atMost limit: Int = .max) throws(StoreError) -> [UInt8] {
        try readAll(min(length, limit), from: file.raw, path: path)
    }

    /// The SHA-256 of the whole part, in pieces of 1 MiB: what a check compares with the one that was recorded.
    package borrowing func digest() throws(StoreError) -> Digest {
        try digestOfFile(file.raw, path: path)
    }
}
