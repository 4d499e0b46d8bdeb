import Glibc
package import OpenSSL

/// What went wrong on the way to or from the disk, with the evidence.
package enum StoreError: Error, Sendable, Equatable {
    /// A system call failed with this `errno`.
    case system(operation: String, path: String, code: Int32)
    /// Another process (or another store in this one) holds the folder's lock.
    case locked(path: String)
    /// The file system has no room left, or the quota is used up (ENOSPC, EDQUOT).
    case full(path: String)
    /// Nothing of the kind that was asked for has this identifier.
    case notFound(String)
    /// The identifier is not one of its kind: 1...80 characters of `a-z 0-9 _ -`, for an input 64 of `0-9 a-f`.
    case invalidIdentifier(String)
    /// The folder is no data folder, or there is none.
    case noStore(path: String)
    /// A file that was to be written to is part of an artifact or an input already.
    case published(path: String)
    /// A file ended before the bytes that were asked for.
    case truncated(path: String, offset: Int, missing: Int)
    /// A link leads to a file that is not part of the folder.
    case escapes(path: String, to: String)
    /// What was to be made is there already.
    case exists(path: String)
    /// What is there is no plain file (a link, a folder, a device, a pipe), and a rename would take its place.
    case notReplaced(path: String)
    /// A result was to be made inside the folder that it is made from.
    case insideSource(path: String, source: String)
    /// OpenSSL could not compute the digest of a file.
    case digest(path: String, OpenSSLError)

    /// True when the process or the machine has no file descriptor left, which passes (EMFILE, ENFILE).
    package var isOutOfDescriptors: Bool {
        switch self {
        case .system(_, _, EMFILE), .system(_, _, ENFILE): true
        default: false
        }
    }

    /// True when the fault is the stored thing's own: the disk does not give its bytes back (EIO, too few of them), or
    /// it is no file in a folder but a link, a folder, a pipe, a socket (ELOOP, ENOTDIR, EISDIR, ENXIO).
    package var isDamage: Bool {
        switch self {
        case .truncated: true
        case .system(_, _, let code): [EIO, ELOOP, ENOTDIR, EISDIR, ENXIO].contains(code)
        default: false
        }
    }

    /// True when the request failed for want of room, which a client sees as 507 and an operator can cure.
    package var isDiskFull: Bool {
        if case .full = self { return true }
        return false
    }

    /// Sorts an error number into the case that names its meaning.
    init(_ operation: String, path: String, code: Int32) {
        switch code {
        case ENOSPC, EDQUOT: self = .full(path: path)
        default: self = .system(operation: operation, path: path, code: code)
        }
    }

    /// True when the thing that was to be removed, opened or renamed is not there.
    var isAbsence: Bool {
        if case .system(_, _, ENOENT) = self { return true }
        return false
    }
}

extension StoreError: CustomStringConvertible {
    /// One sentence for a terminal or a log, without its full stop.
    package var description: String {
        switch self {
        case .system(let operation, let path, let code): "\(operation) \(path): \(errorText(code))"
        case .locked(let path): "\(path) is in use by another process"
        case .full(let path): "\(path): no room is left on its file system"
        case .notFound(let id): "nothing is stored as \(id)"
        case .invalidIdentifier(let id): "'\(id)' is no identifier of what is stored"
        case .noStore(let path): "\(path) is no data folder"
        case .published(let path): "\(path) is published already"
        case .truncated(let path, let offset, let missing): "\(path) ends \(missing) bytes early, read from \(offset)"
        case .escapes(let path, let target): "\(path) leads out of the folder, to \(target)"
        case .exists(let path): "\(path) is there already"
        case .notReplaced(let path): "\(path) is there and is no plain file: it is not replaced"
        case .insideSource(let path, let source): "\(path) lies inside of \(source), which is read"
        case .digest(let path, let error): "the digest of \(path) failed: \(error.operation)"
        }
    }
}
