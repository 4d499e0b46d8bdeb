/// A folder that is read by the names of its files, none of which leads out of it.
///
/// Links are followed only within the folder; in a snapshot of the Hugging Face cache, `…/snapshots/<commit>/`, also to
/// the files beside it in `…/blobs/`, for there every file is such a link.
package struct SourceFolder: ~Copyable {
    /// What an entry is.
    package enum Kind: Sendable, Equatable {
        /// A regular file of so many bytes.
        case file(bytes: Int)
        /// A folder, a pipe, a link to somewhere else: nothing that is read.
        case other
    }

    /// The path without links.
    package let path: String
    private let folder: Folder
    /// Prefixes of the paths that files may have.
    private let roots: [String]

    /// Opens an existing folder.
    package init(opening path: String) throws(StoreError) {
        let folder = try Folder(opening: path)
        let truePath = try folder.truePath()
        self.path = truePath
        var roots = [Self.prefix(truePath)]
        let parts = truePath.split(separator: "/")
        if parts.count > 2, parts[parts.count - 2] == "snapshots" {
            roots.append("/" + parts.dropLast(2).joined(separator: "/") + "/blobs/")
        }
        self.roots = roots
        self.folder = folder
    }

    /// The names in ascending order, each with what it stands for.
    package borrowing func entries() throws(StoreError) -> [(name: String, kind: Kind)] {
        var entries: [(String, Kind)] = []
        for name in try folder.entries().sorted() {
            entries.append((name, kind(of: name)))
        }
        return entries
    }

    private borrowing func kind(of name: String) -> Kind {
        // Why it cannot be read shows when somebody asks for it by name.
        guard let length = try? file(name).length else { return .other }
        return .file(bytes: length)
    }

    /// Opens a file to be read once from start to end.
    ///
    /// Throws `escapes` for a link that leads out of the folder.
    package borrowing func file(_ name: String) throws(StoreError) -> InputFile {
        try InputFile(descriptor(name), path: folder.pathOf(name))
    }

    /// Opens a file for reads at positions.
    ///
    /// Throws `escapes` for a link that leads out of the folder.
    package borrowing func opened(_ name: String) throws(StoreError) -> OpenedFile {
        try OpenedFile(descriptor(name), path: folder.pathOf(name))
    }

    private borrowing func descriptor(_ name: String) throws(StoreError) -> Descriptor {
        let file = try folder.linkedFile(name)
        let truePath = try resolvedPath(of: file.raw, path: folder.pathOf(name))
        guard roots.contains(where: { truePath.utf8.starts(with: $0.utf8) }) else {
            throw .escapes(path: folder.pathOf(name), to: truePath)
        }
        return file
    }

    /// Whether `path` lies in the folder, or is the folder.
    package borrowing func contains(_ path: String) -> Bool {
        Self.prefix(path).utf8.starts(with: Self.prefix(self.path).utf8)
    }

    private static func prefix(_ path: String) -> String { path.utf8.last == UInt8(ascii: "/") ? path : path + "/" }
}
