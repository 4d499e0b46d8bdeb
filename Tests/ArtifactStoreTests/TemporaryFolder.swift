import Foundation

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

    init(kibibytes: Int) throws {
        folder = try TemporaryFolder()
        try run("mount", "-t", "tmpfs", "-o", "size=\(kibibytes)k", "tmpfs", folder.path)
    }

    func makeReadOnly() throws {
        try run("mount", "-o", "remount,ro", path)
    }

    deinit {
        try? run("umount", "--lazy", folder.path)
    }
}

private struct CommandFailed: Error {
    let status: Int32
}

private func run(_ command: String...) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = command
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    if process.terminationStatus != 0 { throw CommandFailed(status: process.terminationStatus) }
}
