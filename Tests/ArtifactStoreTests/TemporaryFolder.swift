import ArtifactStore
import Foundation
import Glibc

/// A folder of its own for one test, removed with the object.
final class TemporaryFolder: Sendable {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "viva-store-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    /// Every path below the folder, sorted, folders included.
    func contents() -> [String] {
        (FileManager.default.subpaths(atPath: path) ?? []).sorted()
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }
}

/// A file system of one test's own, small enough to fill; needs the right to mount.
final class TinyFileSystem: Sendable {
    static let isAvailable = (try? TinyFileSystem(kibibytes: 64)) != nil

    private let folder: TemporaryFolder
    var path: String { folder.path }

    /// A tmpfs, or another kind, which then has no size.
    init(kibibytes: Int, kind: String = "tmpfs") throws {
        folder = try TemporaryFolder()
        let options = kind == "tmpfs" ? "size=\(kibibytes)k" : ""
        guard unsafe mount(kind, folder.path, kind, 0, options) == 0 else {
            throw Refused(code: errno)
        }
    }

    func makeReadOnly() throws {
        let flags = UInt(MS_REMOUNT | MS_RDONLY)
        guard unsafe mount(nil, path, nil, flags, nil) == 0 else { throw Refused(code: errno) }
    }

    deinit {
        _ = unsafe umount2(folder.path, Int32(MNT_DETACH))
    }

    private struct Refused: Error {
        let code: Int32
    }
}
