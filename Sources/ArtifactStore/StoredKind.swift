/// What lies in a store, by the folder that it lies in.
package enum StoredKind: String, Sendable, CaseIterable {
    /// `artifacts/<id>/`: content and report.
    case artifact
    /// `inputs/<hex>/`, named by the SHA-256 of its content: 64 characters of `0-9 a-f`.
    case input
    /// `work/<id>/`: what an upload or a job is making.
    case work
    /// `staging/<random>/`: what a request is making, or a removal has not finished with.
    case staged
    /// `quarantine/<kind>-<id>-<n>/`: what failed its check.
    case quarantined

    /// The name of the folder.
    var folder: String {
        switch self {
        case .artifact: "artifacts"
        case .input: "inputs"
        case .work: "work"
        case .staged: "staging"
        case .quarantined: "quarantine"
        }
    }

    /// Whether `name` can be the name of such a thing: none has a dot or a slash in it.
    func allows(_ name: String) -> Bool {
        let hexadecimal = name.utf8.allSatisfy { byte in
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
        }
        switch self {
        case .artifact, .work: return Self.isWord(name, atMost: ArtifactStore.maximumIdentifierLength)
        case .input: return name.utf8.count == 64 && hexadecimal
        case .staged: return name.utf8.count == 32 && hexadecimal
        case .quarantined: return Self.isWord(name, atMost: 255)
        }
    }

    private static func isWord(_ name: String, atMost length: Int) -> Bool {
        (1...length).contains(name.utf8.count)
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
                case UInt8(ascii: "-"), UInt8(ascii: "_"): true
                default: false
                }
            }
    }
}

/// The folders of a store, one for each kind.
struct StoredFolders: Sendable {
    let artifacts, inputs, work, staging, quarantine: DurableFolder

    init(in root: borrowing Folder) throws(StoreError) {
        artifacts = try DurableFolder(root.folder(creating: StoredKind.artifact.folder))
        inputs = try DurableFolder(root.folder(creating: StoredKind.input.folder))
        work = try DurableFolder(root.folder(creating: StoredKind.work.folder))
        staging = try DurableFolder(root.folder(creating: StoredKind.staged.folder))
        quarantine = try DurableFolder(root.folder(creating: StoredKind.quarantined.folder))
    }

    subscript(kind: StoredKind) -> DurableFolder {
        switch kind {
        case .artifact: artifacts
        case .input: inputs
        case .work: work
        case .staged: staging
        case .quarantined: quarantine
        }
    }
}
