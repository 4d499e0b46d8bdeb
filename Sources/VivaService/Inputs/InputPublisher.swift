import ArtifactStore
import Catalogue
import HTTPServer
import HTTPTypes
import OpenSSL

/// Makes inputs durable and visible to their owner, and takes them away again.
///
/// Bytes are stored once, however many owners have sent them; none can tell whether another has. They go with the last
/// row that names them.
struct InputPublisher: Sendable {
    let store: ArtifactStore
    let catalogue: Catalogue

    /// Gives the bytes their place and then calls `record`, which commits the row.
    func publish<Outcome: Sendable>(
        _ staged: StagedContent, as digest: Digest, record: () throws(CatalogueError) -> Outcome
    ) throws(Problem) -> Outcome {
        let hex = digest.hex
        return try store.inTurn([hex]) { () throws(Problem) in
            do throws(StoreError) {
                try store.publishInput(staged, as: hex)
            } catch {
                throw Problem(error)
            }
            do throws(CatalogueError) {
                return try record()
            } catch {
                // The row's failure is the evidence; bytes that stay behind are swept at the next start.
                try? removeUnlessNamed(hex)
                throw Problem(error)
            }
        }
    }

    /// Removes an owner's input, unless a job needs it or, where `unusedSince` is given, it was used since.
    func remove(_ digest: String, owner: String, unusedSince: Int64? = nil) throws(Problem) -> Removal {
        let hex = String(digest.dropFirst(InputName.prefix.count))
        return try store.inTurn([hex]) { () throws(Problem) in
            let removal: Removal
            do throws(CatalogueError) {
                removal = try catalogue.removeInput(digest, owner: owner, unusedSince: unusedSince)
            } catch {
                throw Problem(error)
            }
            if removal == .removed { try removeUnlessNamed(hex) }
            return removal
        }
    }

    /// Removes the bytes unless an owner has them; within their turn.
    private func removeUnlessNamed(_ hex: String) throws(Problem) {
        do {
            guard try !catalogue.containsInput(InputName.prefix + hex) else { return }
            try store.remove(.input, hex)
        } catch let error as CatalogueError {
            throw Problem(error)
        } catch let error as StoreError {
            // Swept meanwhile: gone is gone.
            if case .notFound = error { return }
            throw Problem(error)
        } catch {
            throw Problem(unexpected: error)
        }
    }
}

/// The name of an input: `sha256:` and the digest of its bytes.
enum InputName {
    static let prefix = "sha256:"

    /// The digest in a name; nil when it is none.
    static func digest(_ name: String) -> Digest? {
        name.hasPrefix(prefix) ? Digest(hex: name.dropFirst(prefix.count)) : nil
    }

    static func of(_ digest: Digest) -> String { prefix + digest.hex }

    /// Where an input is described.
    static func location(_ name: String) -> String { "/v1/inputs/\(name)" }
}
