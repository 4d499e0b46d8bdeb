import ArtifactStore
import Catalogue

/// What the start of a service removes: files that a crash left without the row that would have named them.
struct Recovery {
    let store: ArtifactStore
    let catalogue: Catalogue

    /// Removes artifacts and inputs without a row, and work that nobody goes on with; answers how many of each.
    func run() throws -> [(kind: String, count: Int)] {
        try store.exclusively {
            [
                ("artifacts", try sweep(.artifact) { try catalogue.contains($0) }),
                ("inputs", try sweep(.input) { try catalogue.containsInput(InputName.prefix + $0) }),
                ("work", try sweep(.work) { try catalogue.needsWork($0) }),
            ]
        }
    }

    private func sweep(_ kind: StoredKind, isNeeded: (String) throws -> Bool) throws -> Int {
        let orphans = try store.identifiers(of: kind).filter { try !isNeeded($0) }
        for id in orphans { try store.remove(kind, id) }
        return orphans.count
    }
}
